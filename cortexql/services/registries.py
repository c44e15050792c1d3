"""Registries of images: credentials, and the rule that pulls one registry's images from another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ScalarSelect, func, select

from cortexql.catalog.definition import IMAGE_REFERENCE
from cortexql.errors import InvalidInputError, NotFoundError
from cortexql.models import Registry
from cortexql.principal import Permission
from cortexql.runner.images import Credentials
from cortexql.secrets import Cipher
from cortexql.services import text
from cortexql.transaction import Transaction

# What a reference without a host means, and what the engine calls it.
DOCKER_HUB = "docker.io"


@dataclass(frozen=True, slots=True)
class RegistrySetting:
    """A registry as it is set; a password of None is kept, an empty one is removed."""

    host: str
    username: str = ""
    password: str | None = None
    mirror_of: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Where an image is pulled from: its reference there, its registry's host, and the credentials for it."""

    reference: str
    host: str
    credentials: Credentials | None = None


async def put(tx: Transaction, setting: RegistrySetting, cipher: Cipher) -> Registry:
    """Set a registry, new or known by its host.

    Raises:
        InvalidInputError: the host is not `host` or `host:port`, or the mirror rule makes no reference.
    """
    tx.principal.require(Permission.INSTANCE_MANAGE)
    host, path = setting.host.strip().lower(), setting.path.strip("/")
    mirror_of = setting.mirror_of.strip("/")
    if "/" in host or not _is_reference(f"{host}/x"):
        raise InvalidInputError("a registry is named host or host:port", field=("host",))
    for name, value in (("path", path), ("mirrorOf", mirror_of)):
        if value and not _is_reference(f"{value}/x"):
            raise InvalidInputError(f"{name} is not the beginning of a reference", field=(name,))
    row = await _find(tx, host) or Registry(host=host)
    row.username = text.check(setting.username, "username", longest=256, empty=True)
    row.mirror_of, row.path = mirror_of, path
    if setting.password is not None:
        text.check(setting.password, "password", longest=65536, empty=True)
        row.password = cipher.encrypt(setting.password) if setting.password else None
    tx.session.add(row)
    await tx.flush()
    return row


async def remove(tx: Transaction, host: str) -> Registry:
    """Forget a registry with its credentials."""
    tx.principal.require(Permission.INSTANCE_MANAGE)
    row = await _find(tx, host.strip().lower())
    if row is None:
        raise NotFoundError(f"there is no registry {host[:256]}", field=("host",))
    await tx.session.delete(row)
    return row


async def list_all(tx: Transaction) -> Sequence[Registry]:
    """Return the registries, by host."""
    tx.principal.require(Permission.INSTANCE_MANAGE)
    return (await tx.session.scalars(select(Registry).order_by(Registry.host))).all()


async def known(tx: Transaction) -> Sequence[Registry]:
    """Return the registries for what the system itself does."""
    return (await tx.session.scalars(select(Registry))).all()


def columns() -> ScalarSelect[Any]:
    """Return what `from_columns` makes the known registries of, to be read together with other things."""
    names = ("host", "username", "password", "mirror_of", "path")
    pairs = [each for name in names for each in (name, getattr(Registry, name))]
    return select(func.json_agg(func.json_build_object(*pairs))).scalar_subquery()


def from_columns(found: Sequence[Mapping[str, Any]] | None) -> Sequence[Registry]:
    """Return the registries that `columns` found."""
    return [Registry(**row) for row in found or ()]


def source_of(reference: str, known: Sequence[Registry], cipher: Cipher) -> Source:
    """Return where an image is pulled from, and as whom.

    Raises:
        SecretLostError: the registry's password was encrypted with another SECRET_KEY.
    """
    reference = place(reference, known)
    host = host_of(reference)
    return Source(reference, host, credentials_of(host, known, cipher))


def place(reference: str, known: Sequence[Registry]) -> str:
    """Return an image as it is pulled; of several mirror rules the longest prefix counts."""
    named = _with_host(reference)
    mirrors = [row for row in known if row.mirror_of and named.startswith(_prefix(row))]
    if not mirrors:
        return reference
    mirror = max(mirrors, key=lambda row: len(_prefix(row)))
    rest = named.removeprefix(_prefix(mirror))
    return "/".join(part for part in (mirror.host, mirror.path, rest) if part)


def credentials_of(host: str, known: Sequence[Registry], cipher: Cipher) -> Credentials | None:
    """Return the credentials that are kept for a registry, or None.

    Raises:
        SecretLostError: its password was encrypted with another SECRET_KEY.
    """
    row = next((row for row in known if row.host == host), None)
    if row is None or row.password is None:
        return None
    return Credentials(row.username, cipher.decrypt(row.password))


def host_of(reference: str) -> str:
    """Return a reference's registry: its first part, where that has a dot or a port in it, else Docker Hub."""
    first, slash, _ = reference.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
    return first.lower() if is_host else DOCKER_HUB


def _with_host(reference: str) -> str:
    """Return a reference with what Docker Hub's leave out: `python:3` is `docker.io/library/python:3`."""
    if host_of(reference) != DOCKER_HUB:
        return reference
    path = reference.removeprefix(f"{DOCKER_HUB}/")
    return f"{DOCKER_HUB}/{path}" if "/" in path else f"{DOCKER_HUB}/library/{path}"


def _prefix(row: Registry) -> str:
    """Return the beginning, with host, of the references that a registry stands in for."""
    return _with_host(f"{row.mirror_of}/x/").removesuffix("x/")


def _is_reference(value: str) -> bool:
    return len(value) <= 256 and IMAGE_REFERENCE.fullmatch(value) is not None


async def _find(tx: Transaction, host: str) -> Registry | None:
    return (await tx.session.scalars(select(Registry).where(Registry.host == host))).one_or_none()
