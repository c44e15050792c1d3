"""Observables with their verdicts, to be taken elsewhere: as CSV, as a STIX 2.1 bundle, as a MISP event."""

import asyncio
import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from cortexql.auth.backend import caller_of
from cortexql.errors import InvalidInputError, NotFoundError, UnauthenticatedError
from cortexql.models import Level
from cortexql.principal import Permission
from cortexql.resources import Resources
from cortexql.services import exports, text
from cortexql.services.exports import Export, Exported
from cortexql.services.observables import ObservableFilter

# Writing is all processor: one at a time, for requests to be answered beside it.
_turn = asyncio.Semaphore(1)
# What a spreadsheet takes for a formula.
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")
_FILTERS = ("dataType", "data", "search", "verdict", "since", "ioc", "sighted")
_BOOLEANS = {"true": True, "false": False}


async def export(request: Request) -> Response:
    """Send the observables that the query selects by the names of GraphQL's ObservableFilter."""
    resources: Resources = request.app.state.resources
    principal = await caller_of(resources, request)
    if principal is None:
        raise UnauthenticatedError
    principal.require(Permission.READ)
    form = request.path_params["form"]
    if form not in _FORMS:
        raise NotFoundError(f"there is no export as {form[:64]}; there are {', '.join(_FORMS)}")
    wanted = _filter(request)
    media_type, write = _FORMS[form]
    async with _turn:
        async with resources.transactions(principal) as tx:
            found = await exports.read(tx, wanted)
        content, left_out = await asyncio.to_thread(write, found, str(request.query_params))
    headers = {
        "Content-Disposition": f"attachment; filename=observables.{form}",
        "Cache-Control": "no-store",
        "X-Left-Out": str(left_out),
    }
    return Response(content, media_type=media_type, headers=headers)


def _to_csv(found: Export, _: str) -> tuple[bytes, int]:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(
        [
            "data_type",
            "value",
            "name",
            "verdict",
            "tlp",
            "ioc",
            "sighted",
            "first_seen",
            "last_seen",
            "reports",
        ]
    )
    for row in found.rows:
        writer.writerow(map(_cell, _cells(row)))
    return out.getvalue().encode(), 0


def _cells(row: Exported) -> list[str]:
    seen = row.observable
    said = [f"{one.neuron_name}={one.level.value if one.level else ''}" for one in row.reports]
    return [
        seen.data_type,
        row.value,
        row.file.name if row.file else "",
        row.verdict.value if row.verdict else "",
        str(row.tlp),
        "yes" if seen.ioc else "no",
        " ".join(sighting.at.isoformat() for sighting in row.sightings),
        seen.first_seen.isoformat(),
        seen.last_seen.isoformat(),
        " ".join(said),
    ]


def _cell(value: str) -> str:
    return f"'{value}" if value.startswith(_FORMULAS) else value


def _to_stix(found: Export, _: str) -> tuple[bytes, int]:
    # A third of a second to load, which nobody else has to wait for.
    from cortexql.rest import stix  # noqa: PLC0415

    return stix.bundle(found)


def _to_misp(found: Export, selection: str) -> tuple[bytes, int]:
    from cortexql.rest import misp_event  # noqa: PLC0415 likewise

    return misp_event.event(found, selection), 0


_FORMS: dict[str, tuple[str, Callable[[Export, str], tuple[bytes, int]]]] = {
    "csv": ("text/csv; charset=utf-8", _to_csv),
    "stix.json": ("application/stix+json;version=2.1", _to_stix),
    "misp.json": ("application/json", _to_misp),
}


def _filter(request: Request) -> ObservableFilter:
    given = request.query_params
    if unknown := given.keys() - set(_FILTERS):
        raise InvalidInputError(f"there is no filter {min(unknown)[:64]}; there are {', '.join(_FILTERS)}")
    for name, value in given.multi_items():
        text.check(value, name, longest=2**16)
    verdicts = given.getlist("verdict")
    if set(map(str.lower, verdicts)) - set(Level):
        raise InvalidInputError(f"a verdict is one of {', '.join(Level)}", field=("verdict",))
    return ObservableFilter(
        data_types=given.getlist("dataType") or None,
        data=given.get("data"),
        search=given.get("search"),
        verdicts=[Level(verdict.lower()) for verdict in verdicts] or None,
        since=_time(given.get("since")),
        ioc=_boolean(given.get("ioc"), "ioc"),
        sighted=_boolean(given.get("sighted"), "sighted"),
    )


def _time(value: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if value else None
        # In UTC at once: at the calendar's ends not every offset can be.
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC) if moment else None
    except (ValueError, OverflowError) as error:
        raise InvalidInputError("since is an RFC 3339 time", field=("since",)) from error


def _boolean(value: str | None, name: str) -> bool | None:
    if value is None:
        return None
    if value not in _BOOLEANS:
        raise InvalidInputError(f"{name} is true or false", field=(name,))
    return _BOOLEANS[value]
