"""Organizations: create, change, lock."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, or_, select

from cortexql.errors import ConflictError, InvalidInputError, NotFoundError
from cortexql.models import Organization, OrganizationStatus, Session
from cortexql.principal import Permission
from cortexql.services import page, text
from cortexql.transaction import Transaction

# The organization of those who run the instance; it has no tenant's work and cannot be locked.
FIRST = "cortex"
_MAX_LIMIT = 1_000_000
# Who follows the event log may stand still for as long.
_SHORTEST_RETENTION = timedelta(hours=1)
_BY_NAME = page.Keyset("organizations", (Organization.name,))


@dataclass(frozen=True, slots=True)
class OrganizationChange:
    """What to change; None leaves as it is."""

    description: str | None = None
    status: OrganizationStatus | None = None
    freshness: timedelta | None = None
    # 0: any number.
    max_concurrent_jobs: int | None = None
    # 0: for ever.
    job_retention: timedelta | None = None
    report_retention: timedelta | None = None
    file_retention: timedelta | None = None


async def create(
    tx: Transaction, name: str, description: str, *, imported_from: str | None = None
) -> Organization:
    """Create an active organization.

    Raises:
        ConflictError: the name is taken.
    """
    tx.principal.require(Permission.INSTANCE_MANAGE)
    text.check(name, "name", longest=128)
    text.check(description, "description", longest=4096, empty=True)
    if await find(tx, name) is not None:
        raise ConflictError(f"organization {name} exists already", field=("name",))
    organization = Organization(name=name, description=description, imported_from=imported_from)
    tx.session.add(organization)
    await tx.flush()
    return organization


async def update(tx: Transaction, name: str, change: OrganizationChange) -> Organization:
    """Change or lock an organization.

    Raises:
        NotFoundError: there is no such organization.
        InvalidInputError: the instance's own organization was to be locked.
    """
    tx.principal.require(Permission.INSTANCE_MANAGE)
    organization = await get(tx, name)
    if change.status is OrganizationStatus.LOCKED and name == FIRST:
        raise InvalidInputError("the instance's own organization cannot be locked", field=("status",))
    if change.description is not None:
        organization.description = text.check(change.description, "description", longest=4096, empty=True)
    if change.status is not None:
        organization.status = change.status
    if change.freshness is not None:
        organization.freshness = change.freshness
    if change.max_concurrent_jobs is not None:
        organization.max_concurrent_jobs = to_limit(change.max_concurrent_jobs)
    _change_retention(organization, change)
    await tx.flush()
    if organization.status is OrganizationStatus.LOCKED:
        await tx.session.execute(delete(Session).where(Session.organization_id == organization.id))
    else:
        tx.wake()
    return organization


def to_limit(number: int) -> int | None:
    """Return a limit of concurrent jobs as it is stored: 0 is none."""
    if not 0 <= number < _MAX_LIMIT:
        raise InvalidInputError(f"a limit is 0 (none) to {_MAX_LIMIT - 1}", field=("maxConcurrentJobs",))
    return number or None


def _change_retention(organization: Organization, change: OrganizationChange) -> None:
    for what in ("job", "report", "file"):
        age: timedelta | None = getattr(change, f"{what}_retention")
        if age is None:
            continue
        if age and age < _SHORTEST_RETENTION:
            raise InvalidInputError(
                "a retention is an hour at least, or 0: for ever", field=(f"{what}Retention",)
            )
        setattr(organization, f"{what}_retention", age or None)


async def get(tx: Transaction, name: str) -> Organization:
    """Return a visible organization by name, or raise NotFoundError."""
    organization = await find(tx, name)
    if organization is None:
        raise NotFoundError(f"there is no organization {name}")
    return organization


async def find(tx: Transaction, name: str) -> Organization | None:
    """Return a visible organization by name, or None."""
    return (await tx.session.scalars(select(Organization).where(Organization.name == name))).one_or_none()


async def named_or_own(tx: Transaction, name: str | None) -> Organization:
    """Return the organization that an input names, or the caller's; another's is NotFoundError."""
    query = select(Organization)
    if name is not None:
        query = query.where(Organization.name == name)
    elif tx.principal.organization_id is not None:
        query = query.where(Organization.id == tx.principal.organization_id)
    else:
        raise InvalidInputError("name an organization", field=("organization",))
    organization = (await tx.session.scalars(query)).one_or_none()
    if organization is None:
        raise NotFoundError(f"there is no organization {name}", field=("organization",))
    return organization


async def list_page(
    tx: Transaction,
    request: page.PageRequest,
    *,
    search: str | None = None,
    status: OrganizationStatus | None = None,
) -> page.Page[Organization]:
    """Page through the visible organizations by name; `search` is a part of name or description."""
    query = select(Organization)
    if search:
        columns = (Organization.name, Organization.description)
        query = query.where(or_(*[column.icontains(search, autoescape=True) for column in columns]))
    if status is not None:
        query = query.where(Organization.status == status)
    return await page.read(tx, query, _BY_NAME, request)
