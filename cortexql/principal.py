"""Who asks, and what a role may do: the role table of the public contract, once, and pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from cortexql.errors import ForbiddenError


class Role(StrEnum):
    """What a user was given; roles imply each other only through ROLE_PERMISSIONS."""

    SUPERADMIN = "superadmin"
    ORGADMIN = "orgadmin"
    ANALYZE = "analyze"
    READ = "read"


class Permission(StrEnum):
    """What a use case asks for in its first line."""

    READ = "read"  # the own organization's neurons, jobs, reports, quotas; the catalogue
    JOB_SUBMIT = "job_submit"  # submit, cancel, delete; flag and sight observables
    NEURON_MANAGE = "neuron_manage"  # enable, configure, upgrade, pull, limit; refresh the catalogue
    USER_MANAGE = "user_manage"  # users of the organization
    AUDIT_READ = "audit_read"  # who changed what in the organization
    INSTANCE_MANAGE = "instance_manage"  # organizations, users everywhere, sources, registries, budgets


_ADMIN = frozenset({Permission.READ, Permission.NEURON_MANAGE, Permission.USER_MANAGE, Permission.AUDIT_READ})
ROLE_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.READ: frozenset({Permission.READ}),
    Role.ANALYZE: frozenset({Permission.READ, Permission.JOB_SUBMIT}),
    Role.ORGADMIN: _ADMIN | {Permission.JOB_SUBMIT},
    Role.SUPERADMIN: _ADMIN | {Permission.INSTANCE_MANAGE},
}


def includes(role: Role, other: Role) -> bool:
    """Say whether a role may do whatever another may: orgadmin includes analyze, and that read."""
    return ROLE_PERMISSIONS[role] >= ROLE_PERMISSIONS[other]


def included(roles: Iterable[Role]) -> frozenset[Role]:
    """Return some roles with all that they include."""
    return frozenset(other for role in roles for other in Role if includes(role, other))


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller, or the system itself (worker, sweeper, shell), which sees every row.

    `roles` are fewer than the user's where an API key has fewer: such a caller is `restricted`.
    `credential` and `address` say for the audit log what was shown, and from where.
    """

    login: str
    organization_id: int | None
    user_id: int | None = None
    roles: frozenset[Role] = frozenset()
    credential: str = ""
    address: str = ""
    restricted: bool = False
    session_id: int | None = None
    api_key_id: int | None = None
    # Of a local password that was shown: another one has another.
    password_mark: str = field(default="", repr=False)

    @property
    def is_system(self) -> bool:
        return self.organization_id is None

    @property
    def is_superadmin(self) -> bool:
        return Role.SUPERADMIN in self.roles

    def may(self, permission: Permission) -> bool:
        """Say whether any of the roles grants it."""
        return self.is_system or any(permission in ROLE_PERMISSIONS[role] for role in self.roles)

    def has(self, role: Role) -> bool:
        """Say whether one of the roles is it, or includes it."""
        return role in included(self.roles)

    def require(self, permission: Permission) -> None:
        """Raise ForbiddenError unless a role grants it."""
        if not self.may(permission):
            raise ForbiddenError(f"{self.login} needs a role that grants {permission}")


def system(name: str) -> Principal:
    """Return the principal of a part of the system, e.g. `worker` or `shell`."""
    return Principal(login=name, organization_id=None)
