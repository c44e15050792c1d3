"""The disk that the database is on is full, for a while: what was answered is there afterwards, and goes on."""

import asyncio
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg
import httpx
import pytest

from cortexql import embedded
from cortexql.schema.ids import number_of
from tests.e2e.instances import Caller, Instance, eventually, make_analyst, started
from tests.faults import checker
from tests.faults.disks import tiny_disk

_SUBMIT = """mutation($data: String!) { runAnalyzer(input: { analyzer: "Echo_1_0",
    observable: { dataType: "other", data: $data } }) { job { id } errors { message } } }"""
_FULL_SECONDS = 8.0


async def test_a_first_start_without_room_for_a_database_says_so(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with tiny_disk(disk, "30m"):
        with pytest.raises(
            embedded.EmbeddedError, match=r"a new database takes 100 MB, and the disk of .* left"
        ):
            async with embedded.servers(disk / "data"):
                pass
        assert not (disk / "data" / "postgres").exists()


def test_the_disk_of_the_database_is_full_for_a_while(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with tiny_disk(disk, "200m"), started(disk / "data") as instance:
        analyst = make_analyst(instance.url)
        answered = analyst.submit_echoes(8, sleep=3)
        with _filled(disk):
            asyncio.run(_want_more(instance))
            until = time.monotonic() + _FULL_SECONDS
            refused = 0
            while time.monotonic() < until:
                job = _submit(analyst)
                answered += [job] if job else []
                refused += job is None
                time.sleep(0.05)
        assert refused, "the disk was not full"
        again = eventually(lambda: _submit(analyst), 60)
        ends = analyst.wait_for_ends([*answered, again], 90)
        # The neurons' own folders were on the full disk, too: those say so.
        for end in ends:
            said = end["errorMessage"] or ""
            assert end["status"] == "SUCCESS" or "No space left on device" in said, end
        assert ends[-1]["status"] == "SUCCESS"
        asyncio.run(_check(instance, [number_of(id_, "Job") for id_ in answered]))


def _submit(analyst: Caller) -> str | None:
    """Submit a job; None where it was refused."""
    with suppress(httpx.HTTPError, ValueError):
        answer = httpx.post(
            f"{analyst.url}/graphql",
            json={"query": _SUBMIT, "variables": {"data": f"{uuid.uuid4()}"}},
            headers={"Authorization": f"Bearer {analyst.key}"},
            timeout=10,
        ).json()
        done = (answer.get("data") or {}).get("runAnalyzer") or {}
        return done["job"]["id"] if done.get("job") else None
    return None


@contextmanager
def _filled(disk: Path) -> Iterator[None]:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    try:
        yield
    finally:
        ballast.unlink()


async def _connect(instance: Instance) -> asyncpg.Connection:
    return await asyncpg.connect((instance.folder / "servers").read_text().split()[0])


async def _want_more(instance: Instance) -> None:
    """Have Postgres begin new segments of its log: what it has set aside is soon used up, and it stops itself."""
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection = await _connect(instance)
        for _ in range(20):
            await connection.execute("SELECT pg_logical_emit_message(false, 'full', 'x'), pg_switch_wal()")


async def _check(instance: Instance, answered: list[int]) -> None:
    connection = await _connect(instance)
    await checker.check(connection, answered, {})
    await connection.close()
