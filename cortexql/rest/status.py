"""What the instance is and how it does: status, health, alerts."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cortexql import __version__, zipped
from cortexql.models import NeuronType
from cortexql.principal import system
from cortexql.resources import Resources
from cortexql.rest.edge import Call, no_content
from cortexql.services import details, health

# Clients look at this version to know what the server can do.
COMPATIBLE_VERSION = "4.1.0-1"
# Providers as Cortex names them, where it names them otherwise.
_PROVIDERS = {"oidc": "oauth2"}
_ALERTS = {NeuronType.ANALYZER: "ObsoleteAnalyzers", NeuronType.RESPONDER: "ObsoleteResponders"}


async def status(request: Request) -> Response:
    """Tell versions and capabilities, to everybody."""
    resources: Resources = request.app.state.resources
    providers = resources.settings.auth_providers
    passwords = ["changePassword", "setPassword"] if "local" in providers else []
    return JSONResponse(
        {
            "versions": {"Cortex": COMPATIBLE_VERSION, "CortexQL": __version__},
            "config": {
                "protectDownloadsWith": zipped.PASSWORD,
                "authType": ["key", *[_PROVIDERS.get(name, name) for name in providers]],
                "capabilities": ["authByKey", *passwords],
                "ssoAutoLogin": False,
            },
        }
    )


async def healthy(request: Request) -> Response:
    """Tell whether the instance works, to everybody: no details."""
    resources: Resources = request.app.state.resources
    async with resources.transactions(system("health")) as tx:
        parts = await health.check(tx, resources.redis.ping)
    return JSONResponse({"status": health.worst(part.status for part in parts).value.upper()})


async def migrate(request: Request) -> Response:
    """Do nothing: the schema is the newest one before anything is served."""
    del request
    return no_content()


async def alert(call: Call) -> Response:
    """Tell of which kinds the organization has neurons that no catalogue offers any more."""
    async with call.open() as tx:
        kinds = await details.obsolete_kinds(tx)
    return JSONResponse([name for kind, name in _ALERTS.items() if kind in kinds])
