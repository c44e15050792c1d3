"""Files by content, in chunks in Postgres: hashed on the way in, never whole in memory."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from cortexql.errors import CortexError, InvalidInputError, NotFoundError, TooLargeError
from cortexql.log import get_logger
from cortexql.models import Attachment, AttachmentChunk
from cortexql.principal import Principal
from cortexql.transaction import Transaction, Transactions, is_outage

log = get_logger(__name__)
CHUNK_BYTES = 2**20
_RETRY_SECONDS = 0.5
_LONGEST_NAME = 1024


@dataclass(frozen=True, slots=True)
class Content:
    """A file on its way in. `chunks` may be called twice: once to hash, once to store."""

    name: str
    content_type: str
    chunks: Callable[[], AsyncIterator[bytes]]


async def store(tx: Transaction, organization_id: int, content: Content, *, max_bytes: int) -> Attachment:
    """Store a file, or return the organization's own row of the same content.

    Raises:
        TooLargeError: it is larger than `max_bytes`; nothing is stored.
        InvalidInputError: it is empty.
    """
    (stored,) = await store_all(tx, organization_id, [content], max_bytes=max_bytes)
    if isinstance(stored, CortexError):
        raise stored
    return stored


async def store_all(
    tx: Transaction, organization_id: int, contents: Sequence[Content], *, max_bytes: int
) -> list[Attachment | CortexError]:
    """Store files as `store` does each, or tell why not; a file that cannot be read is told as InvalidInputError."""
    measured = [await _try_to_measure(content, max_bytes) for content in contents]
    good = [(n, values) for n, values in enumerate(measured) if not isinstance(values, CortexError)]
    # In one order: two that store the same new files at the same time would else wait for each other for ever.
    good.sort(key=lambda item: str(item[1]["sha256"]))
    stored = {n: await _store(tx, organization_id, contents[n], values) for n, values in good}
    return [found if isinstance(found, CortexError) else stored[n] for n, found in enumerate(measured)]


async def _store(
    tx: Transaction, organization_id: int, content: Content, values: Mapping[str, str | int]
) -> Attachment:
    statement = insert(Attachment).on_conflict_do_nothing().returning(Attachment)
    row = {"organization_id": organization_id, **values}
    stored = (await tx.session.scalars(statement, [row])).one_or_none()
    if stored is None:
        # Equal content: the first one's row stands, unless it is deleted at this moment.
        try:
            return await get(tx, str(values["sha256"]), organization_id, hold=True)
        except NotFoundError:
            return await _store(tx, organization_id, content, values)
    position = 0
    async for chunk in content.chunks():
        tx.session.add(AttachmentChunk(attachment_id=stored.id, position=position, content=chunk))
        await tx.session.flush()
        tx.session.expunge_all()
        position += 1
    return stored


async def get(
    tx: Transaction, sha256: str, organization_id: int | None = None, *, hold: bool = False
) -> Attachment:
    """Return a file's row by its SHA-256; for the system, of the organization that is named.

    `hold`: nobody deletes it until the transaction ends.

    Raises:
        NotFoundError: the organization has no such file.
    """
    query = select(Attachment).where(Attachment.sha256 == sha256.lower())
    if organization_id is not None:
        query = query.where(Attachment.organization_id == organization_id)
    if hold:
        query = query.with_for_update(read=True, key_share=True)
    attachment = (await tx.session.scalars(query)).first()
    if attachment is None:
        raise NotFoundError(f"there is no file {sha256[:64]}")
    return attachment


async def read(
    transactions: Transactions, principal: Principal, attachment_id: int, *, patient: bool = False
) -> AsyncIterator[bytes]:
    """Yield a file's content, a chunk a transaction: a slow reader holds none open.

    `patient`: an outage of the database is waited out, not raised.
    """
    position = 0
    while True:
        try:
            chunk = await _read_chunk(transactions, principal, attachment_id, position)
        except Exception as error:
            if not patient or not is_outage(error):
                raise
            log.warning("attachment.read_delayed", error=type(error).__name__)
            await asyncio.sleep(_RETRY_SECONDS)
            continue
        if chunk is None:
            return
        yield chunk
        position += 1


async def _read_chunk(
    transactions: Transactions, principal: Principal, attachment_id: int, position: int
) -> bytes | None:
    query = (
        select(AttachmentChunk.content)
        .join(Attachment, Attachment.id == AttachmentChunk.attachment_id)
        .where(AttachmentChunk.attachment_id == attachment_id, AttachmentChunk.position == position)
    )
    async with transactions(principal) as tx:
        return (await tx.session.scalars(query)).one_or_none()


def from_path(path: Path, name: str, content_type: str) -> Content:
    """Take a file of this machine."""

    async def chunks() -> AsyncIterator[bytes]:
        with path.open("rb") as file:
            async for chunk in _chunks(file):
                yield chunk

    return Content(name, content_type, chunks)


def from_file(file: IO[bytes], name: str, content_type: str) -> Content:
    """Take an open file, e.g. a spooled upload."""

    async def chunks() -> AsyncIterator[bytes]:
        file.seek(0)
        async for chunk in _chunks(file):
            yield chunk

    return Content(name, content_type, chunks)


async def _chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
        yield chunk


async def _try_to_measure(content: Content, max_bytes: int) -> dict[str, str | int] | CortexError:
    try:
        return await _measure(content, max_bytes)
    except CortexError as error:
        return error
    except OSError:
        return InvalidInputError("the file cannot be read")


async def _measure(content: Content, max_bytes: int) -> dict[str, str | int]:
    digests = hashlib.sha256(), hashlib.sha1(usedforsecurity=False), hashlib.md5(usedforsecurity=False)
    size = 0
    async for chunk in content.chunks():
        size += len(chunk)
        if size > max_bytes:
            raise TooLargeError(f"the file is larger than {max_bytes} bytes")
        for digest in digests:
            digest.update(chunk)
    if size == 0:
        raise InvalidInputError("the file is empty")
    sha256, sha1, md5 = (digest.hexdigest() for digest in digests)
    return {
        "sha256": sha256,
        "sha1": sha1,
        "md5": md5,
        "size": size,
        "name": to_name(content.name),
        "content_type": content.content_type[:256] or "application/octet-stream",
    }


def to_name(given: str) -> str:
    """Return the last part of a file name as a browser, a mail or a neuron gave it, in any script."""
    name = given.replace("\\", "/").rpartition("/")[2].replace("\0", "").strip()
    printable = "".join(c for c in name if c.isprintable())
    return printable[:_LONGEST_NAME] or "unnamed"
