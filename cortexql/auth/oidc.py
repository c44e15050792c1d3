"""OpenID Connect by Authlib: the code flow with PKCE, state and nonce; every claim of the ID token is checked.

OpenID Connect Core 1.0, 3.1; Discovery 1.0; RP-Initiated Logout 1.0; RFC 7636 (PKCE); RFC 9207 (issuer in the answer).
"""

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx2
from authlib.common.security import generate_token
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from cortexql.log import get_logger
from cortexql.outbound import GuardedTransport, Network
from cortexql.resources import Resources
from cortexql.services import network
from cortexql.services.credentials import AUTHENTICATION
from cortexql.services.identities import Identity
from cortexql.settings import Settings

log = get_logger(__name__)
_SECONDS = 20.0
_KEPT_SECONDS = 3600.0
_LEEWAY_SECONDS = 60
# OpenID Connect Core 1.0, 2.
_LONGEST_SUBJECT = 255
# Never `none`, and never a shared secret: whoever verifies those could also sign.
_ALGORITHMS = [f"{family}{bits}" for family in ("RS", "PS", "ES") for bits in (256, 384, 512)] + ["EdDSA"]

_ENDPOINTS = (
    "authorization_endpoint",
    "token_endpoint",
    "jwks_uri",
    "userinfo_endpoint",
    "end_session_endpoint",
)


class OidcError(Exception):
    """The provider's answer does not do; the message is for people, and holds no token."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What a browser keeps while it is at the provider."""

    state: str
    nonce: str
    verifier: str
    redirect_uri: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Whom the provider vouches for, and the token that says so, by which the provider knows whom to sign out."""

    identity: Identity
    id_token: str


@dataclass(frozen=True, slots=True)
class _Discovered:
    metadata: Mapping[str, Any]
    at: float


class OidcProvider:
    """The provider of OIDC_ISSUER. What it says of itself is kept for an hour."""

    name = "oidc"

    def __init__(self, settings: Settings, way: Callable[[], Awaitable[Network]]) -> None:
        """Take the settings, and what tells how the outside is reached."""
        self._settings, self._way = settings, way
        self._discovered: _Discovered | None = None
        self._keys: KeySet | None = None

    async def begin(self, redirect_uri: str) -> tuple[str, Flow]:
        """Return where to send the browser, and what it has to bring back.

        Raises:
            OidcError: the provider does not answer as it should.
        """
        flow = Flow(generate_token(32), generate_token(32), generate_token(64), redirect_uri)
        async with self._client(redirect_uri) as client:
            metadata = await self._metadata(client)
            url, _ = client.create_authorization_url(
                metadata["authorization_endpoint"],
                state=flow.state,
                nonce=flow.nonce,
                code_verifier=flow.verifier,
            )
        return str(url), flow

    async def finish(self, flow: Flow, answer: Mapping[str, str]) -> SignedIn:
        """Return whom the provider vouches for, by what the browser has brought back.

        Raises:
            OidcError: it was not this flow, the provider refuses, or its token is not valid.
        """
        self._check_answer(flow, answer)
        async with self._client(flow.redirect_uri) as client:
            metadata = await self._metadata(client)
            token = await client.fetch_token(
                metadata["token_endpoint"], code=answer["code"], code_verifier=flow.verifier
            )
            id_token = str(token.get("id_token") or "")
            claims = await self._claims(client, id_token, flow, str(token.get("access_token") or ""))
            claims = await self._with_user_info(client, metadata, claims)
        return SignedIn(self._identify(claims), id_token)

    async def logout_url(self, id_token: str, back: str) -> str | None:
        """Return where to send the browser to sign out of the provider too, or None where that is not offered."""
        async with self._client(back) as client:
            metadata = await self._metadata(client)
        endpoint = metadata.get("end_session_endpoint")
        if not endpoint:
            return None
        query = {"client_id": self._settings.oidc_client_id, "post_logout_redirect_uri": back}
        if id_token:
            query["id_token_hint"] = id_token
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(query)}"

    def _check_answer(self, flow: Flow, answer: Mapping[str, str]) -> None:
        if not hmac.compare_digest(answer.get("state", "").encode(), flow.state.encode()):
            raise OidcError("the answer is not that to this browser's request")
        if answer.get("iss", self._settings.oidc_issuer) != self._settings.oidc_issuer:
            raise OidcError("the answer is another provider's")
        if "error" in answer or not answer.get("code"):
            log.info("oidc.refused", error=answer.get("error", "")[:100])
            raise OidcError("the provider refuses")

    @asynccontextmanager
    async def _client(self, redirect_uri: str) -> AsyncIterator[AsyncOAuth2Client]:
        """Open a client for one step of a flow; what goes wrong in it is an OidcError."""
        settings = self._settings
        secret = settings.oidc_client_secret.get_secret_value()
        try:
            async with (
                asyncio.timeout(_SECONDS),
                AsyncOAuth2Client(
                    settings.oidc_client_id,
                    secret or None,
                    token_endpoint_auth_method="client_secret_basic" if secret else "none",
                    scope=settings.oidc_scopes,
                    redirect_uri=redirect_uri,
                    code_challenge_method="S256",
                    transport=GuardedTransport(await self._way(), settings.outbound_allow),
                ) as client,
            ):
                yield client
        except (
            OAuthError,
            JoseError,
            httpx2.HTTPError,
            httpx2.InvalidURL,
            ValueError,
            TimeoutError,
        ) as error:
            log.warning("oidc.failed", error=type(error).__name__, reason=str(error)[:200])
            raise OidcError("the provider does not answer, or not as it should") from error

    async def _metadata(self, client: AsyncOAuth2Client) -> Mapping[str, Any]:
        known = self._discovered
        if known is None or time.monotonic() - known.at > _KEPT_SECONDS:
            issuer = self._settings.oidc_issuer
            url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
            metadata = await _get(client, url)
            _check_metadata(metadata, issuer)
            known = self._discovered = _Discovered(metadata, time.monotonic())
            self._keys = None
        methods = known.metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        if client.client_secret and "client_secret_basic" not in methods:
            client.token_endpoint_auth_method = "client_secret_post"  # noqa: S105 the name of a method
        return known.metadata

    async def _claims(
        self, client: AsyncOAuth2Client, id_token: str, flow: Flow, access_token: str
    ) -> Mapping[str, Any]:
        decoded = await self._decoded(client, id_token)
        settings = self._settings
        options = {
            "iss": {"essential": True, "value": settings.oidc_issuer},
            "aud": {"essential": True, "value": settings.oidc_client_id},
        }
        params = {"nonce": flow.nonce, "client_id": settings.oidc_client_id, "access_token": access_token}
        claims = CodeIDToken(decoded.claims, decoded.header, options, params)
        claims.validate(leeway=_LEEWAY_SECONDS)
        return dict(claims)

    async def _decoded(self, client: AsyncOAuth2Client, id_token: str) -> jwt.Token:
        registry = JWSRegistry(algorithms=_ALGORITHMS, strict_check_header=False)
        was_known = self._keys is not None
        try:
            return jwt.decode(id_token, await self._key_set(client), registry=registry)
        except (InvalidKeyIdError, ValueError):
            # The provider may have changed its keys since.
            if not was_known:
                raise
            self._keys = None
        return jwt.decode(id_token, await self._key_set(client), registry=registry)

    async def _key_set(self, client: AsyncOAuth2Client) -> KeySet:
        if self._keys is None:
            metadata = await self._metadata(client)
            keys = (await _get(client, metadata["jwks_uri"])).get("keys")
            self._keys = KeySet.import_key_set({"keys": keys if isinstance(keys, list) else []})
        return self._keys

    async def _with_user_info(
        self, client: AsyncOAuth2Client, metadata: Mapping[str, Any], claims: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return the claims with those of the user info endpoint, where the ID token lacks some that count."""
        settings = self._settings
        wanted = (settings.oidc_login_claim, settings.oidc_groups_claim)
        if "userinfo_endpoint" not in metadata or all(_find(claims, name) is not None for name in wanted):
            return claims
        response = await client.request("GET", metadata["userinfo_endpoint"])
        more = response.raise_for_status().json()
        if not isinstance(more, dict) or more.get("sub") != claims["sub"]:
            # OpenID Connect Core, 5.3.2: such an answer must not be used.
            raise OidcError("the provider's user info is another user's")
        return {**more, **claims}

    def _identify(self, claims: Mapping[str, Any]) -> Identity:
        settings = self._settings
        login = _find(claims, settings.oidc_login_claim)
        if not isinstance(login, str) or not login:
            raise OidcError(f"the provider tells no {settings.oidc_login_claim}")
        if settings.oidc_login_claim == "email" and claims.get("email_verified") is not True:
            raise OidcError("the provider has not verified the e-mail address")
        groups = _find(claims, settings.oidc_groups_claim)
        names = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
        name = _find(claims, settings.oidc_name_claim)
        told = frozenset(each for each in names if isinstance(each, str))
        subject = claims["sub"]
        if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT or "\0" in subject:
            raise OidcError("the provider tells no subject, or an odd one")
        shown = name if isinstance(name, str) else ""
        return Identity(self.name, login, shown, told, settings.oidc_issuer, subject)


