"""The tenant gate and the commit point.

`async with transactions(principal) as tx:` opens one database transaction, seen through the principal's eyes: every
ORM statement is narrowed to the rows that exist for it, and a write to a foreign row is refused. The block's end
commits; only then wake-ups and events go out. An exception rolls back and drops them. What only reads is open for
reading: seen through the same eyes, and three round trips cheaper.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import lru_cache
from typing import Any, cast

import asyncpg
import sqlalchemy.exc
from sqlalchemy import ColumnElement, event, func, inspect, or_, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import (
    InstrumentedAttribute,
    LoaderCriteriaOption,
    ORMExecuteState,
    Session,
    UOWTransaction,
    with_loader_criteria,
)
from sqlmodel import SQLModel

from cortexql import models
from cortexql.errors import ConflictError, InvalidInputError
from cortexql.events import Bus, JobChanged
from cortexql.log import get_logger
from cortexql.principal import Principal
from cortexql.queue import Queue

# Only the own organization's rows exist, for a superadmin too: no tenant's work is an operator's business.
CONFIDENTIAL: tuple[type[SQLModel], ...] = (
    models.Attachment,
    models.Observable,
    models.Sighting,
    models.Job,
    models.JobEvent,
    models.Report,
    models.Artifact,
    models.Dashboard,
    models.Preferences,
)
# A superadmin administers these everywhere; anyone else sees the own organization's.
ADMINISTERED: tuple[type[SQLModel], ...] = (
    models.User,
    models.ApiKey,
    models.Session,
    models.Audit,
    models.Neuron,
    models.SharedConfig,
)
# What has no organization is the whole instance's and binds every one; only a superadmin may write it.
SHARED: tuple[type[SQLModel], ...] = (models.Quota, models.Authority, models.Proxy)
TENANT_TABLES = CONFIDENTIAL + ADMINISTERED + SHARED
# Triggers write each change of these into the audit log, with the origin that the transaction has told.
AUDITED: tuple[type[SQLModel], ...] = (
    models.Organization,
    models.User,
    models.ApiKey,
    models.Session,
    models.Neuron,
    models.SharedConfig,
    models.Quota,
    models.Registry,
    models.Authority,
    models.Proxy,
    models.WatchedServer,
    models.CatalogSource,
    models.CatalogRefresh,
    models.Dashboard,
    models.Job,
)
_PRINCIPAL = "principal"
_LONGEST_SECONDS = 60
_LONGEST_IDLE_SECONDS = 30
_CONNECT_SECONDS = 10
# An answer waits no longer for a Redis that hangs.
_HINT_SECONDS = 1.0
log = get_logger(__name__)
_TOLD = "told"
_READ_ONLY = "read only"


class ReadOnlyError(RuntimeError):
    """A use case tried to write in what was opened for reading: a defect, never a user's mistake."""


class ForeignRowError(RuntimeError):
    """A use case tried to write another organization's row: a defect, never a user's mistake."""


class ScopedSession(Session):
    """The synchronous session behind a Transaction; the listeners below guard it."""


class Transaction:
    """One unit of work of one principal. Not to be shared between concurrent coroutines."""

    def __init__(self, session: AsyncSession, principal: Principal) -> None:
        """Bind a session to its principal."""
        self.session = session
        self.principal = principal
        self.wakes: list[datetime | None] = []
        self.events: set[int] = set()

    def wake(self, at: datetime | None = None) -> None:
        """Have a worker look for work after the commit, or at a later time."""
        self.wakes.append(at)

    def publish(self, change: JobChanged) -> None:
        """Tell the organization's listeners after the commit that its event log has grown."""
        self.events.add(change.organization_id)

    async def flush(self) -> None:
        """Send pending writes, so that the database's defaults can be read back."""
        await self.session.flush()


