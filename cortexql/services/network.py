"""The way outside: authorities to trust and proxies to take, of the whole instance and of organizations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from cryptography import x509
from sqlalchemy import ColumnElement, ScalarSelect, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from cortexql.errors import InvalidInputError, NotFoundError
from cortexql.models import Authority, Proxy
from cortexql.outbound import Network
from cortexql.principal import Permission
from cortexql.secrets import Cipher
from cortexql.services import organizations, text
from cortexql.transaction import Transaction

Row = TypeVar("Row", Authority, Proxy)
_MAX_CERTIFICATES = 2**20


@dataclass(frozen=True, slots=True)
class ProxySetting:
    """Proxies as they are set; URLs of None are kept, empty ones removed. No organization: of the instance."""

    organization: str | None = None
    http: str | None = None
    https: str | None = None
    no_proxy: str = ""


async def add_authority(
    tx: Transaction, name: str, certificates: str, organization: str | None = None
) -> Authority:
    """Trust certificates, in place of those of the same name.

    Raises:
        InvalidInputError: it is not PEM of one certificate or more, and nothing else.
    """
    tx.principal.require(Permission.INSTANCE_MANAGE)
    text.check(name, "name", longest=256)
    if len(certificates) > _MAX_CERTIFICATES or "PRIVATE KEY" in certificates:
        raise InvalidInputError(
            "certificates alone are wanted, at most 1 MiB of them", field=("certificates",)
        )
    try:
        read_certificates(certificates)
    except ValueError as error:
        raise InvalidInputError("there is no certificate in PEM format", field=("certificates",)) from error
    owner = await _owner(tx, organization)
    same = select(Authority).where(
        Authority.name == name, Authority.organization_id.is_not_distinct_from(owner)
    )
    row = (await tx.session.scalars(same)).one_or_none() or Authority(
        name=name, organization_id=owner, certificates=""
    )
    row.certificates = certificates.strip() + "\n"
    tx.session.add(row)
    await tx.flush()
    return row


async def remove_authority(tx: Transaction, authority_id: int) -> Authority:
    """Trust an authority no longer."""
    tx.principal.require(Permission.INSTANCE_MANAGE)
    row = (await tx.session.scalars(select(Authority).where(Authority.id == authority_id))).one_or_none()
    if row is None:
        raise NotFoundError("there is no such authority", field=("id",))
    await tx.session.delete(row)
    return row


async def list_authorities(tx: Transaction) -> Sequence[Authority]:
    """Return all authorities, the instance's first."""
    tx.principal.require(Permission.INSTANCE_MANAGE)
    order = (Authority.organization_id.asc().nulls_first(), Authority.name)
    return (await tx.session.scalars(select(Authority).order_by(*order))).all()


async def set_proxy(tx: Transaction, setting: ProxySetting, cipher: Cipher) -> Proxy:
    """Set the proxies of the instance or of an organization.

    Raises:
        InvalidInputError: an address is no http(s) URL.
    """
    tx.principal.require(Permission.INSTANCE_MANAGE)
    owner = await _owner(tx, setting.organization)
    row = await _find_proxy(tx, owner) or Proxy(organization_id=owner)
    if setting.http is not None:
        row.http = _proxy_url(setting.http, "http", cipher)
    if setting.https is not None:
        row.https = _proxy_url(setting.https, "https", cipher)
    row.no_proxy = text.check(setting.no_proxy, "noProxy", longest=4096, empty=True)
    tx.session.add(row)
    await tx.flush()
    return row


async def list_proxies(tx: Transaction) -> Sequence[Proxy]:
    """Return the proxies of the instance, then those of organizations."""
    tx.principal.require(Permission.INSTANCE_MANAGE)
    return (await tx.session.scalars(select(Proxy).order_by(Proxy.organization_id.asc().nulls_first()))).all()


async def of(tx: Transaction, cipher: Cipher, organization_id: int | None = None) -> Network:
    """Return the way outside of an organization's runs, or of the instance: all authorities, the nearest proxies.

    Raises:
        SecretLostError: a proxy's URL was encrypted with another SECRET_KEY.
    """
    authorities, proxy = (await tx.session.execute(select(*columns(organization_id)))).one()
    return from_columns(authorities, proxy, cipher)


def columns(organization_id: int | None) -> tuple[ScalarSelect[Any], ScalarSelect[Any]]:
    """Return what `from_columns` makes a way outside of, to be read together with other things."""
    order = aggregate_order_by("", Authority.organization_id.asc().nulls_last(), Authority.id)
    certificates = select(func.string_agg(Authority.certificates, order)).where(
        _mine(Authority, organization_id)
    )
    named = ("http", Proxy.http, "https", Proxy.https, "no_proxy", Proxy.no_proxy)
    nearest = (
        select(func.json_build_object(*named))
        .where(_mine(Proxy, organization_id))
        .order_by(Proxy.organization_id.asc().nulls_last())
        .limit(1)
    )
    return certificates.scalar_subquery(), nearest.scalar_subquery()


def from_columns(authorities: str | None, proxy: Mapping[str, str | None] | None, cipher: Cipher) -> Network:
    """Return the way outside that `columns` found. Raises SecretLostError."""
    http, https = ((proxy or {}).get(name) for name in ("http", "https"))
    return Network(
        http_proxy=cipher.decrypt(http) if http else "",
        https_proxy=cipher.decrypt(https) if https else "",
        no_proxy=(proxy or {}).get("no_proxy") or "",
        authorities=authorities or "",
    )


async def instance_authorities(tx: Transaction) -> str:
    """Return the certificates that the instance trusts, for what all organizations share."""
    certificates, _ = columns(None)
    return await tx.session.scalar(select(certificates)) or ""


def read_certificates(certificates: str) -> list[x509.Certificate]:
    """Return the certificates of a PEM text, at least one, or raise ValueError."""
    return x509.load_pem_x509_certificates(certificates.encode())


async def _owner(tx: Transaction, organization: str | None) -> int | None:
    return None if organization is None else (await organizations.get(tx, organization)).id


def _mine(table: type[Row], organization_id: int | None) -> ColumnElement[bool]:
    """Select an organization's rows, and the instance's."""
    return table.organization_id.is_(None) | (table.organization_id == organization_id)


async def _find_proxy(tx: Transaction, owner: int | None) -> Proxy | None:
    query = select(Proxy).where(Proxy.organization_id.is_not_distinct_from(owner))
    return (await tx.session.scalars(query)).one_or_none()


def _proxy_url(url: str, field: str, cipher: Cipher) -> str | None:
    if not url.strip():
        return None
    text.check(url, field, longest=2048)
    try:
        parts = urlsplit(url.strip())
        is_proxy = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_proxy = False
    if not is_proxy:
        # The URL stays out of the message: it may hold a password.
        raise InvalidInputError("a proxy is an http:// or https:// URL", field=(field,))
    return cipher.encrypt(url.strip())
