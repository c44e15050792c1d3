"""The way outside: registries, authorities, proxies, catalogues."""

from datetime import datetime
from urllib.parse import urlsplit

import strawberry
from cryptography.hazmat.primitives import hashes

from cortexql import models
from cortexql.catalog.source import Listing
from cortexql.schema.context import Info
from cortexql.schema.enums import NeuronType
from cortexql.schema.errors import Payload
from cortexql.schema.ids import encode
from cortexql.schema.organizations import Organization
from cortexql.schema.payloads import InvalidDefinition
from cortexql.secrets import Cipher
from cortexql.services import catalogues, network


@strawberry.type(description="A registry of images.")
class Registry:
    host: str = strawberry.field(
        description="As references name it: host or host:port; docker.io is Docker Hub."
    )
    username: str = strawberry.field(description="Empty: without credentials.")
    has_password: bool = strawberry.field(description="Whether a password is set; it is never shown.")
    mirror_of: str = strawberry.field(
        description="References that begin so, e.g. ghcr.io, are pulled from here instead."
    )
    path: str = strawberry.field(description="What stands before the repository's name here.")

    @classmethod
    def of(cls, row: models.Registry) -> "Registry":
        """Convert a row."""
        return cls(
            host=row.host,
            username=row.username,
            has_password=row.password is not None,
            mirror_of=row.mirror_of,
            path=row.path,
        )


@strawberry.type(description="A certificate that is trusted.")
class Certificate:
    subject: str = strawberry.field(description="Whose it is.")
    not_after: datetime = strawberry.field(description="Until when it holds.")
    sha256: str = strawberry.field(description="Its fingerprint.")


@strawberry.type(
    description="Certificates that are trusted beside the public ones: by catalogues, by pulls of images (the "
    "instance's only), and in containers, by Python, OpenSSL, curl and Node."
)
class Authority:
    id: strawberry.ID = strawberry.field(description="Its global id.")
    name: str = strawberry.field(description="Its name.")
    certificates: list[Certificate] = strawberry.field(description="What is trusted.")
    owner: strawberry.Private[int | None]

    @classmethod
    def of(cls, row: models.Authority) -> "Authority":
        """Convert a row."""
        return cls(
            id=strawberry.ID(encode("Authority", row.id)),
            name=row.name,
            certificates=[
                Certificate(
                    subject=one.subject.rfc4514_string(),
                    not_after=one.not_valid_after_utc,
                    sha256=one.fingerprint(hashes.SHA256()).hex(),
                )
                for one in network.read_certificates(row.certificates)
            ],
            owner=row.organization_id,
        )

    @strawberry.field(description="For whose runs; null: the whole instance.")
    async def organization(self, info: Info) -> Organization | None:
        return await _organization(info, self.owner)


@strawberry.type(description="HTTP proxies of the instance, or of what one organization runs.")
class Proxy:
    http: str | None = strawberry.field(description="For http, without its password.")
    https: str | None = strawberry.field(description="For https, without its password.")
    no_proxy: str = strawberry.field(description="Hosts that are reached without, comma-separated.")
    owner: strawberry.Private[int | None]

    @classmethod
    def of(cls, row: models.Proxy, cipher: Cipher) -> "Proxy":
        """Convert a row."""
        return cls(
            http=_shown(row.http, cipher),
            https=_shown(row.https, cipher),
            no_proxy=row.no_proxy,
            owner=row.organization_id,
        )

    @strawberry.field(description="For whose runs; null: the whole instance.")
    async def organization(self, info: Info) -> Organization | None:
        return await _organization(info, self.owner)


@strawberry.type(description="Where definitions are read from.")
class CatalogSource:
    type: NeuronType = strawberry.field(description="Of analyzers or of responders.")
    location: str = strawberry.field(description="A URL; of the settings a folder or file, too.")
    by_settings: bool = strawberry.field(description="Whether the settings name it; only they remove it.")
    username: str = strawberry.field(default="", description="Empty: without credentials.")
    has_password: bool = strawberry.field(
        default=False, description="Whether a password is set; it is never shown."
    )

    @classmethod
    def of(cls, source: catalogues.Source) -> "CatalogSource":
        """Convert a source."""
        if source.row is not None:
            return cls.added(source.row)
        return cls(type=source.kind, location=source.location, by_settings=True)

    @classmethod
    def added(cls, row: models.CatalogSource) -> "CatalogSource":
        """Convert a row."""
        return cls(
            type=row.type,
            location=row.location,
            by_settings=False,
            username=row.username,
            has_password=row.password is not None,
        )