class Transactions:
    """Opens transactions; one per process, from its resources."""

    def __init__(self, engine: AsyncEngine, queue: Queue, bus: Bus) -> None:
        """Take the process-wide objects that a transaction's end needs."""
        self._engine = engine
        self._reader = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._queue = queue
        self._bus = bus

    @asynccontextmanager
    async def __call__(self, principal: Principal, *, durable: bool = True) -> AsyncIterator[Transaction]:
        """Open a transaction; `durable=False` lets the commit return before the disk has it (progress, log lines).

        Raises:
            ConflictError: a unique constraint was violated by a concurrent writer.
            InvalidInputError: a text holds what no text of the database can.
            TimeoutError: it took a minute: a network that is cut neither answers nor says so.
        """
        async with self._session(self._engine, principal) as session:
            tx = Transaction(session, principal)
            if not durable:
                await session.execute(select(func.set_config("synchronous_commit", "off", True)))
            yield tx
            await session.commit()
        await self._after_commit(tx)

    @asynccontextmanager
    async def reading(self, principal: Principal) -> AsyncIterator[Transaction]:
        """Open what only reads; each statement sees what is committed when it begins, as in a transaction.

        Raises:
            ReadOnlyError: a statement writes, or locks.
            TimeoutError: it took a minute.
        """
        async with self._session(self._reader, principal) as session:
            session.info[_READ_ONLY] = True
            yield Transaction(session, principal)

    @asynccontextmanager
    async def _session(self, engine: AsyncEngine, principal: Principal) -> AsyncIterator[AsyncSession]:
        session = AsyncSession(engine, sync_session_class=ScopedSession, expire_on_commit=False)
        session.info[_PRINCIPAL] = principal
        async with asyncio.timeout(_LONGEST_SECONDS), session:
            try:
                yield session
            except sqlalchemy.exc.DBAPIError as error:
                raise _to_expected(error) from error

    async def _after_commit(self, tx: Transaction) -> None:
        # Hints only: both swallow an outage, since the sweeper and the listeners' own look make up for it.
        try:
            async with asyncio.timeout(_HINT_SECONDS):
                for at in tx.wakes:
                    await self._queue.wake(at)
                for organization_id in tx.events:
                    await self._bus.publish(JobChanged(organization_id))
        except TimeoutError:
            log.warning("transaction.hints_given_up", seconds=_HINT_SECONDS)


def create_engine(url: str, *, pool_size: int = 20) -> AsyncEngine:
    """Connect to `postgresql://…` by asyncpg."""
    engine = create_async_engine(
        url.replace("postgresql://", "postgresql+asyncpg://", 1).replace(
            "postgres://", "postgresql+asyncpg://", 1
        ),
        pool_size=pool_size,
        max_overflow=20,
        # The connection that was used last: it knows the statements and the types, which each has to learn.
        pool_use_lifo=True,
        # An error carries its statement into the log, but no observable and no secret.
        hide_parameters=True,
        json_deserializer=_from_json,
        connect_args={
            "timeout": _CONNECT_SECONDS,
            "server_settings": {
                "jit": "off",
                "application_name": "cortexql",
                "timezone": "UTC",
                # What a client held that is no longer heard of is free again before its lease is over twice.
                "idle_in_transaction_session_timeout": f"{_LONGEST_IDLE_SECONDS * 1000}",
            },
        },
    )
    event.listen(engine.sync_engine, "checkout", _refuse_closed)
    return engine


# What most JSON columns of a list hold.
_SMALL_JSON: dict[str, Callable[[], Any]] = {"null": lambda: None, "{}": dict, "[]": list}


def _from_json(text: str) -> Any:
    make = _SMALL_JSON.get(text)
    return make() if make is not None else json.loads(text)


def _refuse_closed(connection: Any, _record: object, _proxy: object) -> None:
    """Have the pool replace a connection that the server has closed; a ping each time costs three round trips."""
    if connection.driver_connection.is_closed():
        raise sqlalchemy.exc.DisconnectionError


def is_outage(error: BaseException) -> bool:
    """Say whether an error means that the database is away, going or at odds, and not that the statement was wrong."""
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        state = str(getattr(error.orig, "sqlstate", None) or "")
        # 08: connection, 53: resources (a full disk, too many clients), 57: shut down or starting; 25P03: it lay idle;
        # 40P01: of two that wait for each other one gives way.
        return (
            error.connection_invalidated
            or state[:2] in ("08", "53", "57")
            or state in ("25P03", "40P01")
            or is_outage(error.orig or Exception())
        )
    return isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError | sqlalchemy.exc.TimeoutError)


def _to_expected(error: sqlalchemy.exc.DBAPIError) -> Exception:
    """Return what a caller can mend in place of the database's error, or that."""
    unique, not_in_repertoire, untranslatable = "23505", "22021", "22P05"
    state = getattr(error.orig, "sqlstate", None)
    if state == unique:
        return ConflictError()
    if state in (not_in_repertoire, untranslatable) or "surrogates not allowed" in str(error.orig):
        return InvalidInputError("a text holds a NUL character, or half a surrogate pair")
    return error


def _visible(principal: Principal, table: type[SQLModel]) -> bool:
    """Say whether every row of a table exists for the principal."""
    return principal.is_system or (principal.is_superadmin and table not in CONFIDENTIAL)


