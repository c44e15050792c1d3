"""Settings: environment variables with the prefix CORTEXQL_ (and a .env file), read once, frozen."""

import contextlib
import json
import os
import secrets as random
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FilePath,
    IPvAnyNetwork,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sansldap import LDAPFilter

from cortexql import bundle, duration

_SECRETS = Path("/run/secrets")
Duration = Annotated[timedelta, BeforeValidator(duration.parse)]


def _split(value: object) -> object:
    return (
        tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
    )


def _with_scheme(*schemes: str) -> AfterValidator:
    def check(url: str) -> str:
        # The URL itself is not told: it holds a password.
        if url and not url.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError(f"it begins with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return url

    return AfterValidator(check)


def _from_json(value: object) -> object:
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from error


def _check_filter(text: str) -> str:
    LDAPFilter.from_string(text.replace("{dn}", "x").replace("{login}", "x"))
    return text


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Runners = Annotated[tuple[Literal["docker", "process"], ...], NoDecode, BeforeValidator(_split)]
Providers = Annotated[
    tuple[Literal["local", "ldap", "ad", "oidc", "x509"], ...], NoDecode, BeforeValidator(_split)
]
DirectoryUrls = Annotated[
    tuple[Annotated[str, _with_scheme("ldaps", "ldap")], ...], NoDecode, BeforeValidator(_split)
]
DirectoryFilter = Annotated[str, AfterValidator(_check_filter)]
IssuerUrl = Annotated[str, _with_scheme("https", "http")]
IpNetworks = Annotated[tuple[IPvAnyNetwork, ...], NoDecode, BeforeValidator(_split)]
ProxyHeader = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]*$")]
DatabaseUrl = Annotated[str, _with_scheme("postgresql", "postgres")]
RedisUrl = Annotated[str, _with_scheme("redis", "rediss", "unix")]
_NONE, _SECOND = timedelta(0), timedelta(seconds=1)


