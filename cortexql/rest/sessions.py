"""Logging in and out by login and password, for clients that keep a cookie."""

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from cortexql.auth import csrf, session
from cortexql.auth.backend import password_check
from cortexql.errors import UnauthenticatedError
from cortexql.resources import Resources
from cortexql.rest import errors
from cortexql.rest.fields import read
from cortexql.services import users


async def login(request: Request) -> Response:
    """Start a session: the answer sets its cookie."""
    resources: Resources = request.app.state.resources
    csrf.check_not_foreign(request, resources.settings.public_url)
    fields = await read(request)
    name, password = fields.string("user"), fields.string("password")
    if name is None or password is None:
        given = (("user", name), ("password", password))
        raise errors.missing("user", *[field for field, value in given if value is None])
    principal = await password_check(resources, request).principal_of(name, password)
    async with resources.transactions(principal) as tx:
        user = await users.viewer(tx)
    response = JSONResponse({"id": user.login, "name": user.name, "roles": user.roles})
    await session.start(resources, principal, request, response)
    return response


async def logout(request: Request) -> Response:
    """End the session: the answer takes its cookie back."""
    resources: Resources = request.app.state.resources
    csrf.check_not_foreign(request, resources.settings.public_url)
    response = Response()
    await session.end(resources, request, response)
    return response


async def login_elsewhere(request: Request) -> Response:
    """Send the browser to the identity provider, where there is one; it comes back to the console."""
    resources: Resources = request.app.state.resources
    if "oidc" not in resources.settings.auth_providers:
        raise UnauthenticatedError
    return RedirectResponse("/admin/login/oidc", 303)
