"""Everybody who may knock: each role, the other organization's admin, and those who may not come in."""

from sqlalchemy import text

from cortexql.models import OrganizationStatus, UserStatus
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import api_keys, organizations, users
from tests.auth.steps import bearer
from tests.conftest import SHELL, World

Headers = dict[str, str]
NOBODIES = ("nobody", "locked user", "locked organization", "expired key")
EVERYBODY = frozenset(Role)
SUBMITTERS = frozenset({Role.ANALYZE, Role.ORGADMIN})
ADMINS = frozenset({Role.ORGADMIN, Role.SUPERADMIN})
SUPERADMINS = frozenset({Role.SUPERADMIN})


def callers_of(world: World) -> dict[Role, Headers]:
    """Return alpha's callers of each role, and the superadmin."""
    return {role: world.alpha.headers(role) for role in world.alpha.keys} | {
        Role.SUPERADMIN: bearer(world.superadmin_key)
    }


async def nobodies(resources: Resources) -> dict[str, Headers]:
    """Make those who come with a credential that does not do, each an orgadmin's, or with none."""
    keys = {}
    async with resources.transactions(SHELL) as tx:
        await organizations.create(tx, "closed", "")
        for name, organization in zip(NOBODIES[1:], ("alpha", "closed", "alpha"), strict=True):
            login = f"{name.replace(' ', '.')}@{organization}"
            await users.create(tx, users.NewUser(login, name, frozenset({Role.ORGADMIN}), organization))
            keys[name] = (await api_keys.renew(tx, login)).key
        await users.update(tx, "locked.user@alpha", users.UserChange(status=UserStatus.LOCKED))
        locked = organizations.OrganizationChange(status=OrganizationStatus.LOCKED)
        await organizations.update(tx, "closed", locked)
        over = (
            "UPDATE api_key SET expires_at = now() - interval '1 s' FROM account WHERE account.id = user_id"
        )
        await tx.session.execute(text(f"{over} AND login = 'expired.key@alpha'"))
    return {"nobody": {}} | {name: bearer(key) for name, key in keys.items()}
