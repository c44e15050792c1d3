"""docs/reference says what the code does: settings, commands, permissions, errors, routes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from starlette.routing import Mount, Route, WebSocketRoute

from cortexql.app import create_app
from cortexql.cli import app
from cortexql.errors import CortexError, ErrorCode
from cortexql.principal import ROLE_PERMISSIONS, Permission, Role
from cortexql.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"
PROJECT = DOCS.parent
EVERY_METHOD = {"GET", "POST", "PUT", "PATCH", "DELETE"}


def rows(page: str) -> list[list[str]]:
    """Return the cells of a page's tables, without the code marks, head lines left out."""
    lines = (DOCS / "reference" / page).read_text().splitlines()
    cells = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines if "|" in line
    ]
    return [row for row in cells if not set(row[0]) <= set("- ")]


def body(page: str) -> list[list[str]]:
    return rows(page)[1:]


def test_every_setting_is_told_with_its_default() -> None:
    told = {name.lower(): default for name, default, _ in body("settings.md")}
    assert list(told) == list(Settings.model_fields)
    for name, field in Settings.model_fields.items():
        if field.default_factory is None and told[name]:
            read: Any = Settings.model_validate({name: told[name]})
            assert getattr(read, name) == field.default, name
        elif field.default_factory is None:
            assert not bare(field.default), name


def bare(default: object) -> object:
    secret = getattr(default, "get_secret_value", None)
    return secret() if secret is not None else default


def test_every_command_is_told_with_its_options_and_defaults() -> None:
    text = (DOCS / "reference" / "commands.md").read_text()
    told: dict[str, dict[str, str]] = {}
    for section in re.split(r"^## cortexql ", text, flags=re.MULTILINE)[1:]:
        name, _, rest = section.partition("\n")
        lines = [line.strip("| ").split("|") for line in rest.splitlines() if line.startswith("| `")]
        told[name] = {cells[0].strip(" `"): cells[1].strip(" `") for cells in lines}
    assert told == dict(commands(typer.main.get_command(app), ()))


def commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    command = getattr(command, "real", command)
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from commands(inner, (*path, name))
        return
    parameters = [parameter for parameter in command.params if parameter.name != "help"]
    yield " ".join(path), {label(parameter): shown(parameter.default) for parameter in parameters}


def label(parameter: Any) -> str:
    text: str = parameter.opts[0]
    return text if parameter.param_type_name == "option" else text.upper()


def shown(default: object) -> str:
    return "" if default in (None, False, "") else str(default)


def test_the_permissions_of_each_role_are_told() -> None:
    head, *lines = rows("permissions.md")
    assert head[1:-1] == list(Role)
    assert [line[0] for line in lines] == list(Permission)
    for permission, *marks, _ in lines:
        granted = [role for role in Role if permission in ROLE_PERMISSIONS[role]]
        assert [role for role, mark in zip(Role, marks, strict=True) if mark] == granted, permission


def test_every_error_code_is_told_with_its_status() -> None:
    raised = {kind.code: kind.status for kind in CortexError.__subclasses__()}
    assert [code for code, _, _ in body("errors.md")] == list(ErrorCode)
    assert {code: int(status) for code, status, _ in body("errors.md")} == raised


def test_every_route_is_told_with_its_methods() -> None:
    served: dict[str, set[str]] = {}
    for route in create_app(Settings()).routes:
        path, methods = address(route)
        served.setdefault(path, set()).update(methods)
    told = {path: set(methods.split(", ")) for path, methods, _ in body("routes.md")}
    assert told == {path: folded(methods) for path, methods in served.items()}


def folded(methods: set[str]) -> set[str]:
    return methods - EVERY_METHOD | {"any"} if methods >= EVERY_METHOD else methods


def address(route: object) -> tuple[str, set[str]]:
    if isinstance(route, Mount):
        return f"{route.path}/…", {"any"}
    if isinstance(route, WebSocketRoute):
        return route.path, {"WebSocket"}
    assert isinstance(route, Route)
    return route.path, (route.methods or EVERY_METHOD) - {"HEAD"}


@pytest.mark.parametrize("page", [*PROJECT.glob("*.md"), *DOCS.rglob("*.md")], ids=lambda path: path.name)
def test_a_page_links_to_what_is_there(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
