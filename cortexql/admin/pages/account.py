"""My account: the own password and API key."""

from starlette.responses import Response

from cortexql.admin.visit import Visit
from cortexql.auth import session
from cortexql.errors import CortexError, InvalidInputError
from cortexql.services import credentials, passwords, users


async def show(visit: Visit) -> Response:
    """Show the account."""
    return await _form(visit)


async def set_password(visit: Visit) -> Response:
    """Change the own password; every other session ends with that."""
    present, new = str(visit.form.get("present", "")), str(visit.form.get("password", ""))
    try:
        if new != visit.form.get("repeated", ""):
            raise InvalidInputError("the new password was not repeated as it was", field=("repeated",))
        if not await credentials.is_own_password(visit.resources.transactions, visit.principal, present):
            raise InvalidInputError("that is not your present password", field=("present",))
        password_hash = await passwords.to_hash(new)
        async with visit.open() as tx:
            await users.set_password(tx, visit.principal.login, password_hash)
    except CortexError as error:
        return await _form(visit, error)
    response = visit.to("/account", done="password")
    await session.start(visit.resources, visit.principal, visit.request, response)
    return response


async def renew_key(visit: Visit) -> Response:
    """Renew the own API key, and show it this once."""
    async with visit.open() as tx:
        _, key = await credentials.renew_key(tx, visit.principal.login)
    return await _form(visit, key=key)


async def _form(visit: Visit, error: CortexError | None = None, key: str = "") -> Response:
    async with visit.open() as tx:
        user = await users.viewer(tx)
    return visit.page(
        "account/show.html",
        status=error.status if error else 200,
        user=user,
        key=key,
        error=error.message if error else "",
    )