class GroupRule(BaseModel):
    """What a group of an outside provider gives: roles in an organization; the group `*` is everybody's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    group: str = Field(min_length=1)
    organization: str = Field(min_length=1)
    roles: tuple[Literal["superadmin", "orgadmin", "analyze", "read"], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _superadmins_belong_to_the_instance(self) -> Self:
        if "superadmin" in self.roles and self.organization != "cortex":
            raise ValueError("a superadmin belongs to organization cortex")
        return self


def _default_data_dir() -> Path:
    root = os.geteuid() == 0
    return Path("/var/lib/cortexql") if root else Path.home() / ".local" / "share" / "cortexql"


GroupRules = Annotated[tuple[GroupRule, ...], NoDecode, BeforeValidator(_from_json)]


class Settings(BaseSettings):
    """What the process was told; docs/reference/settings.md is compared with it by a test."""

    model_config = SettingsConfigDict(
        env_prefix="CORTEXQL_",
        env_file=".env",
        # Where Docker and Kubernetes put secrets: a file cortexql_secret_key, and so on.
        secrets_dir=_SECRETS if _SECRETS.is_dir() else None,
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
    )

    database_url: DatabaseUrl = Field(
        "", repr=False, description="postgresql://…; empty: the embedded server of `cortexql up`"
    )
    redis_url: RedisUrl = Field(
        "", repr=False, description="redis://…, rediss://…, unix://…; empty: the embedded server"
    )
    data_dir: Path = Field(default_factory=_default_data_dir, description="embedded servers and keys")
    job_dir: Path | None = Field(
        None, description="job folders of the process runner; default: under DATA_DIR"
    )
    secret_key: SecretStr = Field(
        SecretStr(""), description="signs sessions, encrypts stored secrets; made on first start"
    )
    old_secret_keys: SecretStr = Field(
        SecretStr(""), description="comma-separated: what SECRET_KEY was before; they decrypt and verify only"
    )
    admin_login: str = Field("admin", description="the first superadmin; read only while there is no user")
    admin_password: SecretStr = Field(SecretStr(""), description="its password; made and printed once")
    admin_api_key: SecretStr = Field(SecretStr(""), description="its API key; none unless given")
    analyzers: Names = Field((), description="catalogues of analyzers; default: the bundled ones")
    responders: Names = Field((), description="catalogues of responders; default: the bundled ones")
    catalog_refresh: Duration = Field(
        timedelta(hours=6), description="how often the catalogues are read again; 0: only when asked to"
    )
    runners: Runners = Field(
        ("docker", "process"), min_length=1, description="runners in order of preference"
    )
    lease: Duration = Field(
        timedelta(seconds=30), ge=_SECOND, description="after so long without a heartbeat a job is lost"
    )
    drain: Duration = Field(
        timedelta(seconds=20), ge=_NONE, description="what running jobs get when a worker is stopped"
    )
    job_timeout: Duration = Field(timedelta(minutes=30), gt=_NONE, description="when a neuron sets none")
    freshness: Duration = Field(
        timedelta(minutes=10), ge=_NONE, description="how old a report may be and still answer"
    )
    trusted_proxies: Names = Field(
        ("127.0.0.1",), description="addresses and networks whose X-Forwarded-For and -Proto count"
    )
    login_failures: int = Field(10, gt=0, description="failed sign-ins before a login has to wait")
    login_lockout: Duration = Field(timedelta(minutes=15), description="how long it has to wait")
    introspection: bool = Field(True, description="whether the GraphQL schema may be read over the API")
    request_limit: int = Field(
        30_000,
        ge=0,
        description="requests a minute of one credential, ten times as many of an address; 0: any",
    )
    basic_auth: bool = Field(True, description="whether login and password do on every request")
    ldap_urls: DirectoryUrls = Field((), description="ldaps://… and ldap://…, asked in this order")
    ldap_start_tls: bool = Field(
        True, description="whether ldap:// goes on encrypted before anything is told, for AD too"
    )
    ldap_timeout: Duration = Field(
        timedelta(seconds=5), gt=_NONE, description="how long one server has for a sign-in, for AD too"
    )
    ldap_user_dn: str = Field(
        "", description="bind as the user by this name, with {login}; empty: search for the user first"
    )
    ldap_bind_dn: str = Field("", description="who searches; empty: anonymous")
    ldap_bind_password: SecretStr = Field(SecretStr(""), description="its password")
    ldap_base_dn: str = Field("", description="where users are searched")
    ldap_filter: DirectoryFilter = Field("(objectClass=*)", description="which entries are users")
    ldap_login_attribute: str = Field("uid", min_length=1, description="attribute that is the login")
    ldap_name_attribute: str = Field("cn", min_length=1, description="attribute that is the name to show")
    ldap_group_base_dn: str = Field("", description="where groups are searched; empty: as users")
    ldap_group_filter: DirectoryFilter = Field(
        "(member={dn})", description="which groups a user is in, with {dn} or {login}"
    )
    ad_domain: str = Field("", description="DNS name of the Active Directory domain")
    ad_netbios_name: str = Field("", description="its short name; empty: the first label of AD_DOMAIN")
    ad_urls: DirectoryUrls = Field((), description="its domain controllers; empty: ldaps:// and AD_DOMAIN")
    ad_login: Literal["sAMAccountName", "userPrincipalName"] = Field(
        "sAMAccountName", description="attribute that is the login"
    )
    oidc_issuer: IssuerUrl = Field("", description="the OpenID Connect provider, exactly as it names itself")
    oidc_client_id: str = Field("", description="how it knows us")
    oidc_client_secret: SecretStr = Field(
        SecretStr(""), description="our secret there; empty: a public client"
    )
    oidc_scopes: str = Field("openid profile email", description="what is asked for")
    oidc_login_claim: str = Field(
        "preferred_username",
        min_length=1,
        description="claim that is the login; only what users cannot choose",
    )
    oidc_name_claim: str = Field("name", description="claim that is the name to show")
    oidc_groups_claim: str = Field("groups", description="claim that lists the groups")
    oidc_label: str = Field("Single sign-on", min_length=1, description="what the login page calls it")
    outbound_allow: IpNetworks = Field(
        (), description="loopback, link-local and metadata addresses that our own requests may reach"
    )
    tls_certificate: FilePath | None = Field(None, description="PEM file: TLS ends here; empty: plain HTTP")
    tls_key: FilePath | None = Field(None, description="PEM file of its key; empty: in the same file")
    x509_ca: FilePath | None = Field(
        None, description="PEM file of the authorities that issue client certificates"
    )
    x509_crl: FilePath | None = Field(
        None,
        description="PEM file of their revocation lists, read again when it changes; empty: none is looked at",
    )
    x509_header: ProxyHeader = Field(
        "", description="header in which trusted proxies hand on a client's certificate; empty: none does"
    )
    x509_login: Literal["cn", "email", "upn"] = Field(
        "cn", description="what in a certificate is the login: subject's CN, SAN's e-mail or UPN"
    )
    auth_providers: Providers = Field(
        ("local",),
        min_length=1,
        description="who is asked about a login, in this order: local, ldap, ad, oidc, x509",
    )
    auth_create_users: bool = Field(
        False, description="whether whom an outside provider vouches for gets a user where there is none"
    )
    auth_update_roles: bool = Field(
        True, description="whether a user gets the roles that its groups give, each time it signs in"
    )
    auth_groups: GroupRules = Field(
        (), description="JSON: what groups of outside providers give: [{group, organization, roles}, …]"
    )
    session_idle: Duration = Field(timedelta(hours=1), description="a session unused so long ends")
    session_lifetime: Duration = Field(timedelta(hours=12), description="a session so old ends")
    public_url: str = Field("", description="for links, OIDC redirects, cookies; default: from the request")
    max_upload_bytes: int = Field(128 * 2**20, gt=0, description="largest file that may be submitted")
    max_report_bytes: int = Field(64 * 2**20, gt=0, description="largest output.json that is stored")
    max_log_lines: int = Field(1000, gt=0, description="lines of a run's log that become events")
    docker_host: str = Field("", description="Docker engine; default: as DOCKER_HOST and the SDK say")
    docker_pull: Literal["never", "missing", "refresh", "always"] = Field(
        "missing", description="when images are pulled, where a neuron says nothing"
    )
    docker_network: str = Field("bridge", description="network of containers: none, bridge or a named one")
    docker_memory: str = Field("1g", description="memory of a container")
    docker_cpus: float = Field(1.0, gt=0, description="CPUs of a container")
    docker_disk: str = Field(
        "4g",
        pattern=r"^[1-9][0-9]{0,15}[bkmg]?$",
        description="what a container may write to its disk, a process to its job folder",
    )
    docker_pids: int = Field(256, gt=0, description="processes of a container")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="what is logged")

    @field_validator("x509_header")
    @classmethod
    def _is_of_known_proxies(cls, name: str, given: ValidationInfo) -> str:
        if name and "*" in given.data.get("trusted_proxies", ()):
            raise ValueError("CORTEXQL_TRUSTED_PROXIES is *: anybody could write this header")
        return name

    @field_validator("auth_providers")
    @classmethod
    def _are_configured(cls, names: tuple[str, ...], given: ValidationInfo) -> tuple[str, ...]:
        needed = {
            "ldap": ("ldap_urls",),
            "ad": ("ad_domain",),
            "oidc": ("oidc_issuer", "oidc_client_id"),
            "x509": ("x509_ca",),
        }
        for name in names:
            for setting in needed.get(name, ()):
                if not given.data.get(setting):
                    raise ValueError(f"{name} needs CORTEXQL_{setting.upper()}")
        if "ldap" in names and not (given.data.get("ldap_user_dn") or given.data.get("ldap_base_dn")):
            raise ValueError("ldap needs CORTEXQL_LDAP_USER_DN or CORTEXQL_LDAP_BASE_DN")
        return names

    @cached_property
    def jobs_dir(self) -> Path:
        """Return where the process runner makes its job folders: absolute, since a neuron starts in its own folder."""
        return (self.job_dir or self.data_dir / "jobs").absolute()

    @cached_property
    def key(self) -> str:
        """Return SECRET_KEY, or the one kept in DATA_DIR, which is made on first use with mode 0600."""
        return self.secret_key.get_secret_value() or _kept_key(self.data_dir)

    @property
    def old_keys(self) -> tuple[str, ...]:
        """Return what SECRET_KEY was before, the oldest first."""
        given = self.old_secret_keys.get_secret_value()
        return tuple(key.strip() for key in given.split(",") if key.strip())

    def catalogues(self, kind: Literal["analyzer", "responder"]) -> tuple[str, ...]:
        """Return the catalogue sources of one kind."""
        given = self.analyzers if kind == "analyzer" else self.responders
        return given or (str(bundle.path("neurons") / f"{kind}s"),)


def origin_of(settings: Settings, name: str) -> str:
    """Say where a setting's value comes from; the strongest source is named."""
    variable = f"CORTEXQL_{name.upper()}"
    if any(key.upper() == variable and value for key, value in os.environ.items()):
        return "environment"
    if any(key.upper() == variable and value for key, value in dotenv_values(".env").items()):
        return ".env"
    if (_SECRETS / variable.lower()).is_file():
        return str(_SECRETS)
    return "start" if name in settings.model_fields_set else "default"


def _kept_key(data_dir: Path) -> str:
    path = data_dir / "secret_key"
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        # Written aside and linked: of several processes that start at once, all read the one whole key.
        draft = data_dir / f".secret_key.{os.getpid()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(random.token_urlsafe(48))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text().strip()
