"""Zips with a password that everybody knows: it keeps scanners on the way from taking a sample away."""

import tempfile
from collections.abc import AsyncIterator
from typing import IO

from rusty_zip import ZipWriter
from starlette.concurrency import run_in_threadpool

from cortexql import attachments
from cortexql.principal import Principal
from cortexql.transaction import Transactions

PASSWORD = "malware"  # noqa: S105 the field's convention, and Cortex's default
_IN_MEMORY = 2**20


async def pack(
    transactions: Transactions, principal: Principal, attachment_id: int, name: str
) -> tuple[int, AsyncIterator[bytes]]:
    """Return the size of a zip with one file in it, and its content.

    Classic ZipCrypto, as Cortex has it: Windows, Info-ZIP and Python's own zipfile open that, and AES they do not.
    """
    with tempfile.NamedTemporaryFile(prefix="cortexql-zip-") as plain:
        async for chunk in attachments.read(transactions, principal, attachment_id):
            await run_in_threadpool(plain.write, chunk)
        plain.flush()
        packed: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 `_read` closes it
        await run_in_threadpool(_write, packed, plain.name, name)
    size = packed.tell()
    return size, _read(packed)


def _write(packed: IO[bytes], path: str, name: str) -> None:
    with ZipWriter(packed, password=PASSWORD.encode()) as writer:
        writer.write_file(path, name)
    packed.seek(0, 2)


async def _read(packed: IO[bytes]) -> AsyncIterator[bytes]:
    with packed:
        packed.seek(0)
        while chunk := await run_in_threadpool(packed.read, attachments.CHUNK_BYTES):
            yield chunk
