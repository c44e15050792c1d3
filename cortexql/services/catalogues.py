"""Where definitions are read from: the sources that the settings name, and the URLs that superadmins add."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urlsplit

from sqlalchemy import func, select, update

from cortexql.catalog import source as sources
from cortexql.errors import ConflictError, InvalidInputError, NotFoundError
from cortexql.models import CatalogSource, Definition, NeuronType
from cortexql.outbound import PORTS, Network, without_credentials
from cortexql.principal import Permission, Principal
from cortexql.secrets import Cipher, SecretLostError
from cortexql.services import network, text
from cortexql.settings import Settings
from cortexql.transaction import Transaction, Transactions


@dataclass(frozen=True, slots=True)
class NewSource:
    """A source to add; a password of None is kept, an empty one is removed."""

    kind: NeuronType
    url: str
    username: str = ""
    password: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A source: `given` is its value in the settings, `row` what was added; one of them is None.

    `location` is where it is, as it may be shown.
    """

    kind: NeuronType
    location: str
    given: str | None = None
    row: CatalogSource | None = None


async def add(tx: Transaction, new: NewSource, settings: Settings, cipher: Cipher) -> CatalogSource:
    """Add a source, or set the credentials of one that is known by its kind and URL; the next refresh reads it.

    Raises:
        ConflictError: the settings name it.
        InvalidInputError: it is no http(s) URL. A folder's programs run on the worker, so that only who starts it
            names folders.
    """
    tx.principal.require(Permission.INSTANCE_MANAGE)
    location = _to_location(new.url)
    if any(one.location == location for one in _given(settings, new.kind)):
        raise ConflictError(f"the settings name {location} already", field=("url",))
    row = await _find(tx, new.kind, location) or CatalogSource(type=new.kind, location=location)
    row.username = text.check(new.username.strip(), "username", longest=256, empty=True)
    if new.password is not None:
        text.check(new.password, "password", longest=65536, empty=True)
        row.password = cipher.encrypt(new.password) if new.password else None
    tx.session.add(row)
    await tx.flush()
    return row


async def remove(tx: Transaction, kind: NeuronType, location: str) -> CatalogSource:
    """Read a source no longer. What only it offers is gone from the catalogue; what is enabled of it goes on.

    Raises:
        NotFoundError: none was added there; what the settings name only they remove.
    """
    tx.principal.require(Permission.INSTANCE_MANAGE)
    row = await _find(tx, kind, location)
    if row is None:
        raise NotFoundError(
            f"no catalogue of {kind.value}s was added at {location[:256]}", field=("location",)
        )
    await tx.session.delete(row)
    offered = update(Definition).where(
        Definition.type == kind, Definition.source == location, Definition.gone_at.is_(None)
    )
    await tx.session.execute(offered.values(gone_at=func.now()))
    return row


async def list_all(tx: Transaction, settings: Settings) -> list[Source]:
    """Return all sources: of each kind those of the settings, then those that were added."""
    tx.principal.require(Permission.INSTANCE_MANAGE)
    return await known(tx, settings)


async def known(tx: Transaction, settings: Settings) -> list[Source]:
    """Return all sources for what the system itself does; of two in one place the first."""
    rows = (await tx.session.scalars(select(CatalogSource).order_by(CatalogSource.id))).all()
    found = [one for kind in NeuronType for one in (*_given(settings, kind), *_added(rows, kind))]
    return list({(one.kind, one.location): one for one in reversed(found)}.values())[::-1]


async def way(tx: Transaction, cipher: Cipher) -> Network | None:
    """Return the way to catalogues, or None where the proxy's URL was encrypted with another SECRET_KEY."""
    try:
        return await network.of(tx, cipher)
    except SecretLostError:
        return None


async def read(
    source: Source, settings: Settings, cipher: Cipher, outside: Network | None
) -> sources.Listing:
    """Read a source, outside any transaction: one may be slow."""
    try:
        address = (source.given if source.row is None else _address(source.row, cipher)) or ""
        if outside is None and urlsplit(address).scheme in PORTS:
            raise SecretLostError("the proxy was encrypted with another SECRET_KEY: set it anew")
    except SecretLostError as error:
        lost = sources.Invalid(source.location, str(error))
        return sources.Listing(source.location, (), (lost,), complete=False)
    return await sources.read(address, source.kind.value, outside, settings.outbound_allow)


async def test(
    transactions: Transactions, settings: Settings, principal: Principal, kind: NeuronType, location: str
) -> sources.Listing:
    """Read one source and change nothing.

    Raises:
        NotFoundError: there is no such source.
    """
    cipher = Cipher(settings.key, settings.old_keys)
    async with transactions(principal) as tx:
        found = [one for one in await list_all(tx, settings) if (one.kind, one.location) == (kind, location)]
        outside = await way(tx, cipher)
    if not found:
        raise NotFoundError(
            f"there is no catalogue of {kind.value}s at {location[:256]}", field=("location",)
        )
    return await read(found[0], settings, cipher, outside)


def _given(settings: Settings, kind: NeuronType) -> list[Source]:
    return [
        Source(kind, without_credentials(given) if "://" in given else given, given=given)
        for given in settings.catalogues(kind.value)
    ]


def _added(rows: Sequence[CatalogSource], kind: NeuronType) -> list[Source]:
    return [Source(kind, row.location, row=row) for row in rows if row.type is kind]


def _to_location(url: str) -> str:
    url = text.check(url.strip(), "url", longest=2048)
    parts = _split(url)
    if parts is None:
        raise InvalidInputError(
            "a catalogue that is added is an http:// or https:// URL; folders and files are named by the settings "
            "ANALYZERS and RESPONDERS",
            field=("url",),
        )
    if "@" in parts.netloc:
        raise InvalidInputError("give username and password apart from the URL", field=("url",))
    return parts._replace(scheme=parts.scheme.lower(), netloc=parts.netloc.lower(), fragment="").geturl()


def _split(url: str) -> SplitResult | None:
    """Return the parts of an http(s) URL, or None."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if good and url.isprintable() and " " not in url else None


def _address(row: CatalogSource, cipher: Cipher) -> str:
    """Return a URL with its credentials, or raise SecretLostError."""
    if not row.username and row.password is None:
        return row.location
    password = cipher.decrypt(row.password) if row.password else ""
    parts = urlsplit(row.location)
    credentials = f"{quote(row.username, safe='')}:{quote(password, safe='')}"
    return parts._replace(netloc=f"{credentials}@{parts.netloc}").geturl()


async def _find(tx: Transaction, kind: NeuronType, location: str) -> CatalogSource | None:
    query = select(CatalogSource).where(CatalogSource.type == kind, CatalogSource.location == location)
    return (await tx.session.scalars(query)).one_or_none()
