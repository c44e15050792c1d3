"""The jobs of a running Cortex, as one of its users sees them."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cortexql.importing.client import Server
from cortexql.importing.source import SourceError

_PAGE = 100


class RestJobs:
    """The jobs of the organization of a key's user."""

    def __init__(self, server: Server) -> None:
        """Take the Cortex as the user sees it."""
        self.server = server

    async def count(self, since: datetime) -> int:
        """Return how many jobs were created since a time, as the Cortex says."""
        _, total = await self.server.find_page("job/_search", range(1), _since(_millis(since)))
        return total or 0

    async def pages(self, since: datetime) -> AsyncIterator[Sequence[dict[str, Any]]]:
        """Yield jobs by the time of their creation: Elasticsearch gives no more than its first 10,000 by number."""
        at, ids = _millis(since), set[str]()
        while True:
            # Those of the last millisecond are at the beginning of the next page again.
            span = range(len(ids), len(ids) + _PAGE)
            found, _ = await self.server.find_page("job/_search", span, _since(at))
            new = [raw for raw in found if str(raw["id"]) not in ids]
            if not new:
                return
            yield new
            last = new[-1].get("createdAt")
            if not isinstance(last, int) or last < at:
                raise SourceError(
                    "job/_search pages wrongly: its jobs are not in the order of their creation"
                )
            if last > at:
                at, ids = last, set()
            ids |= {str(raw["id"]) for raw in new if raw.get("createdAt") == at}

    async def report(self, job_id: str) -> Any:
        """Return a job with its report. Raises SourceError; AbsentError where there is none."""
        return await self.server.get(f"job/{quote(job_id, safe='')}/report")

    async def download(self, sha256: str, target: Path, max_bytes: int) -> bool:
        """Write a file's content; False where it is not there, is larger, or is another file's."""
        return await self.server.download(sha256, target, max_bytes)


def _since(millis: int) -> dict[str, Any]:
    return {"_gte": {"createdAt": millis}}


def _millis(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
