"""Who is asked about a login, what groups give, and what a login would become: for superadmins."""

from starlette.responses import Response

from cortexql.admin.visit import Visit
from cortexql.auth.providers import look_up
from cortexql.principal import Permission
from cortexql.services import identities
from cortexql.services.credentials import ProviderUnavailableError


async def show(visit: Visit) -> Response:
    """Show the rules, and the preview of a login that was asked for; without groups LDAP is asked for them."""
    visit.principal.require(Permission.INSTANCE_MANAGE)
    login, groups = visit.asked("login"), visit.asked("groups")
    decided, error = None, ""
    if login is not None:
        try:
            decided = await _preview(visit, login, groups)
        except ProviderUnavailableError as refusal:
            error = refusal.message
    return visit.page(
        "sign_in/show.html",
        partial="sign_in/_preview.html",
        settings=visit.resources.settings,
        login=login or "",
        groups=groups or "",
        decided=decided,
        error=error,
    )


async def _preview(visit: Visit, login: str, groups: str | None) -> identities.Decision:
    names = None if groups is None else [line.strip() for line in groups.splitlines() if line.strip()]
    identity = await look_up(visit.resources, login, names)
    async with visit.open() as tx:
        return await identities.preview(tx, identity, visit.resources.settings)
