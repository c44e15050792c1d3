"""First run: the superadmin from the settings while there is no user, then the first team."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from cortexql.models import Organization, User
from cortexql.principal import Permission, Role, system
from cortexql.secrets import Cipher
from cortexql.services import api_keys, neurons, organizations, passwords, users
from cortexql.settings import Settings
from cortexql.transaction import Transaction, Transactions

_LOCK = 0x66697273  # one process at a time: "firs"


@dataclass(frozen=True, slots=True)
class Team:
    """A first organization, whose admin may analyze too, and the definitions that it has enabled from the start."""

    organization: str
    login: str
    password_hash: str
    definitions: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Owner:
    """Who takes over the account that the start made; a hash of None keeps its password."""

    login: str
    name: str
    password_hash: str | None = None


async def is_alone(tx: Transaction) -> bool:
    """Say whether there is no organization but the instance's own: nothing can be analyzed yet."""
    tx.principal.require(Permission.INSTANCE_MANAGE)
    others = select(Organization.id).where(Organization.name != organizations.FIRST).limit(1)
    return (await tx.session.scalars(others)).first() is None


async def set_up(tx: Transaction, team: Team, cipher: Cipher) -> str:
    """Create a team, and return its admin's API key; all or nothing.

    Raises:
        ConflictError: organization or login are taken.
        InvalidInputError: a definition needs something set.
    """
    tx.principal.require(Permission.INSTANCE_MANAGE)
    await organizations.create(tx, team.organization, "")
    admin = users.NewUser(
        team.login, team.login, frozenset({Role.ORGADMIN}), team.organization, team.password_hash
    )
    user = await users.create(tx, admin)
    for definition_id in team.definitions:
        await neurons.enable(tx, neurons.NewNeuron(definition_id, organization=team.organization), cipher)
    return (await api_keys.renew(tx, user.login)).key


async def take_over(tx: Transaction, owner: Owner) -> User:
    """Make the caller's account, which the start made, its owner's. Its sessions end, its API keys go on.

    Raises:
        ConflictError: the login is taken.
    """
    tx.principal.require(Permission.INSTANCE_MANAGE)
    user = await users.viewer(tx)
    if users.to_login(owner.login) != user.login:
        await users.rename(tx, user.login, owner.login)
    if owner.password_hash is not None:
        await users.set_password(tx, user.login, owner.password_hash)
    return await users.update(tx, user.login, users.UserChange(name=owner.name))


async def first_superadmin(transactions: Transactions, settings: Settings) -> str | None:
    """Create organization `cortex` and its superadmin if there is no user; return a password that was made up."""
    given = settings.admin_password.get_secret_value()
    password = given or secrets.token_urlsafe(12)
    async with transactions(system("bootstrap")) as tx:
        await tx.session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        if (await tx.session.scalars(select(User.id).limit(1))).first() is not None:
            return None
        if await organizations.find(tx, organizations.FIRST) is None:
            tx.session.add(
                Organization(name=organizations.FIRST, description="Administration of this instance")
            )
            await tx.flush()
        user = await users.create(
            tx,
            users.NewUser(
                login=settings.admin_login,
                name="Administrator",
                roles=frozenset({Role.SUPERADMIN}),
                organization=organizations.FIRST,
                password_hash=await passwords.to_hash(password, settings.admin_login),
            ),
        )
        if key := settings.admin_api_key.get_secret_value():
            await api_keys.set_default(tx, user, key)
    return None if given else password
