"""Other servers that the instance works beside: registered by a superadmin, looked at every minute by a worker."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx2
from sqlalchemy import Select, case, func, or_, select, update

from cortexql.errors import InvalidInputError, NotFoundError
from cortexql.models import ServerKind, WatchedServer
from cortexql.outbound import GuardedTransport, Network, OutboundError
from cortexql.principal import Permission, Principal, system
from cortexql.secrets import Cipher, SecretLostError
from cortexql.services import network, text
from cortexql.services.health import Status
from cortexql.settings import Settings
from cortexql.transaction import Transaction, Transactions

_WATCH = system("watch")
INTERVAL = timedelta(minutes=1)
_SECONDS = 10.0
_AT_ONCE = 10
_MAX_SERVERS = 100


@dataclass(frozen=True, slots=True)
class ServerSetting:
    """A server as it is registered; a key of None is kept while the URL stays, an empty one is removed."""

    name: str
    kind: ServerKind
    url: str
    key: str | None = None
    # A MISP's: whether organizations may send observables to it, as the key's user there; None keeps what is.
    receives: bool | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What a look found."""

    status: Status
    message: str | None = None
    version: str | None = None
    latency: timedelta | None = None


async def put(tx: Transaction, setting: ServerSetting, cipher: Cipher) -> WatchedServer:
    """Register a server, new or known by its name; a worker looks at it within seconds.

    Raises:
        InvalidInputError: the URL is not an http or https one without credentials, or there are too many servers.
    """
    tx.principal.require(Permission.INSTANCE_MANAGE)
    name, url = text.check(setting.name, "name", longest=128), _check_url(setting.url)
    row = (await tx.session.scalars(select(WatchedServer).where(WatchedServer.name == name))).one_or_none()
    if row is None:
        if (await tx.session.scalar(select(func.count(WatchedServer.id))) or 0) >= _MAX_SERVERS:
            raise InvalidInputError(f"no more than {_MAX_SERVERS} servers are watched", field=("name",))
        row = WatchedServer(name=name, kind=setting.kind, url=url)
    if setting.key is not None:
        key = text.check(setting.key, "key", longest=4096, empty=True)
        if not key.isascii():
            raise InvalidInputError("a key is of ASCII characters", field=("key",))
        row.password = cipher.encrypt(key) if key else None
    elif row.url != url:
        # A key goes nowhere but where it was given for.
        row.password = None
    row.kind, row.url = setting.kind, url
    _set_receiver(row, setting.receives)
    row.status = row.version = row.message = row.latency = row.since = row.checked_at = None
    tx.session.add(row)
    await tx.flush()
    return row


async def remove(tx: Transaction, server_id: int) -> WatchedServer:
    """Forget a server, with its key."""
    tx.principal.require(Permission.INSTANCE_MANAGE)
    row = (await tx.session.scalars(select(WatchedServer).where(WatchedServer.id == server_id))).one_or_none()
    if row is None:
        raise NotFoundError("there is no such server")
    await tx.session.delete(row)
    return row


async def list_all(tx: Transaction) -> Sequence[WatchedServer]:
    """Return the servers, by name."""
    tx.principal.require(Permission.READ)
    return (await tx.session.scalars(select(WatchedServer).order_by(WatchedServer.name))).all()


async def list_receivers(tx: Transaction) -> Sequence[WatchedServer]:
    """Return the MISP servers that organizations may send to, by name."""
    tx.principal.require(Permission.READ)
    return (await tx.session.scalars(_receivers().order_by(WatchedServer.name))).all()


async def get_receiver(tx: Transaction, server_id: int) -> WatchedServer:
    """Return a MISP server that organizations may send to, or raise NotFoundError."""
    tx.principal.require(Permission.READ)
    row = (await tx.session.scalars(_receivers().where(WatchedServer.id == server_id))).one_or_none()
    if row is None:
        raise NotFoundError("there is no such server to send to", field=("server",))
    return row


async def look_now(
    transactions: Transactions, principal: Principal, settings: Settings, cipher: Cipher, server_id: int
) -> WatchedServer:
    """Look at a server at once, and return it as it was found."""
    principal.require(Permission.INSTANCE_MANAGE)
    one = WatchedServer.id == server_id
    async with transactions(_WATCH) as tx:
        claim = update(WatchedServer).where(one).values(checked_at=func.now()).returning(WatchedServer)
        row = (await tx.session.scalars(claim)).one_or_none()
        if row is None:
            raise NotFoundError("there is no such server")
        outside = await network.of(tx, cipher)
    await _note(transactions, row, await _look(row, outside, settings, cipher))
    async with transactions(_WATCH) as tx:
        return (await tx.session.scalars(select(WatchedServer).where(one))).one()


async def look_at_due(transactions: Transactions, settings: Settings, cipher: Cipher) -> int:
    """Look at the servers whose time has come; of many workers one looks at each. Return how many."""
    due = or_(WatchedServer.checked_at.is_(None), WatchedServer.checked_at < func.now() - INTERVAL)
    async with transactions(_WATCH) as tx:
        free = select(WatchedServer.id).where(due).with_for_update(skip_locked=True)
        ids = (await tx.session.scalars(free)).all()
        claim = update(WatchedServer).where(WatchedServer.id.in_(ids)).values(checked_at=func.now())
        rows = (await tx.session.scalars(claim.returning(WatchedServer))).all()
        outside = await network.of(tx, cipher) if rows else Network()
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(row: WatchedServer) -> None:
        async with turn:
            found = await _look(row, outside, settings, cipher)
        await _note(transactions, row, found)

    await asyncio.gather(*map(one, rows))
    return len(rows)


