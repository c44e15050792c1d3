"""What people say of an observable: that it is an indicator of compromise, and where it was seen."""

from datetime import UTC, datetime

from starlette.responses import Response

from cortexql.admin.visit import Visit, to_int
from cortexql.errors import InvalidInputError
from cortexql.principal import Permission
from cortexql.services import observables, sightings


async def flag(visit: Visit) -> Response:
    """Say whether an observable is an indicator of compromise."""
    async with visit.open() as tx:
        await sightings.flag(tx, _id(visit), ioc=visit.given("ioc") == "yes")
    return _back(visit, "saved")


async def sight(visit: Visit) -> Response:
    """Say that an observable was seen."""
    visit.principal.require(Permission.JOB_SUBMIT)
    new = sightings.NewSighting(visit.given("place"), _moment(visit.given("at")), visit.given("note"))
    async with visit.open() as tx:
        await sightings.sight(tx, _id(visit), new)
    return _back(visit, "sighted")


async def remove(visit: Visit) -> Response:
    """Take back a sighting."""
    visit.principal.require(Permission.JOB_SUBMIT)
    async with visit.open() as tx:
        await observables.get(tx, _id(visit))
        await sightings.remove(tx, to_int(visit.given("sighting"), "sighting"))
    return _back(visit, "removed")


def _id(visit: Visit) -> int:
    return int(visit.request.path_params["id"])


def _back(visit: Visit, done: str) -> Response:
    return visit.to(f"/observables/{_id(visit)}", done=done)


def _moment(given: str) -> datetime | None:
    """Return a time as the browser's field writes it, in UTC."""
    try:
        return datetime.fromisoformat(given).replace(tzinfo=UTC) if given else None
    except ValueError as error:
        raise InvalidInputError("when it was seen is a date and a time", field=("at",)) from error
