"""Administration from the shell, straight on the database: organizations, users, catalogue, neurons."""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from cortexql import duration
from cortexql.auth.providers import look_up
from cortexql.catalog.definition import ParsedItem, coerce
from cortexql.cli.running import CommandError, DataDir, with_resources
from cortexql.models import NeuronType, Organization, OrganizationStatus, UserStatus
from cortexql.principal import Role, system
from cortexql.resources import Resources
from cortexql.secrets import SecretLostError
from cortexql.services import (
    api_keys,
    catalogues,
    configuration,
    definitions,
    identities,
    neurons,
    organizations,
    page,
    passwords,
    rotation,
    shared_configs,
    users,
)
from cortexql.transaction import Transaction

_SHELL = system("shell")
Result = TypeVar("Result")
organization_app = typer.Typer(help="Organizations.", no_args_is_help=True)
user_app = typer.Typer(help="Users, their passwords and keys.", no_args_is_help=True)
catalog_app = typer.Typer(help="The catalogue of definitions.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="The organization's name.")]
Login = Annotated[str, typer.Argument(help="The user's login.")]
Kind = Annotated[NeuronType, typer.Option("--type", help="Of which kind it is.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(organization_app, name="organization")
    app.add_typer(user_app, name="user")
    app.add_typer(catalog_app, name="catalog")
    app.command()(enable)
    app.command()(rotate)


def rotate(data_dir: DataDir = None) -> None:
    """Encrypt all stored secrets with the present SECRET_KEY; OLD_SECRET_KEYS names the ones before."""
    try:
        changed = _in_transaction(lambda tx, resources: rotation.rotate(tx, resources.cipher), data_dir)
    except SecretLostError as error:
        raise CommandError(f"{error}: name it in CORTEXQL_OLD_SECRET_KEYS") from error
    print(f"encrypted {changed} secrets anew; restart web servers and workers before an old key goes")


@organization_app.command("create")
def create_organization(
    name: Name, description: Annotated[str, typer.Option()] = "", data_dir: DataDir = None
) -> None:
    """Create an organization."""
    _in_transaction(lambda tx, _: organizations.create(tx, name, description), data_dir)
    print(f"created organization {name}")


@organization_app.command("list")
def list_organizations(data_dir: DataDir = None) -> None:
    """List the organizations."""
    rows = _in_transaction(lambda tx, _: page.everything(partial(organizations.list_page, tx)), data_dir)
    _print(("name", "status", "description"), [(o.name, o.status.value, o.description) for o in rows])


@organization_app.command("lock")
def lock_organization(
    name: Name, unlock: Annotated[bool, typer.Option("--unlock")] = False, data_dir: DataDir = None
) -> None:
    """Lock an organization, or unlock it."""
    status = OrganizationStatus.ACTIVE if unlock else OrganizationStatus.LOCKED
    change = organizations.OrganizationChange(status=status)
    _in_transaction(lambda tx, _: organizations.update(tx, name, change), data_dir)
    print(f"organization {name} is {status.value}")


@organization_app.command("retention")
def set_retention(
    name: Name,
    jobs: Annotated[
        str | None, typer.Option(help="Drop jobs that ended so long ago, e.g. 90d; 0: never.")
    ] = None,
    reports: Annotated[str | None, typer.Option(help="Drop reports that are so old; 0: never.")] = None,
    files: Annotated[str | None, typer.Option(help="Drop files unused for so long; 0: never.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Show how long an organization keeps its jobs, reports and files, or change what is given."""
    change = organizations.OrganizationChange(
        job_retention=_to_duration(jobs),
        report_retention=_to_duration(reports),
        file_retention=_to_duration(files),
    )

    async def work(tx: Transaction, _: Resources) -> Organization:
        return await organizations.update(tx, name, change)

    kept = _in_transaction(work, data_dir)
    ages = (kept.job_retention, kept.report_retention, kept.file_retention)
    _print(("jobs", "reports", "files"), [tuple(str(age) if age else "for ever" for age in ages)])


def _to_duration(text: str | None) -> timedelta | None:
    try:
        return None if text is None else duration.parse(text)
    except ValueError as error:
        raise CommandError(str(error)) from error


@user_app.command("create")
def create_user(
    login: Login,
    organization: Annotated[str, typer.Option(help="Where the user belongs.")],
    role: Annotated[list[Role], typer.Option(help="What the user may do; again for several.")],
    name: Annotated[str, typer.Option(help="The name to show; the login unless given.")] = "",
    password: Annotated[bool, typer.Option("--password", help="Ask for a password.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Create a user."""
    given = _ask_password() if password else None

    async def work(resources: Resources) -> None:
        hashed = await passwords.to_hash(given, login, name) if given else None
        async with resources.transactions(_SHELL) as tx:
            await users.create(tx, users.NewUser(login, name or login, frozenset(role), organization, hashed))

    with_resources(work, data_dir)
    print(f"created user {login}")


@user_app.command("list")
def list_users(
    organization: Annotated[str | None, typer.Option(help="Of this organization only.")] = None,
    data_dir: DataDir = None,
) -> None:
    """List the users."""
    rows = _in_transaction(
        lambda tx, _: page.everything(partial(users.list_page, tx, organization)), data_dir
    )
    _print(
        ("login", "name", "roles", "status"),
        [(u.login, u.name, " ".join(u.roles), u.status.value) for u in rows],
    )


@user_app.command("lock")
def lock_user(
    login: Login, unlock: Annotated[bool, typer.Option("--unlock")] = False, data_dir: DataDir = None
) -> None:
    """Lock a user, or unlock one."""
    status = UserStatus.ACTIVE if unlock else UserStatus.LOCKED
    _in_transaction(lambda tx, _: users.update(tx, login, users.UserChange(status=status)), data_dir)
    print(f"user {login} is {status.value}")


@user_app.command("password")
def set_password(login: Login, data_dir: DataDir = None) -> None:
    """Set a user's password; it is asked for."""
    given = _ask_password()

    async def work(resources: Resources) -> None:
        hashed = await passwords.to_hash(given, login)
        async with resources.transactions(_SHELL) as tx:
            await users.set_password(tx, login, hashed)

    with_resources(work, data_dir)
    print(f"the password of {login} is set")


@user_app.command("key")
def renew_key(login: Login, data_dir: DataDir = None) -> None:
    """Print a new API key for a user; the one before stops working."""
    issued = _in_transaction(lambda tx, _: api_keys.renew(tx, login), data_dir)
    print(issued.key)


@user_app.command("forget")
def forget_subjects(
    issuer: Annotated[str, typer.Argument(help="What CORTEXQL_OIDC_ISSUER was.")], data_dir: DataDir = None
) -> None:
    """Forget whom all users are at an OpenID Connect provider: each is bound anew at its next sign-in."""
    count = _in_transaction(lambda tx, _: users.forget_subjects(tx, issuer), data_dir)
    print(f"forgot {count} of {issuer}")


@user_app.command("preview")
def preview_user(
    login: Login,
    group: Annotated[
        list[str] | None,
        typer.Option(help="A group that the provider would tell of; again for several. None: LDAP is asked."),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Say what a login would become if an outside provider vouched for it now; nothing is changed."""

    async def work(resources: Resources) -> identities.Decision:
        identity = await look_up(resources, login, group or None)
        async with resources.transactions(_SHELL) as tx:
            return await identities.preview(tx, identity, resources.settings)

    decided = with_resources(work, data_dir)
    print(f"{decided.admission.value}: {decided.reason}")


@catalog_app.command("refresh")
def refresh_catalog(data_dir: DataDir = None) -> None:
    """Read every catalogue source again."""

    async def work(resources: Resources) -> definitions.Refresh:
        return await definitions.refresh_all(resources.transactions, resources.settings, _SHELL)

    done = with_resources(work, data_dir)
    for change in done.changes:
        print(f"{change.kind.value} {change.definition_id} ({change.source})")
    for invalid in done.invalid:
        print(f"invalid {invalid.source}: {invalid.reason}")
    counts = ", ".join(f"{done.count(kind)} {kind.value}" for kind in definitions.ChangeKind)
    print(f"{counts}, {done.unchanged} unchanged, {len(done.invalid)} invalid")


@catalog_app.command("list")
def list_catalog(data_dir: DataDir = None) -> None:
    """List the definitions."""
    rows = _in_transaction(
        lambda tx, _: page.everything(partial(definitions.list_page, tx, None, None)), data_dir
    )
    titles = ("definition", "type", "data types", "description")
    _print(titles, [(d.definition_id, d.type.value, " ".join(d.data_types), d.description) for d in rows])


@catalog_app.command("sources")
def list_sources(data_dir: DataDir = None) -> None:
    """List where definitions are read from."""
    found = _in_transaction(lambda tx, resources: catalogues.list_all(tx, resources.settings), data_dir)
    rows: list[tuple[str, ...]] = [
        (one.kind.value, one.location, "added" if one.row else "settings") for one in found
    ]
    _print(("type", "location", "by"), rows)


@catalog_app.command("add")
def add_source(
    url: Annotated[str, typer.Argument(help="The URL of its JSON.")],
    kind: Kind = NeuronType.ANALYZER,
    username: Annotated[str, typer.Option(help="Who to sign in as; the password is asked for.")] = "",
    data_dir: DataDir = None,
) -> None:
    """Add a catalogue, which the next refresh reads; folders and files are named by ANALYZERS and RESPONDERS."""
    new = catalogues.NewSource(kind, url, username, _ask_password() if username else "")
    row = _in_transaction(
        lambda tx, resources: catalogues.add(tx, new, resources.settings, resources.cipher), data_dir
    )
    print(f"added {row.location}; `cortexql catalog refresh` reads it")


@catalog_app.command("remove")
def remove_source(
    location: Annotated[str, typer.Argument(help="Its URL.")],
    kind: Kind = NeuronType.ANALYZER,
    data_dir: DataDir = None,
) -> None:
    """Read a catalogue that was added no longer; what is enabled of it goes on."""
    _in_transaction(lambda tx, _: catalogues.remove(tx, kind, location), data_dir)
    print(f"removed {location}")


def enable(
    definition: Annotated[str, typer.Argument(help="Definition id, e.g. Yara_1_0.")],
    organization: Annotated[str, typer.Option(help="For whom.")],
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A configuration item: name=value.")
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(help="An item to keep secret, for all of its baseConfig there; again for several."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Its name; the definition's id unless given.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Enable a definition for an organization."""

    async def work(tx: Transaction, resources: Resources) -> None:
        found = await definitions.get(tx, definition)
        values = _values(configuration.all_items(found), setting or [])
        if secret:
            chosen = dict.fromkeys(secret, True)
            await shared_configs.set_secrecy(tx, found.base_config, chosen, resources.cipher, organization)
        new = neurons.NewNeuron(definition, name, values, organization=organization)
        await neurons.enable(tx, new, resources.cipher)

    _in_transaction(work, data_dir)
    print(f"enabled {name or definition} for {organization}")


def _values(items: tuple[ParsedItem, ...], settings: list[str]) -> dict[str, Any]:
    """Read name=value as the item's type; a multi item may be named again, or given as a JSON list."""
    known = {item.name: item for item in items}
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or name not in known:
            # The value is not told: it may be a secret.
            raise CommandError(f"--set {name}: expected name=value with one of {', '.join(sorted(known))}")
        item = known[name]
        if item.multi:
            values[name] = values.get(name, []) + [coerce(part, item.type) for part in _parts(name, text)]
            continue
        value = coerce(text, item.type)
        if value is None:
            raise CommandError(f"--set {name}: {item.name} is a {item.type}")
        values[name] = value
    return values


def _parts(name: str, text: str) -> list[Any]:
    if not text.startswith("["):
        return [text]
    try:
        given: list[Any] = json.loads(text)
    except ValueError as error:
        raise CommandError(f"--set {name}: not a JSON list: {error}") from error
    return given


def _in_transaction(work: Callable[[Transaction, Resources], Awaitable[Result]], data_dir: Any) -> Result:
    async def main(resources: Resources) -> Result:
        async with resources.transactions(_SHELL) as tx:
            return await work(tx, resources)

    return with_resources(main, data_dir)


def _ask_password() -> str:
    given: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return given


def _print(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = Table(*titles, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*[cell.replace("[", "\\[") for cell in row])
    Console().print(table)
