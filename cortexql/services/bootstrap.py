"""The first superadmin, from the settings, while there is no user."""

import secrets

from sqlalchemy import func, select

from cortexql.models import Organization, User
from cortexql.principal import Role, system
from cortexql.services import api_keys, organizations, passwords, users
from cortexql.settings import Settings
from cortexql.transaction import Transactions

_LOCK = 0x66697273  # one process at a time: "firs"


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
