"""Home: how things stand."""

from starlette.responses import Response

from cortexql.admin.pages.job_rows import read_rows
from cortexql.admin.visit import Visit
from cortexql.models import JobStatus
from cortexql.principal import Permission, system
from cortexql.services import bootstrap, health, jobs, log
from cortexql.services.page import PageRequest, total

_COUNTED = (JobStatus.WAITING, JobStatus.IN_PROGRESS, JobStatus.SUCCESS, JobStatus.FAILURE)
_NEWEST = 8


async def show(visit: Visit) -> Response:
    """Show counts, the newest jobs, and to those who run the instance its parts."""
    counts: dict[str, int] = {}
    async with visit.open() as tx:
        position = await log.own_position(tx)
        alone = visit.principal.is_superadmin and await bootstrap.is_alone(tx)
        for status in _COUNTED:
            page = await jobs.list_page(tx, jobs.JobFilter(status=[status]), PageRequest(first=0))
            counts[status.value] = await total(tx, page)
        newest = await jobs.list_page(tx, jobs.JobFilter(), PageRequest(first=_NEWEST))
        rows = await read_rows(tx, newest.rows)
    return visit.page(
        "home/show.html",
        partial="home/_overview.html",
        position=position,
        counts=counts,
        alone=alone,
        rows=rows,
        parts=await _parts(visit),
    )


async def show_health(visit: Visit) -> Response:
    """Show the parts of the instance."""
    visit.principal.require(Permission.INSTANCE_MANAGE)
    return visit.page("home/health.html", partial="home/_health.html", parts=await _parts(visit))


async def _parts(visit: Visit) -> list[health.Component]:
    """Return the instance's parts, for a superadmin: the names of workers are no tenant's business."""
    if not visit.principal.may(Permission.INSTANCE_MANAGE):
        return []
    async with visit.resources.transactions(system("console")) as tx:
        return await health.check(tx, visit.resources.redis.ping)
