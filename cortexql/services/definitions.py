"""The catalogue: refresh it from its sources, list it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, delete, func, literal, or_, select

from cortexql.catalog import source as sources
from cortexql.catalog.definition import ParsedDefinition
from cortexql.errors import NotFoundError
from cortexql.models import CatalogRefresh, Definition, NeuronType
from cortexql.principal import Permission, Principal, system
from cortexql.secrets import Cipher
from cortexql.services import catalogues, images, page
from cortexql.settings import Settings
from cortexql.transaction import Transaction, Transactions

_LOCK = 0x63617461  # one refresh at a time: "cata"
_REFRESH = system("refresh")
_KEPT = timedelta(days=90)
_BY_NAME = page.Keyset("catalog", (Definition.definition_id,))


class ChangeKind(StrEnum):
    ADDED = "added"
    UPDATED = "updated"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Change:
    """What a refresh did to one definition."""

    kind: ChangeKind
    type: NeuronType
    definition_id: str
    source: str


@dataclass(slots=True)
class Refresh:
    """What a refresh did."""

    changes: list[Change] = field(default_factory=list)
    invalid: list[sources.Invalid] = field(default_factory=list)
    unchanged: int = 0

    def count(self, kind: ChangeKind) -> int:
        """Return how many changes are of a kind."""
        return sum(change.kind is kind for change in self.changes)


async def refresh(
    tx: Transaction,
    listings: Sequence[tuple[NeuronType, sources.Listing]],
    record: CatalogRefresh | None = None,
) -> Refresh:
    """Bring the catalogue to what the sources list, and record it: all in one transaction, entry by entry.

    An entry that broke keeps its last good version, and so does all of a source that could not be read.
    """
    tx.principal.require(Permission.NEURON_MANAGE)
    await tx.session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    stored = {row.definition_id: row for row in (await tx.session.scalars(select(Definition))).all()}
    result = Refresh()
    seen: set[str] = set()
    for kind, listing in listings:
        result.invalid += listing.invalid
        for parsed in listing.definitions:
            if parsed.id in seen:
                result.invalid.append(
                    sources.Invalid(parsed.source, f"{parsed.id} is listed twice; the first one counts")
                )
                continue
            seen.add(parsed.id)
            _merge(tx, result, kind, parsed, stored.get(parsed.id))
    _mark_gone(result, listings, [row for id_, row in stored.items() if id_ not in seen])
    _fill(record or CatalogRefresh(actor=tx.principal.login), result, tx)
    await tx.session.execute(delete(CatalogRefresh).where(CatalogRefresh.started_at < func.now() - _KEPT))
    await tx.flush()
    return result


async def refresh_all(
    transactions: Transactions, settings: Settings, principal: Principal, only: NeuronType | None = None
) -> Refresh:
    """Read the sources, then refresh in a transaction of the given principal."""
    principal.require(Permission.NEURON_MANAGE)
    return await _refresh_from(transactions, settings, principal, only)


async def refresh_due(transactions: Transactions, settings: Settings, principal: Principal) -> Refresh | None:
    """Refresh if nobody has begun to for CATALOG_REFRESH; of many workers that ask at once, one does it."""
    if not settings.catalog_refresh:
        return None
    async with transactions(principal) as tx:
        await tx.session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        recent = CatalogRefresh.started_at > func.now() - settings.catalog_refresh
        if (await tx.session.scalars(select(CatalogRefresh.id).where(recent).limit(1))).first() is not None:
            return None
        record = CatalogRefresh(actor=principal.login)
        tx.session.add(record)
    return await _refresh_from(transactions, settings, principal, record=record)


async def last_refresh(tx: Transaction) -> CatalogRefresh | None:
    """Return the newest reading that has ended."""
    query = select(CatalogRefresh).where(CatalogRefresh.ended_at.is_not(None))
    return (await tx.session.scalars(query.order_by(CatalogRefresh.id.desc()).limit(1))).first()


async def get(tx: Transaction, definition_id: str) -> Definition:
    """Return a definition by its id, e.g. `FileInfo_8_0`, or raise NotFoundError."""
    query = select(Definition).where(Definition.definition_id == definition_id)
    definition = (await tx.session.scalars(query)).one_or_none()
    if definition is None:
        raise NotFoundError(f"there is no definition {definition_id[:256]}", field=("definition",))
    return definition


async def find(tx: Transaction, kind: NeuronType, definition_id: str) -> Definition | None:
    """Return a definition of a kind, or None."""
    query = select(Definition).where(Definition.definition_id == definition_id, Definition.type == kind)
    return (await tx.session.scalars(query)).one_or_none()


async def list_page(
    tx: Transaction,
    kind: NeuronType | None,
    search: str | None,
    request: page.PageRequest,
    *,
    data_type: str | None = None,
) -> page.Page[Definition]:
    """Page through what the catalogues offer now, all or what takes a data type."""
    tx.principal.require(Permission.READ)
    query = select(Definition).where(Definition.gone_at.is_(None))
    if kind is not None:
        query = query.where(Definition.type == kind)
    if search:
        query = query.where(_matches(search))
    if data_type:
        query = query.where(literal(data_type) == func.any(Definition.data_types))
    return await page.read(tx, query, _BY_NAME, request)


async def newest(tx: Transaction, kind: NeuronType, name: str) -> Definition | None:
    """Return the newest version of a name that is offered now, or None."""
    query = select(Definition).where(
        Definition.type == kind, Definition.name == name, Definition.gone_at.is_(None)
    )
    return max((await tx.session.scalars(query)).all(), key=_version, default=None)


async def newer(tx: Transaction, definition_pks: Sequence[int]) -> dict[int, Definition]:
    """Return, for each definition that has one, the newest version of the same name, if that is a newer one."""
    asked = (await tx.session.scalars(select(Definition).where(Definition.id.in_(definition_pks)))).all()
    names = {row.name for row in asked}
    query = select(Definition).where(Definition.name.in_(names), Definition.gone_at.is_(None))
    newest: dict[tuple[NeuronType, str], Definition] = {}
    for row in (await tx.session.scalars(query)).all():
        best = newest.get((row.type, row.name))
        if best is None or _version(row) > _version(best):
            newest[row.type, row.name] = row
    pairs = ((row, newest.get((row.type, row.name))) for row in asked)
    return {row.id: best for row, best in pairs if best is not None and _version(best) > _version(row)}


async def _refresh_from(
    transactions: Transactions,
    settings: Settings,
    principal: Principal,
    only: NeuronType | None = None,
    *,
    record: CatalogRefresh | None = None,
) -> Refresh:
    cipher = Cipher(settings.key, settings.old_keys)
    async with transactions(_REFRESH) as tx:
        known = [one for one in await catalogues.known(tx, settings) if only in (None, one.kind)]
        outside = await catalogues.way(tx, cipher)
    # Outside any transaction: one may be slow.
    listings = [(one.kind, await catalogues.read(one, settings, cipher, outside)) for one in known]
    async with transactions(principal) as tx:
        done = await refresh(tx, listings, record)
    async with transactions(_REFRESH) as tx:
        await images.request_updates(tx, settings)
    return done


def _version(row: Definition) -> tuple[tuple[int, str], ...]:
    parts = row.version.split(".")
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def _matches(search: str) -> ColumnElement[bool]:
    columns = (Definition.definition_id, Definition.description, Definition.author)
    return or_(*[column.icontains(search, autoescape=True) for column in columns])


def _merge(
    tx: Transaction, result: Refresh, kind: NeuronType, parsed: ParsedDefinition, row: Definition | None
) -> None:
    if row is not None and row.fingerprint == parsed.fingerprint and row.gone_at is None:
        result.unchanged += 1
        return
    change = ChangeKind.ADDED if row is None or row.gone_at is not None else ChangeKind.UPDATED
    if row is None:
        row = Definition(definition_id=parsed.id, type=kind)  # type: ignore[call-arg]  # the rest is copied next
    _copy(parsed, row)
    row.type = kind
    tx.session.add(row)
    result.changes.append(Change(change, kind, parsed.id, parsed.source))


def _copy(parsed: ParsedDefinition, row: Definition) -> None:
    row.name, row.version = parsed.name, parsed.version
    row.description, row.author = parsed.description, parsed.author
    row.license, row.url = parsed.license, parsed.url
    row.data_types = list(parsed.data_types)
    row.base_config = parsed.base_config
    row.configuration_items = [asdict(item) for item in parsed.items]
    row.config = dict(parsed.config)
    row.docker_image, row.command, row.root = parsed.docker_image, parsed.command, parsed.root
    row.source, row.fingerprint = parsed.source, parsed.fingerprint
    row.gone_at = None


def _mark_gone(
    result: Refresh, listings: Sequence[tuple[NeuronType, sources.Listing]], missing: Sequence[Definition]
) -> None:
    kinds = {kind for kind, _ in listings}
    unread = {listing.source for _, listing in listings if not listing.complete}
    # An entry without a readable name may be any of its source's.
    broken = {(invalid.source, invalid.name) for _, listing in listings for invalid in listing.invalid}
    for row in missing:
        is_kept = (
            any(row.source == source or row.source.startswith(f"{source}/") for source in unread)
            or (row.source, None) in broken
            or (row.source, row.name) in broken
        )
        if row.gone_at is not None or row.type not in kinds or is_kept:
            continue
        row.gone_at = func.now()  # type: ignore[assignment]  # the database's clock
        result.changes.append(Change(ChangeKind.REMOVED, row.type, row.definition_id, row.source))


def _fill(record: CatalogRefresh, result: Refresh, tx: Transaction) -> None:
    record.changes = [asdict(change) for change in result.changes]
    record.invalid = [{"source": one.source, "reason": one.reason} for one in result.invalid]
    record.unchanged = result.unchanged
    record.ended_at = func.now()  # type: ignore[assignment]  # the database's clock
    tx.session.add(record)
