"""What is done with chosen jobs: cancel, run again, delete."""

from urllib.parse import parse_qsl

from starlette.responses import Response

from cortexql.admin.pages import job_filters
from cortexql.admin.visit import Visit, to_int
from cortexql.errors import ConflictError, InvalidInputError, NotFoundError
from cortexql.services import jobs, repetition

_MOST = 100
_KEPT = {*job_filters.NAMES, "after", "before"}


async def cancel(visit: Visit) -> Response:
    """Cancel the chosen jobs that have not ended."""
    for job_id in _chosen(visit):
        async with visit.open() as tx:
            try:
                await jobs.cancel(tx, job_id)
            except ConflictError:
                continue
    return _back(visit, "cancelled")


async def delete(visit: Visit) -> Response:
    """Delete the chosen jobs with their reports."""
    for job_id in _chosen(visit):
        async with visit.open() as tx:
            try:
                await jobs.delete_job(tx, job_id)
            except NotFoundError:
                continue
    return _back(visit, "deleted")


async def run_again(visit: Visit) -> Response:
    """Submit the questions of the chosen jobs anew, and show the new jobs; where none came of it, say why."""
    resources = visit.resources
    chosen = _chosen(visit)
    done = await repetition.run_again(resources.transactions, visit.principal, chosen, resources.settings)
    made = [one.job.id for one in done if one.job is not None]
    if not made:
        raise next((one.error for one in done if one.error), NotFoundError("these jobs are deleted"))
    if len(made) == 1:
        return visit.to(f"/jobs/{made[0]}")
    return visit.to("/jobs", ids=",".join(map(str, made)))


def _chosen(visit: Visit) -> list[int]:
    chosen = [to_int(value, "id") for value in visit.all_given("id")]
    if not 0 < len(chosen) <= _MOST:
        raise InvalidInputError(f"choose 1 to {_MOST} jobs")
    return chosen


def _back(visit: Visit, done: str) -> Response:
    """Go back to the list as it was."""
    query = {name: value for name, value in parse_qsl(visit.given("back")) if name in _KEPT}
    return visit.to("/jobs", **{**query, "done": done})
