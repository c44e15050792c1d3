"""Observables leave: the chosen jobs' as files, and any selection to a MISP server."""

from collections.abc import Mapping, Sequence

from starlette.responses import Response

from cortexql.admin.pages import observable_filters
from cortexql.admin.visit import Visit, to_int
from cortexql.errors import InvalidInputError
from cortexql.exporting import forms
from cortexql.principal import Permission
from cortexql.services import watching
from cortexql.services.observables import ObservableFilter


async def export_of_jobs(visit: Visit) -> Response:
    """Send the observables of the chosen jobs as a file."""
    visit.principal.require(Permission.READ)
    form = visit.request.path_params["form"]
    wanted = ObservableFilter(jobs=_chosen(visit))
    written = await forms.write(visit.resources.transactions, visit.principal, form, wanted)
    return Response(
        written.content, media_type=written.media_type, headers=written.headers(f"observables.{form}")
    )


async def choose_of_jobs(visit: Visit) -> Response:
    """Ask to which MISP server the observables of the chosen jobs go."""
    visit.principal.require(Permission.JOB_SUBMIT)
    return await _ask(visit, {"job": list(map(str, _chosen(visit)))})


async def choose(visit: Visit) -> Response:
    """Ask to which MISP server what the address selects goes."""
    query = visit.request.query_params
    names = ("id", "job", *observable_filters.NAMES)
    return await _ask(visit, {name: query.getlist(name) for name in names if query.get(name)})


async def send(visit: Visit) -> Response:
    """Send it, and say what came of it."""
    # Seconds to load, which nobody else has to wait for.
    from cortexql.exporting import misp_server  # noqa: PLC0415

    visit.principal.require(Permission.JOB_SUBMIT)
    wanted = observable_filters.to_filter(
        {name: visit.given(name) for name in observable_filters.NAMES if visit.given(name)},
        ids=_numbers(visit.all_given("id"), "id"),
        jobs=_numbers(visit.all_given("job"), "job"),
    )
    order = misp_server.Order(
        to_int(visit.given("server"), "server"), wanted, to_int(visit.given("max_tlp"), "max_tlp")
    )
    sent = await misp_server.send(visit.resources, visit.principal, order)
    return visit.page("sharing/sent.html", partial="sharing/_sent.html", sent=sent)


async def _ask(visit: Visit, fields: dict[str, list[str]]) -> Response:
    visit.principal.require(Permission.JOB_SUBMIT)
    async with visit.open() as tx:
        receivers = await watching.list_receivers(tx)
    return visit.page("sharing/choose.html", receivers=receivers, fields=fields, what=_what(fields))


def _what(fields: Mapping[str, Sequence[str]]) -> str:
    if "job" in fields:
        return f"The observables of the chosen jobs ({len(fields['job'])})"
    if "id" in fields:
        return f"The chosen observables ({len(fields['id'])})"
    return "All observables that fit the search" if fields else "All observables"


def _chosen(visit: Visit) -> list[int]:
    chosen = _numbers(visit.request.query_params.getlist("id"), "id")
    if chosen is None:
        raise InvalidInputError("choose jobs first", field=("id",))
    return chosen


def _numbers(given: Sequence[str], name: str) -> list[int] | None:
    return [to_int(value, name) for value in given] or None
