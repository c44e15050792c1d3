"""OpenID Connect against a provider that answers what it likes: nothing but a token made for this flow comes in."""

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from sqlalchemy import column, select
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from cortexql.app import create_app
from cortexql.auth.oidc import OidcError, OidcProvider
from cortexql.errors import ForbiddenError
from cortexql.models import Audit, AuditAction, UserStatus
from cortexql.outbound import Network
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.services import users
from tests.auth.steps import serving, with_settings
from tests.conftest import SHELL, World

CLIENT, SECRET = "cortexql", "client-secret-of-ours"
KEY = RSAKey.generate_key(2048, {"kid": "one"})
FOREIGN_KEY = RSAKey.generate_key(2048, {"kid": "one"})
RULES = [{"group": "soc", "organization": "alpha", "roles": ["analyze"]}]
Claims = dict[str, Any]


def signed(claims: Claims, key: Any = KEY, header: Claims | None = None) -> str:
    return jwt.encode({"alg": "RS256", "kid": "one", **(header or {})}, claims, key)


@dataclass
class Forger:
    """A provider whose answers a test chooses."""

    url: str = ""
    token: Callable[[Claims], str] = signed
    claims: Claims = field(default_factory=dict)
    metadata: Claims = field(default_factory=dict)
    user_info: Claims = field(default_factory=dict)
    keys: list[Any] = field(default_factory=lambda: [KEY.as_dict(private=False)])
    asked: list[Mapping[str, Any]] = field(default_factory=list)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/jwks", self._jwks),
                Route("/token", self._token, methods=["POST"]),
                Route("/userinfo", self._user_info),
            ]
        )

    async def _discovery(self, _: Request) -> JSONResponse:
        endpoints = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
        described = {name: f"{self.url}/{path}" for name, path in endpoints.items()}
        # That it says so itself makes an unsigned token no better.
        algorithms = {"id_token_signing_alg_values_supported": ["none", "HS256", "RS256"]}
        return JSONResponse({"issuer": self.url, **described, **algorithms, **self.metadata})

    async def _jwks(self, _: Request) -> JSONResponse:
        return JSONResponse({"keys": self.keys})

    async def _token(self, request: Request) -> JSONResponse:
        form = await request.form()
        self.asked.append({**form, "authorization": request.headers.get("authorization", "")})
        token = self.token(self.claims)
        return JSONResponse({"access_token": "access", "token_type": "Bearer", "id_token": token})

    async def _user_info(self, _: Request) -> JSONResponse:
        return JSONResponse(self.user_info)


def unsigned(claims: Claims) -> str:
    head = signed(claims).split(".")
    return f"eyJhbGciOiJub25lIn0.{head[1]}."


def by_public_key(claims: Claims) -> str:
    """Sign with what everybody knows, as if it were a shared secret; libraries refuse to do it."""
    body = signed(claims).split(".")[1]
    content = f"{packed(json.dumps({'alg': 'HS256', 'kid': 'one'}).encode())}.{body}"
    return f"{content}.{packed(hmac.digest(KEY.as_pem(private=False), content.encode(), 'sha256'))}"