@lru_cache(maxsize=4)
def oidc_provider(resources: Resources) -> OidcProvider | None:
    """Return the provider, where AUTH_PROVIDERS has it."""

    async def way() -> Network:
        async with resources.transactions(AUTHENTICATION) as tx:
            return await network.of(tx, resources.cipher)

    offered = OidcProvider.name in resources.settings.auth_providers
    return OidcProvider(resources.settings, way) if offered else None


async def _get(client: AsyncOAuth2Client, url: str) -> Mapping[str, Any]:
    response = await client.request("GET", url, withhold_token=True)
    answer = response.raise_for_status().json()
    if not isinstance(answer, dict):
        raise OidcError(f"{url} is no JSON object")
    return answer


def _check_metadata(metadata: Mapping[str, Any], issuer: str) -> None:
    """Raise OidcError unless it is this issuer's, whole, and leads nowhere less safe (Discovery 1.0, 4.3)."""
    if metadata.get("issuer") != issuer:
        raise OidcError("the provider says that it is another issuer than OIDC_ISSUER")
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        if name not in metadata:
            raise OidcError(f"the provider tells no {name}")
    schemes = ("https", urlsplit(issuer).scheme)
    for name in _ENDPOINTS:
        if name in metadata and urlsplit(str(metadata[name])).scheme not in schemes:
            raise OidcError(f"the provider's {name} is not https")


def _find(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim by its name, or by the way to it: `realm_access.roles`; None where there is none."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found
