"""Backup and restore: the whole database, with the files in it, and the SECRET_KEY, in one zip file.

`manifest.json` holds the schema's revision, and each table's columns, rows and SHA-256; `tables/NAME` is what
Postgres's COPY gives as text; `secret_key` is there where a passphrase was given, encrypted with it.
pg_dump would have to be of the server's version, and the one in the wheel knows no TLS.
"""

import asyncio
import base64
import graphlib
import hashlib
import json
import os
import re
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import alembic.util
import asyncpg
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from pydantic import BaseModel, ValidationError

from cortexql import __version__, migrate
from cortexql.errors import CortexError
from cortexql.secrets import Cipher
from cortexql.services import rotation
from cortexql.settings import Settings
from cortexql.transaction import create_engine

_FORMAT = 1
_MANIFEST, _KEY = "manifest.json", "secret_key"
_CHUNK_BYTES = 2**20
_TABLES = """SELECT relname::text AS name, array(
    SELECT attname::text FROM pg_attribute
    WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum
  ) AS columns, array(
    SELECT referred.relname::text FROM pg_constraint JOIN pg_class AS referred ON referred.oid = confrelid
    WHERE contype = 'f' AND conrelid = pg_class.oid AND confrelid <> conrelid
  ) AS refers_to
  FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
    AND relname <> 'alembic_version' ORDER BY relname"""
_SEQUENCES = "SELECT sequencename::text AS name, last_value FROM pg_sequences WHERE schemaname = 'public'"
_KEY_ID = re.compile(r'"([0-9a-f]{8}):')


class BackupError(CortexError):
    """The backup or restore failed."""


class Table(BaseModel):
    """A table as it was copied."""

    name: str
    columns: list[str]
    rows: int
    sha256: str


class Manifest(BaseModel):
    """What is in a backup, tables in an order in which none comes before one that it refers to."""

    format: int
    version: str
    revision: str
    taken_at: datetime
    key_id: str
    tables: list[Table]
    sequences: dict[str, int | None]


async def write(settings: Settings, path: Path, passphrase: str | None) -> Manifest:
    """Write a backup of one moment while the instance runs, verify it, and put it in the place of `path`, mode 0600.

    Raises:
        BackupError: the SECRET_KEY at hand is missing, or not the instance's.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(_create(draft), "w+b") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                await _fill(archive, settings, passphrase)
            file.flush()
            os.fsync(file.fileno())
        manifest = verify(draft)
        draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)
    return manifest


async def restore(settings: Settings, path: Path, manifest: Manifest, passphrase: str | None) -> None:
    """Bring a verified backup into an empty database, and its key into DATA_DIR where SECRET_KEY is not set.

    Raises:
        BackupError: the database is not empty, or the key is not the backup's.
    """
    with zipfile.ZipFile(path) as archive:
        key = _key_for(settings, manifest, archive, passphrase)
        connection = await asyncpg.connect(settings.database_url)
        try:
            await _check_empty(connection)
            if key is not None:
                _keep_key(settings.data_dir, key)
            await _migrate(settings, manifest.revision)
            async with connection.transaction():
                # Numbers of events and turns of jobs are in the backup: nothing is to compute them anew.
                for table in manifest.tables:
                    await connection.execute(f'ALTER TABLE "{table.name}" DISABLE TRIGGER USER')
                names = ", ".join(f'"{table.name}"' for table in manifest.tables)
                await connection.execute(f"TRUNCATE {names}")
                for table in manifest.tables:
                    await _read_table(connection, archive, table)
                for table in manifest.tables:
                    await connection.execute(f'ALTER TABLE "{table.name}" ENABLE TRIGGER USER')
                for name, last in manifest.sequences.items():
                    if last is not None:
                        await connection.execute("SELECT setval($1::text::regclass, $2)", f'"{name}"', last)
        finally:
            await connection.close()
    await _migrate(settings, "head")


def verify(path: Path) -> Manifest:
    """Read a whole backup, and return its manifest.

    Raises:
        BackupError: something in it is not as it was written.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = Manifest.model_validate_json(archive.read(_MANIFEST))
            if manifest.format != _FORMAT:
                raise BackupError(
                    f"{path} was written by CortexQL {manifest.version}, which is newer than this"
                )
            for table in manifest.tables:
                digest = hashlib.sha256()
                for chunk in _chunks(archive, table):
                    digest.update(chunk)
                if digest.hexdigest() != table.sha256:
                    raise BackupError(f"{path} is damaged: table {table.name} is not what was written")
            if _KEY in archive.namelist():
                archive.read(_KEY)
    except (zipfile.BadZipFile, zlib.error, KeyError, ValidationError, EOFError) as error:
        raise BackupError(f"{path} is not a whole backup: {error}") from error
    return manifest


def _create(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)


async def _key_ids(connection: Any, tables: Iterable[Any]) -> set[str]:
    """Return which keys have encrypted what an instance stores, of an older schema, too."""
    present = {(row["name"], column) for row in tables for column in row["columns"]}
    kept = [*rotation.VALUES, *((table, "secrets") for table in rotation.BY_NAME)]
    found: set[str] = set()
    for table, column in kept:
        name = table.__tablename__
        if (name, column) in present:
            query = f"SELECT to_json({column})::text AS value FROM {name} WHERE {column} IS NOT NULL"  # noqa: S608 - our names
            for row in await connection.fetch(query):
                found.update(_KEY_ID.findall(row["value"]))
    return found