@strawberry.input(description="A catalogue, new or known by its type and URL.")
class AddCatalogSourceInput:
    type: NeuronType = strawberry.field(description="Of analyzers or of responders.")
    url: str = strawberry.field(description="http or https, of a JSON list of definitions.")
    username: str = strawberry.field(default="", description="Empty: without credentials.")
    password: str | None = strawberry.field(default=None, description="Null is kept, empty removed.")


@strawberry.input(description="A catalogue.")
class CatalogSourceInput:
    type: NeuronType = strawberry.field(description="Of analyzers or of responders.")
    location: str = strawberry.field(description="Where it is, as it is listed.")


@strawberry.type(description="A catalogue that was changed.")
class CatalogSourcePayload(Payload):
    source: CatalogSource | None = strawberry.field(
        default=None, description="As it is now, or was until now."
    )


@strawberry.type(description="What was found in a catalogue; nothing was changed.")
class TestCatalogSourcePayload(Payload):
    readable: bool = strawberry.field(default=False, description="Whether it could be read.")
    definitions: list[str] = strawberry.field(default_factory=list, description="Ids of what it offers.")
    invalid: list[InvalidDefinition] = strawberry.field(
        default_factory=list, description="What could not be used."
    )

    @classmethod
    def of(cls, listing: Listing) -> "TestCatalogSourcePayload":
        """Convert a listing."""
        return cls(
            readable=listing.complete,
            definitions=[one.id for one in listing.definitions],
            invalid=[InvalidDefinition(source=one.source, reason=one.reason) for one in listing.invalid],
        )


@strawberry.input(description="A registry, new or known by its host.")
class SetRegistryInput:
    host: str = strawberry.field(description="host or host:port; docker.io is Docker Hub.")
    username: str = strawberry.field(default="", description="Empty: without credentials.")
    password: str | None = strawberry.field(default=None, description="Null is kept, empty removed.")
    mirror_of: str = strawberry.field(
        default="", description="References that begin so, e.g. ghcr.io, are pulled from here instead."
    )
    path: str = strawberry.field(default="", description="What stands before the repository's name here.")


@strawberry.input(description="A registry.")
class RegistryHostInput:
    host: str = strawberry.field(description="Its host.")


@strawberry.input(description="Certificates to trust, in place of those of the same name.")
class AddAuthorityInput:
    name: str = strawberry.field(description="Their name.")
    certificates: str = strawberry.field(description="One or more, PEM.")
    organization: str | None = strawberry.field(
        default=None, description="For its runs; null: the whole instance."
    )


@strawberry.input(description="An authority.")
class AuthorityIdInput:
    id: strawberry.ID = strawberry.field(description="Its global id.")


@strawberry.input(
    description="Proxies of the instance, or of an organization's runs; null URLs are kept, empty removed."
)
class SetProxyInput:
    organization: str | None = strawberry.field(
        default=None, description="For its runs; null: the whole instance."
    )
    http: str | None = strawberry.field(default=None, description="For http: an http(s) URL.")
    https: str | None = strawberry.field(default=None, description="For https: an http(s) URL.")
    no_proxy: str = strawberry.field(
        default="", description="Hosts that are reached without, comma-separated."
    )


@strawberry.type(description="A registry that was changed.")
class RegistryPayload(Payload):
    registry: Registry | None = strawberry.field(default=None, description="As it is now, or was until now.")


@strawberry.type(description="An authority that was changed.")
class AuthorityPayload(Payload):
    authority: Authority | None = strawberry.field(
        default=None, description="As it is now, or was until now."
    )


@strawberry.type(description="Proxies that were changed.")
class ProxyPayload(Payload):
    proxy: Proxy | None = strawberry.field(default=None, description="As they are now.")


async def _organization(info: Info, number: int | None) -> Organization | None:
    row = await info.context.loaders.organization.load(number) if number is not None else None
    return Organization.of(row) if row else None


def _shown(stored: str | None, cipher: Cipher) -> str | None:
    if stored is None:
        return None
    parts = urlsplit(cipher.decrypt(stored))
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
