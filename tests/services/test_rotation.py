"""Rotation of SECRET_KEY."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import delete, text

from cortexql.auth import session
from cortexql.models import (
    CatalogSource,
    Neuron,
    NeuronType,
    Proxy,
    Registry,
    ServerKind,
    SharedConfig,
    WatchedServer,
)
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.secrets import Cipher, SecretLostError
from cortexql.services import rotation
from cortexql.settings import Settings
from tests.conftest import SHELL, World

OLD, NEW = Cipher("old"), Cipher("new", ["old"])


@pytest.fixture
async def stored(resources: Resources, world: World) -> AsyncIterator[None]:
    """Store a secret in every column that holds one, under the old key."""
    organization_id = world.alpha.principals[Role.READ].organization_id or 0
    async with resources.transactions(SHELL) as tx:
        neuron = await tx.session.get_one(Neuron, world.alpha.neuron.id)
        neuron.secrets = {"api_key": OLD.encrypt("1"), "token": OLD.encrypt("2")}
        shared = SharedConfig(
            organization_id=organization_id, base_config="Echo", secrets={"a": OLD.encrypt("3")}
        )
        tx.session.add(shared)
        tx.session.add(Registry(host="rotated.example", password=OLD.encrypt("4")))
        tx.session.add(Proxy(organization_id=organization_id, http=OLD.encrypt("5"), https=OLD.encrypt("6")))
        location = "https://catalogue.example/analyzers.json"
        password = OLD.encrypt("8")
        tx.session.add(CatalogSource(type=NeuronType.ANALYZER, location=location, password=password))
        server = WatchedServer(
            name="rotated", kind=ServerKind.MISP, url="https://misp.example", password=OLD.encrypt("7")
        )
        tx.session.add(server)
    yield
    async with resources.transactions(SHELL) as tx:
        for table in (CatalogSource, Registry, WatchedServer):
            await tx.session.execute(delete(table))


async def left(resources: Resources, key_id: str) -> list[str]:
    """Return the tables that hold a value of a key."""
    tables = text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
    async with resources.engine.connect() as connection:
        found = []
        for name in (await connection.execute(tables)).scalars().all():
            query = text(f"SELECT count(*) FROM {name} t WHERE t::text LIKE '%{key_id}:gAAAA%'")
            if (await connection.execute(query)).scalar_one():
                found.append(name)
    return sorted(found)


async def test_all_secrets_are_encrypted_anew(resources: Resources, stored: None) -> None:
    tables = ["catalog_source", "neuron", "proxy", "registry", "shared_config", "watched_server"]
    assert await left(resources, OLD.key_id) == tables
    async with resources.transactions(SHELL) as tx:
        assert await rotation.rotate(tx, NEW) == 8
    assert await left(resources, OLD.key_id) == []
    assert await left(resources, NEW.key_id) == tables
    async with resources.transactions(SHELL) as tx:
        assert await rotation.rotate(tx, Cipher("new")) == 0


async def test_a_secret_of_an_unknown_key_changes_nothing(resources: Resources, stored: None) -> None:
    before = await left(resources, OLD.key_id)
    with pytest.raises(SecretLostError):
        async with resources.transactions(SHELL) as tx:
            await rotation.rotate(tx, Cipher("new"))
    assert await left(resources, OLD.key_id) == before


def test_a_session_that_an_old_key_signed_goes_on() -> None:
    before = Settings(secret_key="old", _env_file=None)
    after = Settings(secret_key="new", old_secret_keys="older, old", _env_file=None)
    cookie = session._signer(before).sign("token").decode()  # noqa: SLF001
    assert session._signer(after).unsign(cookie) == b"token"  # noqa: SLF001
    assert session._signer(after).sign("token").decode() != cookie  # noqa: SLF001