async def _note(transactions: Transactions, row: WatchedServer, found: Look) -> None:
    is_same = WatchedServer.status.is_not_distinct_from(found.status.value)
    values = {
        "status": found.status.value,
        "message": found.message,
        "version": found.version,
        "latency": found.latency,
        "since": case((is_same, WatchedServer.since), else_=func.now()),
        "checked_at": func.now(),
    }
    # Registered anew meanwhile, it is looked at anew.
    same = (WatchedServer.id == row.id) & (WatchedServer.checked_at == row.checked_at)
    async with transactions(_WATCH) as tx:
        await tx.session.execute(update(WatchedServer).where(same).values(values))


async def _look(row: WatchedServer, outside: Network, settings: Settings, cipher: Cipher) -> Look:
    start = time.monotonic()
    try:
        key = cipher.decrypt(row.password) if row.password else ""
        transport = GuardedTransport(outside, settings.outbound_allow)
        async with asyncio.timeout(_SECONDS), httpx2.AsyncClient(transport=transport) as client:
            status, message, version = await _ASK[row.kind](client, row.url, key)
    except TimeoutError:
        return Look(Status.RED, f"does not answer within {_SECONDS:g} s")
    except (OutboundError, SecretLostError) as error:
        return Look(Status.RED, str(error)[:500])
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        said = str(error) or type(error).__name__
        return Look(Status.RED, f"does not answer: {_plain(said)[:300]}")
    return Look(status, message, version, timedelta(seconds=time.monotonic() - start))


_Answer = tuple[Status, str | None, str | None]


async def _ask_cortex(client: httpx2.AsyncClient, url: str, key: str) -> _Answer:
    """Ask `/api/status`, which needs no key; with one, whether it holds. CortexQL answers both as Cortex does."""
    return await _ask_kind(client, url, key, "Cortex")


async def _ask_cortexql(client: httpx2.AsyncClient, url: str, key: str) -> _Answer:
    return await _ask_kind(client, url, key, "CortexQL")


async def _ask_kind(client: httpx2.AsyncClient, url: str, key: str, kind: str) -> _Answer:
    response = await client.get(f"{url}/api/status")
    version = _version(response, "versions", kind)
    if version is None:
        return _unfit(response, kind)
    if key:
        headers = {"Authorization": f"Bearer {key}"}
        answer = await client.get(f"{url}/api/user/current", headers=headers)
        if not answer.is_success:
            return Status.ORANGE, f"it answers {answer.status_code} to the key", version
    return Status.GREEN, None, version


async def _ask_misp(client: httpx2.AsyncClient, url: str, key: str) -> _Answer:
    """Ask MISP's `/servers/getVersion`, which needs a key."""
    headers = {"Authorization": key, "Accept": "application/json"}
    response = await client.get(f"{url}/servers/getVersion", headers=headers)
    if response.status_code in (401, 403):
        return Status.ORANGE, f"it answers {response.status_code} to the key", None
    version = _version(response, "version")
    return _unfit(response, "MISP") if version is None else (Status.GREEN, None, version)


_ASK = {ServerKind.CORTEX: _ask_cortex, ServerKind.CORTEXQL: _ask_cortexql, ServerKind.MISP: _ask_misp}


def _receivers() -> Select[tuple[WatchedServer]]:
    fit = (WatchedServer.kind == ServerKind.MISP) & WatchedServer.receives.is_(True)
    return select(WatchedServer).where(fit & WatchedServer.password.is_not(None))


def _set_receiver(row: WatchedServer, receives: bool | None) -> None:  # noqa: FBT001 as it was given
    if receives is not None:
        row.receives = receives
    if row.receives and (row.kind is not ServerKind.MISP or row.password is None):
        # One that lost its key with its address is sent to no longer; who asks for it is told.
        if receives:
            raise InvalidInputError("only a MISP with a key is sent to", field=("receives",))
        row.receives = False


def _unfit(response: httpx2.Response, kind: str) -> _Answer:
    if response.is_success:
        return Status.ORANGE, f"it answers, but not as {kind} does", None
    return Status.RED, f"it answers {response.status_code}", None


def _version(response: httpx2.Response, *path: str) -> str | None:
    """Return what stands at a path of the answer's JSON, where it is a version."""
    if not response.is_success:
        return None
    try:
        value: Any = json.loads(response.content)
    except (ValueError, RecursionError):
        return None
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return _plain(value)[:64] if isinstance(value, str) and value else None


def _plain(said: str) -> str:
    return "".join(c for c in said if c.isprintable())


def _check_url(given: str) -> str:
    url = text.check(given.strip().rstrip("/"), "url", longest=2048)
    try:
        parts = urlsplit(url)
        is_fit = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_fit = False
    if not is_fit or "@" in parts.netloc or parts.query or parts.fragment:
        # The URL stays out of the message: it may hold a password.
        raise InvalidInputError("a server is an http:// or https:// URL without credentials", field=("url",))
    return url