def packed(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def by_own_key(claims: Claims) -> str:
    """Sign with a key that the token itself brings along."""
    key = ECKey.generate_key("P-256", {"kid": "one"})
    return signed(claims, key, {"alg": "ES256", "jwk": key.as_dict(private=False)})


@pytest.fixture
async def forger() -> AsyncIterator[Forger]:
    """Run the provider."""
    made = Forger()
    async with serving(made.app()) as url:
        made.url = url
        yield made


@pytest.fixture
async def browser(resources: Resources, world: World, forger: Forger) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the application with this provider, and return a client that keeps cookies."""
    settings = with_settings(
        resources,
        auth_providers=("local", "oidc"),
        oidc_issuer=forger.url,
        oidc_client_id=CLIENT,
        oidc_client_secret=SECRET,
        outbound_allow="127.0.0.0/8",
        auth_create_users=True,
        auth_groups=RULES,
    ).settings
    async with serving(create_app(settings)) as url, httpx.AsyncClient(base_url=url) as client:
        yield client


async def begin(browser: httpx.AsyncClient, forger: Forger, **changed: Any) -> str:
    """Begin a flow, have the provider ready with its claims, and return the state."""
    sent = await browser.get("/admin/login/oidc?next=/admin/jobs")
    query = {name: values[0] for name, values in parse_qs(urlsplit(sent.headers["location"]).query).items()}
    assert sent.headers["location"].startswith(f"{forger.url}/authorize?")
    assert (query["response_type"], query["code_challenge_method"], query["client_id"]) == (
        "code",
        "S256",
        CLIENT,
    )
    assert query["redirect_uri"] == f"{browser.base_url}/admin/login/oidc/callback"
    now = int(time.time())
    forger.claims = {
        "iss": forger.url,
        "sub": "1",
        "aud": CLIENT,
        "exp": now + 60,
        "iat": now,
        "nonce": query["nonce"],
        "preferred_username": "carol",
        "groups": ["soc"],
    } | changed
    forger.claims = {name: value for name, value in forger.claims.items() if value is not None}
    return query["state"]


async def finish(browser: httpx.AsyncClient, **query: str) -> httpx.Response:
    return await browser.get("/admin/login/oidc/callback", params={"code": "the-code", **query})


async def is_in(browser: httpx.AsyncClient) -> bool:
    return (await browser.get("/admin/account")).status_code == 200


async def test_a_token_made_for_the_flow_begins_a_session(
    browser: httpx.AsyncClient, forger: Forger, resources: Resources
) -> None:
    answer = await finish(browser, state=await begin(browser, forger))
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/jobs")
    assert await is_in(browser)
    async with resources.transactions(SHELL) as tx:
        assert (await users.get(tx, "carol")).role_set == {Role.ANALYZE}
    (asked,) = forger.asked
    assert (asked["code"], asked["redirect_uri"]) == (
        "the-code",
        f"{browser.base_url}/admin/login/oidc/callback",
    )
    assert len(asked["code_verifier"]) >= 43
    assert asked["authorization"].startswith("Basic ")
    # The flow is over: its answer is worth nothing any more.
    browser.cookies.delete("cortexql_session")
    state = parse_qs(urlsplit(str(answer.request.url)).query)["state"][0]
    assert (await finish(browser, state=state)).status_code == 401


async def test_cortex_own_way_to_the_provider_ends_in_a_session_or_in_401(
    browser: httpx.AsyncClient, forger: Forger
) -> None:
    for method in ("GET", "POST"):
        sent = await browser.request(method, "/api/ssoLogin")
        assert (sent.status_code, sent.headers["location"]) == (303, "/admin/login/oidc")
    refused = await finish(browser, state=await begin(browser, forger, groups=["strangers"]))
    assert refused.status_code == 401
    assert (await browser.get("/api/user/current")).status_code == 401
    await finish(browser, state=await begin(browser, forger))
    told = (await browser.get("/api/user/current")).json()
    assert (told["id"], told["organization"], told["roles"]) == ("carol", "alpha", ["analyze"])


BAD_CLAIMS: list[Claims] = [
    {"aud": "somebody-else"},
    {"aud": ["somebody-else", "another"]},
    {"aud": [CLIENT, "somebody-else"], "azp": "somebody-else"},
    {"aud": None},
    {"iss": "https://evil.example.org"},
    {"iss": None},
    {"nonce": "another"},
    {"nonce": None},
    {"exp": 1},
    {"exp": int(time.time()) - 120},
    {"exp": None},
    {"exp": "tomorrow"},
    {"iat": None},
    {"iat": int(time.time()) + 3600},
    {"nbf": int(time.time()) + 3600},
    {"sub": None},
    {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
    {"preferred_username": None},
    {"preferred_username": ""},
    {"preferred_username": ["carol"]},
    {"preferred_username": "root"},
    {"groups": ["strangers"]},
    {"groups": None},
    {"groups": {"soc": True}},
]


async def test_a_token_that_says_something_else_is_refused(
    browser: httpx.AsyncClient, forger: Forger
) -> None:
    for changed in BAD_CLAIMS:
        answer = await finish(browser, state=await begin(browser, forger, **changed))
        assert (answer.status_code, await is_in(browser)) == (401, False), changed
        assert "You are not signed in: " in answer.text


async def test_who_is_not_admitted_is_in_the_audit_log(
    browser: httpx.AsyncClient, forger: Forger, resources: Resources
) -> None:
    state = await begin(browser, forger, preferred_username="read@beta")
    assert (await finish(browser, state=state)).status_code == 401
    async with resources.transactions(SHELL) as tx:
        newest = (await tx.session.scalars(select(Audit).order_by(column("id").desc()).limit(1))).one()
    assert (newest.action, newest.subject, newest.credential) == (
        AuditAction.SIGN_IN_FAILED,
        "read@beta",
        "oidc",
    )


FORGERIES: dict[str, Callable[[Claims], str]] = {
    "unsigned": unsigned,
    "no signature": lambda claims: signed(claims).rpartition(".")[0] + ".",
    "by the public key": by_public_key,
    "by a foreign key": lambda claims: signed(claims, FOREIGN_KEY),
    "by its own key": by_own_key,
    "by an unknown key": lambda claims: signed(claims, KEY, {"kid": "two"}),
    "changed": lambda claims: ".".join(
        [
            *signed(claims).split(".")[:1],
            *signed(claims | {"sub": "2"}).split(".")[1:2],
            *signed(claims).split(".")[2:],
        ]
    ),
    "nothing": lambda _: "",
    "rubbish": lambda _: "a.b.c",
    "no object": lambda _: "W10.W10.W10",
}


async def test_a_forged_token_is_refused(browser: httpx.AsyncClient, forger: Forger) -> None:
    for name, forge in FORGERIES.items():
        state = await begin(browser, forger)
        forged = forge(forger.claims)
        forger.token = partial(answered, forged)
        answer = await finish(browser, state=state)
        assert (answer.status_code, await is_in(browser)) == (401, False), name
    assert len(forger.asked) == len(FORGERIES)


def answered(token: str, _: Claims) -> str:
    return token


async def test_an_answer_to_somebody_elses_flow_is_refused_unseen(
    browser: httpx.AsyncClient, forger: Forger
) -> None:
    for query in ({"state": "another"}, {}, {"state": ""}):
        await begin(browser, forger)
        assert (await finish(browser, **query)).status_code == 401
    state = await begin(browser, forger)
    assert (await finish(browser, state=state, iss="https://evil.example.org")).status_code == 401
    state = await begin(browser, forger)
    assert (await finish(browser, state=state, error="access_denied")).status_code == 401
    state = await begin(browser, forger)
    browser.cookies.clear()
    assert (await finish(browser, state=state)).status_code == 401
    browser.cookies.set("cortexql_oidc", "rubbish", domain="127.0.0.1", path="/admin")
    assert (await finish(browser, state=state)).status_code == 401
    assert forger.asked == []


async def test_a_locked_user_stays_out(
    browser: httpx.AsyncClient, forger: Forger, resources: Resources
) -> None:
    await finish(browser, state=await begin(browser, forger))
    assert await is_in(browser)
    async with resources.transactions(SHELL) as tx:
        await users.update(tx, "carol", users.UserChange(status=UserStatus.LOCKED))
    assert not await is_in(browser)
    assert (await finish(browser, state=await begin(browser, forger))).status_code == 401


async def test_keys_that_the_provider_has_changed_are_read_again(
    browser: httpx.AsyncClient, forger: Forger
) -> None:
    assert (await finish(browser, state=await begin(browser, forger))).status_code == 303
    other = RSAKey.generate_key(2048, {"kid": "two"})
    forger.keys = [other.as_dict(private=False)]
    forger.token = lambda claims: signed(claims, other, {"kid": "two"})
    assert (await finish(browser, state=await begin(browser, forger))).status_code == 303


async def test_user_info_completes_a_thin_token_of_the_same_user_only(
    browser: httpx.AsyncClient, forger: Forger
) -> None:
    forger.metadata = {"userinfo_endpoint": f"{forger.url}/userinfo"}
    thin = {"preferred_username": None, "groups": None}
    forger.user_info = {"sub": "2", "preferred_username": "carol", "groups": ["soc"]}
    assert (await finish(browser, state=await begin(browser, forger, **thin))).status_code == 401
    forger.user_info["sub"] = "1"
    assert (await finish(browser, state=await begin(browser, forger, **thin))).status_code == 303


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example.org"},
        {"token_endpoint": "http://169.254.169.254/latest"},
        {"token_endpoint": "file:///etc/passwd"},
        {"jwks_uri": "http://[::1]/"},
        {"jwks_uri": 5},
    ],
)
async def test_a_provider_that_leads_astray_is_refused(
    browser: httpx.AsyncClient, forger: Forger, metadata: Claims
) -> None:
    forger.metadata = metadata
    begun = await browser.get("/admin/login/oidc")
    if begun.status_code == 303:
        state = parse_qs(urlsplit(begun.headers["location"]).query)["state"][0]
        begun = await finish(browser, state=state)
    assert begun.status_code == 401


async def test_a_provider_on_loopback_is_not_asked_unless_that_is_allowed(
    resources: Resources, forger: Forger
) -> None:
    async def way() -> Network:
        return Network()

    settings = with_settings(resources, oidc_issuer=forger.url, oidc_client_id=CLIENT).settings
    with pytest.raises(OidcError):
        await OidcProvider(settings, way).begin("http://here/callback")


@pytest.mark.parametrize(("verified", "status"), [(True, 303), (False, 401), ("true", 401), (None, 401)])
async def test_an_address_is_a_login_when_it_is_verified(
    resources: Resources, world: World, forger: Forger, verified: object, status: int
) -> None:
    settings = with_settings(
        resources,
        auth_providers=("oidc",),
        oidc_issuer=forger.url,
        oidc_client_id=CLIENT,
        oidc_login_claim="email",
        oidc_groups_claim="realm_access.roles",
        outbound_allow="127.0.0.0/8",
        auth_create_users=True,
        auth_groups=RULES,
    ).settings
    async with serving(create_app(settings)) as url, httpx.AsyncClient(base_url=url) as browser:
        given = {"email": "Carol@example.org", "email_verified": verified, "realm_access": {"roles": ["soc"]}}
        answer = await finish(browser, state=await begin(browser, forger, **given))
        assert answer.status_code == status
        page = (await browser.get("/admin/login")).text
    # Without a provider of passwords the page asks for none.
    assert ("Single sign-on" in page, "Password" in page) == (True, False)
    # A public client shows no secret.
    assert [asked["authorization"] for asked in forger.asked] == [""]


FORGET = """mutation { updateUser(input: {login: "carol", forgetSubject: true}) { errors { code } } }"""


async def test_a_login_stays_its_first_subjects_until_an_admin_forgets_that(
    browser: httpx.AsyncClient, forger: Forger, resources: Resources, world: World
) -> None:
    """Providers give the login of who has left to somebody new. Who was here before subjects were kept is bound."""
    async with resources.transactions(SHELL) as tx:
        await users.create(tx, users.NewUser("carol", "Carol", frozenset({Role.ANALYZE}), "alpha"))

    async def come(subject: str, **changed: Any) -> int:
        browser.cookies.clear()
        state = await begin(browser, forger, sub=subject, **changed)
        return (await finish(browser, state=state)).status_code

    async def forget(headers: dict[str, str]) -> list[Any]:
        answer = await browser.post("/graphql", json={"query": FORGET}, headers=headers)
        return [error["code"] for error in answer.json()["data"]["updateUser"]["errors"]]

    assert [await come("1"), await come("2"), await come("1")] == [303, 401, 303]
    async with resources.transactions(SHELL) as tx:
        user = await users.get(tx, "carol")
        assert (user.oidc_issuer, user.oidc_subject) == (forger.url, "1")
        query = select(Audit).where(column("action") == AuditAction.SIGN_IN_FAILED)
        (failed,) = (await tx.session.scalars(query)).all()
        assert (failed.subject, failed.credential) == ("carol", "oidc")
    browser.cookies.clear()
    assert await forget(world.alpha.headers(Role.ANALYZE)) == ["FORBIDDEN"]
    assert await forget(world.beta.headers(Role.ORGADMIN)) == ["NOT_FOUND"]
    assert await come("2") == 401
    browser.cookies.clear()
    assert await forget(world.alpha.headers(Role.ORGADMIN)) == []
    assert [await come("2"), await come("1")] == [303, 401]


async def test_all_subjects_of_an_issuer_are_forgotten_at_once(
    browser: httpx.AsyncClient, forger: Forger, resources: Resources, world: World
) -> None:
    async def come(subject: str) -> int:
        browser.cookies.clear()
        return (await finish(browser, state=await begin(browser, forger, sub=subject))).status_code

    assert [await come("1"), await come("2")] == [303, 401]
    async with resources.transactions(SHELL) as tx:
        assert await users.forget_subjects(tx, "https://another.example.org") == 0
    assert await come("2") == 401
    with pytest.raises(ForbiddenError):
        async with resources.transactions(world.alpha.principals[Role.ORGADMIN]) as tx:
            await users.forget_subjects(tx, forger.url)
    async with resources.transactions(SHELL) as tx:
        assert await users.forget_subjects(tx, forger.url) == 1
    assert [await come("2"), await come("1")] == [303, 401]


@pytest.mark.parametrize("subject", ["", 7, "x" * 256, "a\0b", None])
async def test_a_token_without_a_fit_subject_lets_nobody_in(
    browser: httpx.AsyncClient, forger: Forger, subject: Any
) -> None:
    answer = await finish(browser, state=await begin(browser, forger, sub=subject))
    assert answer.status_code == 401
    assert not await is_in(browser)
