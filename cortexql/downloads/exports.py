"""Observables with their verdicts, to be taken elsewhere: as CSV, as a STIX 2.1 bundle, as a MISP event."""

from starlette.requests import Request
from starlette.responses import Response

from cortexql.auth.backend import permitted_caller
from cortexql.errors import InvalidInputError
from cortexql.exporting import forms
from cortexql.models import Level
from cortexql.principal import Permission
from cortexql.resources import Resources
from cortexql.services import text
from cortexql.services.observables import ObservableFilter

_FILTERS = ("dataType", "data", "search", "verdict", "since", "ioc", "sighted", "id", "job")
# The database's numbers end here.
_TOO_LARGE = 2**63
_BOOLEANS = {"true": True, "false": False}


async def export(request: Request) -> Response:
    """Send the observables that the query selects by the names of GraphQL's ObservableFilter."""
    resources: Resources = request.app.state.resources
    principal = await permitted_caller(resources, request, Permission.READ)
    form, wanted = request.path_params["form"], _filter(request)
    written = await forms.write(resources.transactions, principal, form, wanted)
    return Response(
        written.content, media_type=written.media_type, headers=written.headers(f"observables.{form}")
    )


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
        ids=_numbers(given.getlist("id"), "id"),
        jobs=_numbers(given.getlist("job"), "job"),
        data_types=given.getlist("dataType") or None,
        data=given.get("data"),
        search=given.get("search"),
        verdicts=[Level(verdict.lower()) for verdict in verdicts] or None,
        since=text.to_time(given.get("since"), "since"),
        ioc=_boolean(given.get("ioc"), "ioc"),
        sighted=_boolean(given.get("sighted"), "sighted"),
    )


def _numbers(values: list[str], name: str) -> list[int] | None:
    if not all(value.isascii() and value.isdecimal() and int(value) < _TOO_LARGE for value in values):
        raise InvalidInputError(f"{name} is a number", field=(name,))
    return [int(value) for value in values] or None


def _boolean(value: str | None, name: str) -> bool | None:
    if value is None:
        return None
    if value not in _BOOLEANS:
        raise InvalidInputError(f"{name} is true or false", field=(name,))
    return _BOOLEANS[value]
