"""Registries, authorities, proxies, catalogues: for superadmins."""

from typing import Annotated

import strawberry

from cortexql.schema.arguments import given
from cortexql.schema.context import Info
from cortexql.schema.errors import expected
from cortexql.schema.ids import number_of
from cortexql.schema.network import (
    AddAuthorityInput,
    AddCatalogSourceInput,
    Authority,
    AuthorityIdInput,
    AuthorityPayload,
    CatalogSource,
    CatalogSourceInput,
    CatalogSourcePayload,
    Proxy,
    ProxyPayload,
    Registry,
    RegistryHostInput,
    RegistryPayload,
    SetProxyInput,
    SetRegistryInput,
    TestCatalogSourcePayload,
)
from cortexql.services import catalogues, network, registries


@strawberry.type
class NetworkQueries:
    @strawberry.field(description="Registries of images; for superadmins.")
    async def registries(self, info: Info) -> list[Registry]:
        async with info.context.reading() as tx:
            return [Registry.of(row) for row in await registries.list_all(tx)]

    @strawberry.field(description="Authorities that are trusted; for superadmins.")
    async def authorities(self, info: Info) -> list[Authority]:
        async with info.context.reading() as tx:
            return [Authority.of(row) for row in await network.list_authorities(tx)]

    @strawberry.field(description="HTTP proxies; for superadmins.")
    async def proxies(self, info: Info) -> list[Proxy]:
        async with info.context.reading() as tx:
            rows = await network.list_proxies(tx)
        return [Proxy.of(row, info.context.resources.cipher) for row in rows]

    @strawberry.field(description="Where definitions are read from; for superadmins.")
    async def catalog_sources(self, info: Info) -> list[CatalogSource]:
        async with info.context.open() as tx:
            found = await catalogues.list_all(tx, info.context.resources.settings)
        return [CatalogSource.of(one) for one in found]


@strawberry.type
class NetworkMutations:
    @strawberry.mutation(description="Sets a registry: its credentials, and whose images it stands in for.")
    @expected(RegistryPayload)
    async def set_registry(self, info: Info, input: Annotated[SetRegistryInput, given]) -> RegistryPayload:
        setting = registries.RegistrySetting(
            input.host, input.username, input.password, input.mirror_of, input.path
        )
        async with info.context.open() as tx:
            row = await registries.put(tx, setting, info.context.resources.cipher)
        return RegistryPayload(registry=Registry.of(row))

    @strawberry.mutation(description="Forgets a registry, with its credentials.")
    @expected(RegistryPayload)
    async def remove_registry(
        self, info: Info, input: Annotated[RegistryHostInput, given]
    ) -> RegistryPayload:
        async with info.context.open() as tx:
            row = await registries.remove(tx, input.host)
        return RegistryPayload(registry=Registry.of(row))

    @strawberry.mutation(description="Trusts certificates.")
    @expected(AuthorityPayload)
    async def add_authority(self, info: Info, input: Annotated[AddAuthorityInput, given]) -> AuthorityPayload:
        async with info.context.open() as tx:
            row = await network.add_authority(tx, input.name, input.certificates, input.organization)
        return AuthorityPayload(authority=Authority.of(row))

    @strawberry.mutation(description="Trusts certificates no longer.")
    @expected(AuthorityPayload)
    async def remove_authority(
        self, info: Info, input: Annotated[AuthorityIdInput, given]
    ) -> AuthorityPayload:
        async with info.context.open() as tx:
            row = await network.remove_authority(tx, number_of(input.id, "Authority"))
        return AuthorityPayload(authority=Authority.of(row))

    @strawberry.mutation(description="Sets HTTP proxies.")
    @expected(ProxyPayload)
    async def set_proxy(self, info: Info, input: Annotated[SetProxyInput, given]) -> ProxyPayload:
        setting = network.ProxySetting(input.organization, input.http, input.https, input.no_proxy)
        cipher = info.context.resources.cipher
        async with info.context.open() as tx:
            row = await network.set_proxy(tx, setting, cipher)
        return ProxyPayload(proxy=Proxy.of(row, cipher))

    @strawberry.mutation(
        description="Adds a catalogue, which the next refresh reads; folders and files only the settings name."
    )
    @expected(CatalogSourcePayload)
    async def add_catalog_source(
        self, info: Info, input: Annotated[AddCatalogSourceInput, given]
    ) -> CatalogSourcePayload:
        new = catalogues.NewSource(input.type, input.url, input.username, input.password)
        resources = info.context.resources
        async with info.context.open() as tx:
            row = await catalogues.add(tx, new, resources.settings, resources.cipher)
        return CatalogSourcePayload(source=CatalogSource.added(row))

    @strawberry.mutation(
        description="Reads a catalogue that was added no longer: what it offers is gone, what is enabled goes on."
    )
    @expected(CatalogSourcePayload)
    async def remove_catalog_source(
        self, info: Info, input: Annotated[CatalogSourceInput, given]
    ) -> CatalogSourcePayload:
        async with info.context.open() as tx:
            row = await catalogues.remove(tx, input.type, input.location)
        return CatalogSourcePayload(source=CatalogSource.added(row))

    @strawberry.mutation(description="Reads a catalogue, and says what is in it; nothing is changed.")
    @expected(TestCatalogSourcePayload)
    async def test_catalog_source(
        self, info: Info, input: Annotated[CatalogSourceInput, given]
    ) -> TestCatalogSourcePayload:
        resources = info.context.resources
        listing = await catalogues.test(
            resources.transactions, resources.settings, info.context.principal, input.type, input.location
        )
        return TestCatalogSourcePayload.of(listing)
