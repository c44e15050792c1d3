"""Backup and restore: what comes back is what was there, and nothing comes back half."""

import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from cortexql import migrate
from cortexql.attachments import Content
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import backup
from cortexql.services.backup import BackupError
from cortexql.services.execution import Executor
from cortexql.services.submission import JobRequest, ObservableRequest
from cortexql.settings import Settings
from cortexql.transaction import create_engine
from tests.conftest import World
from tests.services.steps import TEST, submit, submit_echo

_PASSPHRASE = "correct horse"

_LOCAL_HEADER_BYTES = 30  # before a member's name, as the ZIP format has it


@pytest.fixture
async def empty(resources: Resources, tmp_path: Path) -> AsyncIterator[Settings]:
    """Return the settings of an instance that has an empty database and folder."""
    url = resources.settings.database_url
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE DATABASE restored")
    other = url.replace("@/postgres?", "@/restored?")
    yield Settings(database_url=other, data_dir=tmp_path / "restored", _env_file=None)
    await connection.execute("DROP DATABASE restored WITH (FORCE)")
    await connection.close()


async def _fill(resources: Resources, world: World, executor: Executor) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield bytes(range(256)) * 5000

    await submit_echo(resources, world.alpha, output={"nul": "\0", "tab": "\t\\N\n"})
    file = ObservableRequest("file", file=Content("a", "text/plain", chunks))
    await submit(resources, world.alpha.principals[Role.ANALYZE], JobRequest([file], ["Echo_1_0"]))
    await executor.run_jobs()
    await submit_echo(resources, world.beta)


async def _write(resources: Resources, path: Path, passphrase: str | None = _PASSPHRASE) -> backup.Manifest:
    return await backup.write(resources.settings, path, passphrase)


async def test_what_comes_back_is_what_was_there(
    resources: Resources, world: World, executor: Executor, tmp_path: Path, empty: Settings
) -> None:
    await _fill(resources, world, executor)
    manifest = await _write(resources, tmp_path / "backup")
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o600
    rows = {table.name: table.rows for table in manifest.tables}
    assert (rows["job"], rows["report"], rows["attachment_chunk"], rows["organization"]) == (3, 2, 1, 3)
    await backup.restore(empty, tmp_path / "backup", backup.verify(tmp_path / "backup"), _PASSPHRASE)
    assert (empty.data_dir / "secret_key").stat().st_mode & 0o777 == 0o600
    assert empty.key == resources.settings.key
    again = await backup.write(empty, tmp_path / "again", None)
    assert again.model_dump(exclude={"taken_at"}) == manifest.model_dump(exclude={"taken_at"})
    with pytest.raises(BackupError, match="not empty"):
        await backup.restore(empty, tmp_path / "again", again, None)


async def test_an_older_schema_is_brought_to_the_newest(
    resources: Resources, tmp_path: Path, empty: Settings
) -> None:
    engine = create_engine(empty.database_url)
    await migrate.upgrade(engine, "0001")
    async with engine.begin() as connection:
        await connection.execute(
            text("INSERT INTO organization (name, description, status) VALUES ('old', '', 'active')")
        )
    assert empty.key
    old = await backup.write(empty, tmp_path / "backup", None)
    assert old.revision == "0001"
    async with engine.begin() as connection:
        await connection.execute(text("DROP SCHEMA public CASCADE"))
        await connection.execute(text("CREATE SCHEMA public"))
    await engine.dispose()
    await backup.restore(empty, tmp_path / "backup", old, None)
    connection = await asyncpg.connect(empty.database_url)
    assert await connection.fetchval("SELECT name FROM organization WHERE job_retention IS NULL") == "old"
    await connection.close()


async def test_the_key_travels_encrypted_or_not_at_all(
    resources: Resources, world: World, tmp_path: Path, empty: Settings
) -> None:
    file, keyless = tmp_path / "backup", tmp_path / "keyless"
    manifest, without = await _write(resources, file), await _write(resources, keyless, None)
    key = resources.settings.key.encode()
    assert key not in file.read_bytes() + keyless.read_bytes()
    for given, path, said in (
        (None, file, "give --passphrase-file"),
        ("wrong", file, "not the one that the backup was made with"),
        (_PASSPHRASE, keyless, "holds no SECRET_KEY"),
    ):
        with pytest.raises(BackupError, match=said):
            await backup.restore(empty, path, manifest, given)
    other = empty.model_copy(update={"secret_key": SecretStr("another")})
    with pytest.raises(BackupError, match="not the one of the backup"):
        await backup.restore(other, file, manifest, _PASSPHRASE)
    assert not empty.data_dir.exists()
    known = empty.model_copy(update={"secret_key": SecretStr(resources.settings.key)})
    await backup.restore(known, keyless, without, None)
    assert not (empty.data_dir / "secret_key").exists()


async def test_a_key_that_is_not_the_instances_is_noticed(
    resources: Resources, world: World, tmp_path: Path
) -> None:
    async with resources.transactions(TEST) as tx:
        await tx.session.execute(
            text("UPDATE neuron SET secrets = jsonb_build_object('key', CAST(:stored AS text))"),
            {"stored": resources.cipher.encrypt("a secret")},
        )
    await _write(resources, tmp_path / "right")
    wrong = resources.settings.model_copy(update={"secret_key": SecretStr("wrong")})
    with pytest.raises(BackupError, match="not the one that encrypted"):
        await backup.write(wrong, tmp_path / "wrong", None)
    assert [path.name for path in tmp_path.iterdir()] == ["right"]


@pytest.mark.parametrize("damage", ["tables/account", "secret_key", "cut", "empty"])
async def test_a_damaged_file_is_noticed(
    resources: Resources, world: World, executor: Executor, tmp_path: Path, damage: str
) -> None:
    await _fill(resources, world, executor)
    path = tmp_path / "backup"
    await _write(resources, path)
    whole = path.read_bytes()
    content = {"cut": whole[:-100], "empty": b""}
    path.write_bytes(content[damage] if damage in content else _changed(path, damage))
    with pytest.raises(BackupError, match=r"damaged|not a whole backup"):
        backup.verify(path)


def _changed(path: Path, name: str) -> bytes:
    """Change a member's data: a zip file's headers are not all read, and one bit may mean the same, compressed."""
    with zipfile.ZipFile(path) as file:
        member = file.getinfo(name)
    content = bytearray(path.read_bytes())
    middle = member.header_offset + _LOCAL_HEADER_BYTES + len(name) + member.compress_size // 2
    for place in range(middle, middle + 20):
        content[place] ^= 0xFF
    return bytes(content)
