"""What a caller may do, looked at again while a socket or a stream is open: once for all of one credential's."""

import asyncio
from dataclasses import replace

from starlette.requests import HTTPConnection

from cortexql.auth import x509
from cortexql.auth.backend import renewed
from cortexql.errors import UnauthenticatedError
from cortexql.log import get_logger
from cortexql.principal import Permission, Principal
from cortexql.resources import Resources

log = get_logger(__name__)
RENEWAL_SECONDS = 2
_Key = tuple[int | None, int | None, int | None, str, str]


class Renewal:
    """Looks callers up; what was found lasts for RENEWAL_SECONDS."""

    def __init__(self, resources: Resources) -> None:
        """Begin with nobody known."""
        self._resources = resources
        self._looks: dict[_Key, tuple[float, asyncio.Task[Principal]]] = {}

    async def renewed(self, caller: Principal, connection: HTTPConnection) -> Principal | None:
        """Return a connection's caller as it is now; None: it may not come in any more."""
        try:
            x509.check_shown(caller, connection, self._resources.settings)
            present = await self._look(caller)
        except UnauthenticatedError:
            return None
        except Exception as error:  # noqa: BLE001 the database is away: the next look tells
            log.warning("caller.not_renewed", error=type(error).__name__)
            return caller
        if present.organization_id != caller.organization_id or not present.may(Permission.READ):
            # What it follows was chosen as whoever it was.
            return None
        return replace(present, address=caller.address)

    async def _look(self, caller: Principal) -> Principal:
        now = asyncio.get_running_loop().time()
        key = (
            caller.session_id,
            caller.api_key_id,
            caller.user_id,
            caller.credential,
            caller.password_mark,
        )
        began, look = self._looks.get(key, (0.0, None))
        if look is None or now - began >= RENEWAL_SECONDS / 2:
            self._forget(now)
            look = asyncio.create_task(renewed(self._resources, caller))
            self._looks[key] = (now, look)
        # One who goes away takes nobody's answer along.
        return await asyncio.shield(look)

    def _forget(self, now: float) -> None:
        old = [
            key
            for key, (began, look) in self._looks.items()
            if look.done() and now - began >= RENEWAL_SECONDS
        ]
        for key in old:
            del self._looks[key]