@event.listens_for(ScopedSession, "do_orm_execute")
def _narrow(state: ORMExecuteState) -> None:
    principal = cast("Principal", state.session.info[_PRINCIPAL])
    if _READ_ONLY in state.session.info and (not state.is_select or _locks(state.statement)):
        raise ReadOnlyError(f"{principal.login} may only read here")
    if not state.is_select and state.bind_mapper is not None:
        _tell_origin(state.session, state.bind_mapper.class_)
    if principal.is_system:
        return
    if state.is_insert:
        _check_insert(state, principal)
        return
    if state.is_update:
        _check_update(state, principal)
    state.statement = state.statement.options(
        *_gate(principal.organization_id, reading=state.is_select, is_superadmin=principal.is_superadmin)
    )


def _locks(statement: object) -> bool:
    return getattr(statement, "_for_update_arg", None) is not None


@lru_cache(maxsize=4096)
def _gate(
    organization_id: int | None, *, reading: bool, is_superadmin: bool
) -> tuple[LoaderCriteriaOption, ...]:
    """Return the criteria that narrow a statement to the rows that exist for an organization's principals.

    Made once: to make them anew for every statement costs more than many a statement does.
    """
    options = [
        with_loader_criteria(
            table,
            _criterion(table, organization_id, shared=reading and table in SHARED),
            include_aliases=True,
        )
        for table in (CONFIDENTIAL if is_superadmin else TENANT_TABLES)
    ]
    if not is_superadmin:
        itself = models.Organization.id == organization_id
        options.append(with_loader_criteria(models.Organization, itself, include_aliases=True))
    return tuple(options)


def _criterion(table: type[SQLModel], organization_id: int | None, *, shared: bool) -> ColumnElement[bool]:
    column = cast("InstrumentedAttribute[int | None]", table.organization_id)
    own = column == organization_id
    return or_(own, column.is_(None)) if shared else own


def _check_insert(state: ORMExecuteState, principal: Principal) -> None:
    mapper = state.bind_mapper
    table = mapper.class_ if mapper is not None else None
    if table not in TENANT_TABLES:
        return
    rows = state.parameters if isinstance(state.parameters, list) else [state.parameters or {}]
    for row in cast("list[Mapping[str, Any]]", rows):
        _check_owner(principal, table, row.get("organization_id"))


def _check_update(state: ORMExecuteState, principal: Principal) -> None:
    table = state.bind_mapper.class_ if state.bind_mapper is not None else None
    if table not in TENANT_TABLES or _visible(principal, table):
        return
    # No public way leads to what an UPDATE sets. With rows as parameters it is one by primary key, which no
    # criterion narrows.
    changed = cast("Any", state.statement)._values or {}  # noqa: SLF001
    if state.parameters or any(getattr(key, "key", key) == "organization_id" for key in changed):
        raise ForeignRowError(
            f"{principal.login} may not move {table.__name__}, nor update it by primary key"
        )


@event.listens_for(ScopedSession, "before_flush")
def _guard(session: Session, _context: UOWTransaction, _instances: object) -> None:
    principal = cast("Principal", session.info[_PRINCIPAL])
    if _READ_ONLY in session.info:
        raise ReadOnlyError(f"{principal.login} may only read here")
    for row in [*session.new, *session.dirty, *session.deleted]:
        # An analyzer's job is its own record: its submission costs no statement more.
        if not (isinstance(row, models.Job) and row.type is models.NeuronType.ANALYZER):
            _tell_origin(session, type(row))
    if principal.is_system:
        return
    for row in [*session.new, *session.dirty, *session.deleted]:
        table = type(row)
        if table is models.Organization:
            _check_organization(principal, row)
        elif table in TENANT_TABLES:
            for owner in _owners(row):
                _check_owner(principal, table, owner)


def _tell_origin(session: Session, table: type[SQLModel]) -> None:
    """Tell the audit log's triggers, once in a transaction, who makes its changes, from where, with what."""
    principal = cast("Principal", session.info[_PRINCIPAL])
    is_work = principal.is_system and table is models.Job
    if table not in AUDITED or is_work or session.info.get(_TOLD):
        return
    session.info[_TOLD] = True
    origin = {"actor": principal.login, "credential": principal.credential, "address": principal.address}
    session.connection().execute(select(func.set_config("cortexql.origin", json.dumps(origin), True)))


def _owners(row: object) -> set[int | None]:
    """Return the row's organization, and the one it had when a change moves it."""
    history = inspect(row).attrs.organization_id.history
    return {*(history.added or ()), *(history.unchanged or ()), *(history.deleted or ())}


def _check_owner(principal: Principal, table: type[SQLModel], owner: int | None) -> None:
    if not _visible(principal, table) and owner != principal.organization_id:
        raise ForeignRowError(f"{principal.login} may not write {table.__name__} of organization {owner}")


def _check_organization(principal: Principal, row: models.Organization) -> None:
    if not principal.is_superadmin and row.id != principal.organization_id:
        raise ForeignRowError(f"{principal.login} may not write organization {row.id}")
