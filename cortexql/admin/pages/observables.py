"""Observables: what the organization has seen, and all that is known about one."""

from dataclasses import dataclass

from starlette.responses import Response

from cortexql.admin import counting
from cortexql.admin.pages import observable_filters
from cortexql.admin.templating import plain
from cortexql.admin.visit import Visit
from cortexql.exporting import forms
from cortexql.models import Artifact, Attachment, Level, Observable, Report
from cortexql.services import observables, reports, sightings
from cortexql.services.reports import ReportFilter
from cortexql.services.rows import by_id

_PAGE = 25
_RELATED = 100
_SHOWN = 300


@dataclass(frozen=True, slots=True)
class _Row:
    """An observable, what it is called, and the worst of its analyzers' latest verdicts."""

    observable: Observable
    name: str
    level: Level | None
    analyzers: int


async def list_observables(visit: Visit) -> Response:
    """List observables, last seen first."""
    filters = {name: value for name in observable_filters.NAMES if (value := visit.asked(name))}
    wanted = observable_filters.to_filter(filters)
    async with visit.open() as tx:
        page = await observables.list_page(tx, wanted, visit.page_request(_PAGE))
        latest = await reports.latest(tx, [row.id for row in page.rows])
        files = await by_id(tx, Attachment, [row.attachment_id for row in page.rows])
    rows = [_Row(row, _name(row, files), _worst(latest[row.id]), len(latest[row.id])) for row in page.rows]
    return visit.page(
        "observables/list.html",
        partial="observables/_table.html",
        rows=rows,
        page=page,
        counted=counting.known(page, "observable"),
        filters=filters,
        exported=forms.in_words(wanted),
        levels=[level.value for level in Level],
    )


async def count(visit: Visit) -> Response:
    """Say how many observables the list has."""
    filters = {name: value for name in observable_filters.NAMES if (value := visit.asked(name))}
    async with visit.open() as tx:
        number = await observables.count_up_to(tx, observable_filters.to_filter(filters), counting.MOST)
    return counting.answer(visit, counting.words(number, "observable"), "/observables", filters)


async def show(visit: Visit) -> Response:
    """Show an observable: every analyzer's latest verdict, all reports over time, and what they found beside it."""
    observable_id = int(visit.request.path_params["id"])
    async with visit.open() as tx:
        observable = await observables.get(tx, observable_id)
        latest = (await reports.latest(tx, [observable_id]))[observable_id]
        pages = await reports.of_observables(tx, [observable_id], ReportFilter(), visit.page_request(_PAGE))
        artifacts = await reports.artifacts(tx, [report.id for report in latest])
        naming = await reports.naming(tx, observable, first=_PAGE)
        looked_at = await by_id(tx, Observable, [report.observable_id for report in naming])
        files = await by_id(tx, Attachment, [row.attachment_id for row in (observable, *looked_at.values())])
        sighted = (await sightings.of_observables(tx, [observable_id]))[observable_id]
    return visit.page(
        "observables/show.html",
        observable=observable,
        name=_name(observable, files),
        file=files.get(observable.attachment_id or 0),
        level=_worst(latest),
        latest=latest,
        sightings=sighted,
        history=pages[observable_id],
        naming=[(report, _name(looked_at[report.observable_id or 0], files)) for report in naming],
        related=_related([artifact for found in artifacts.values() for artifact in found]),
    )


def _name(observable: Observable, files: dict[int, Attachment]) -> str:
    file = files.get(observable.attachment_id or 0)
    return plain((observable.data or (file.name if file else "") or observable.digest)[:_SHOWN])


def _worst(latest: list[Report]) -> Level | None:
    return observables.verdict_of([report.level for report in latest])


def _related(artifacts: list[Artifact]) -> list[Artifact]:
    """Return each value that the reports named, once."""
    distinct = {(artifact.data_type, artifact.data): artifact for artifact in artifacts if artifact.data}
    return list(distinct.values())[:_RELATED]