async def _fill(archive: zipfile.ZipFile, settings: Settings, passphrase: str | None) -> None:
    key = _known_key(settings)
    if key is None:
        raise BackupError(
            "there is no SECRET_KEY here: set CORTEXQL_SECRET_KEY, or give the instance's --data-dir"
        )
    connection = await asyncpg.connect(settings.database_url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            revision = await connection.fetchval("SELECT version_num FROM alembic_version")
            key_id = Cipher(key).key_id
            rows = _ordered(await connection.fetch(_TABLES))
            if await _key_ids(connection, rows) - {key_id}:
                raise BackupError(
                    "the SECRET_KEY here is not the one that encrypted the instance's secrets: give that one, or, "
                    "with OLD_SECRET_KEYS, run `cortexql rotate` first"
                )
            tables = [await _write_table(connection, archive, row) for row in rows]
            # Sequences know no transaction: what they say after is no less than what the tables hold.
            sequences = {row["name"]: row["last_value"] for row in await connection.fetch(_SEQUENCES)}
    finally:
        await connection.close()
    if passphrase is not None:
        archive.writestr(_KEY, _encrypt(key, passphrase))
    manifest = Manifest(
        format=_FORMAT,
        version=__version__,
        revision=revision,
        taken_at=datetime.now(UTC),
        key_id=key_id,
        tables=tables,
        sequences=sequences,
    )
    archive.writestr(_MANIFEST, manifest.model_dump_json(indent=1))


def _ordered(tables: list[Any]) -> list[Any]:
    by_name = {table["name"]: table for table in tables}
    order = graphlib.TopologicalSorter({table["name"]: table["refers_to"] for table in tables})
    return [by_name[name] for name in order.static_order()]


async def _write_table(connection: Any, archive: zipfile.ZipFile, table: Any) -> Table:
    digest = hashlib.sha256()
    with archive.open(f"tables/{table['name']}", "w", force_zip64=True) as member:

        async def take(chunk: bytes) -> None:
            digest.update(chunk)
            member.write(chunk)

        said = await connection.copy_from_table(table["name"], columns=table["columns"], output=take)
    return Table(
        name=table["name"],
        columns=table["columns"],
        rows=int(said.removeprefix("COPY ")),
        sha256=digest.hexdigest(),
    )


async def _read_table(connection: Any, archive: zipfile.ZipFile, table: Table) -> None:
    async def give() -> AsyncIterator[bytes]:
        for chunk in _chunks(archive, table):
            yield chunk

    said = await connection.copy_to_table(table.name, columns=table.columns, source=give())
    if said != f"COPY {table.rows}":
        raise BackupError(f"table {table.name} took {said.removeprefix('COPY ')} rows of {table.rows}")


def _chunks(archive: zipfile.ZipFile, table: Table) -> Iterator[bytes]:
    with archive.open(f"tables/{table.name}") as member:
        while chunk := member.read(_CHUNK_BYTES):
            yield chunk


async def _check_empty(connection: Any) -> None:
    tables = {row["name"] for row in await connection.fetch(_TABLES)}
    # A restore that was cut short leaves tables without rows.
    is_empty = "organization" in tables and not await connection.fetch("SELECT FROM organization LIMIT 1")
    if tables and not is_empty:
        raise BackupError("the database is not empty: a backup is restored into a new one")


async def _migrate(settings: Settings, revision: str) -> None:
    engine = create_engine(settings.database_url)
    try:
        await migrate.upgrade(engine, revision)
    except alembic.util.CommandError as error:
        raise BackupError(
            f"the backup's schema {revision} is not known: it is of a newer CortexQL"
        ) from error
    finally:
        await asyncio.shield(engine.dispose())


def _known_key(settings: Settings) -> str | None:
    """Return the SECRET_KEY that is set or kept; none is made."""
    given = settings.secret_key.get_secret_value()
    kept = settings.data_dir / "secret_key"
    return given or (kept.read_text().strip() if kept.exists() else None)


def _key_for(
    settings: Settings, manifest: Manifest, archive: zipfile.ZipFile, passphrase: str | None
) -> str | None:
    """Return the key to keep in DATA_DIR; None where the right one is known already."""
    known = _known_key(settings)
    if known is not None:
        if Cipher(known).key_id != manifest.key_id:
            raise BackupError(
                "the SECRET_KEY here is not the one of the backup, whose secrets it could not read"
            )
        return None
    if _KEY not in archive.namelist():
        raise BackupError(
            "the backup was made without a passphrase and holds no SECRET_KEY: set the instance's own"
        )
    if passphrase is None:
        raise BackupError(
            "the backup's SECRET_KEY is encrypted: give --passphrase-file, or set CORTEXQL_SECRET_KEY"
        )
    return _decrypt(archive.read(_KEY), passphrase)


def _encrypt(key: str, passphrase: str) -> str:
    salt = os.urandom(16)
    token = _fernet(passphrase, salt).encrypt(key.encode())
    return json.dumps({"salt": salt.hex(), "token": token.decode()})


def _decrypt(written: bytes, passphrase: str) -> str:
    found = json.loads(written)
    try:
        return _fernet(passphrase, bytes.fromhex(found["salt"])).decrypt(found["token"]).decode()
    except InvalidToken as error:
        raise BackupError("the passphrase is not the one that the backup was made with") from error


def _fernet(passphrase: str, salt: bytes) -> Fernet:
    # 128 MB and some tenths of a second for each guess.
    derived = Scrypt(salt, length=32, n=2**17, r=8, p=1).derive(passphrase.encode())
    return Fernet(base64.urlsafe_b64encode(derived))


def _keep_key(data_dir: Path, key: str) -> None:
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(_create(data_dir / "secret_key"), "w") as file:
        file.write(key)
