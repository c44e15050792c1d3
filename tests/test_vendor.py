"""The vendored browser assets are what their lock says, and GraphiQL's page uses nothing else."""

import hashlib
import importlib.util
import json
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from graphql import GraphQLSchema, OperationDefinitionNode, build_schema, parse, validate
from graphql.execution.values import get_variable_values

ROOT = Path(__file__).resolve().parents[1]
STATIC = ROOT / "cortexql" / "static"
VENDOR = STATIC / "vendor"
PAGE = ROOT / "cortexql" / "resolvers" / "graphiql.html"
SCHEMA = ROOT / "cortexql" / "schema" / "schema.graphql"
TABS = json.loads((STATIC / "graphiql" / "tabs.json").read_text(encoding="utf-8"))
PACKAGES = tomllib.loads((VENDOR / "vendor.toml").read_text(encoding="utf-8"))["package"]
FILES = [file for package in PACKAGES for file in package["files"]]


def test_vendored_file_has_the_locked_hash() -> None:
    found = {file["path"]: hashlib.sha256((VENDOR / file["path"]).read_bytes()).hexdigest() for file in FILES}
    assert found == {file["path"]: file["sha256"] for file in FILES}


def test_vendored_file_is_listed() -> None:
    found = {path.relative_to(VENDOR).as_posix() for path in VENDOR.rglob("*") if path.is_file()}
    assert found == {"vendor.toml", *(file["path"] for file in FILES)}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package["name"])
def test_vendored_package_comes_with_its_licence(package: dict[str, Any]) -> None:
    licences = [VENDOR / file["path"] for file in package["files"] if Path(file["path"]).stem == "LICENSE"]
    words = {"MIT": "Permission", "0BSD": "Permission", "Apache-2.0": "Apache License"}
    assert len(licences) == 1
    assert words[package["licence"]] in licences[0].read_text(encoding="utf-8")


def test_style_sheet_loads_nothing_but_embedded_images() -> None:
    for path in STATIC.rglob("*.css"):
        targets = re.findall(r"url\(\s*[\"']?([^\"')]{1,12})", path.read_text(encoding="utf-8"))
        assert {target[:10] for target in targets} <= {"data:image"}, path.name
        assert "@import" not in path.read_text(encoding="utf-8"), path.name


def test_graphiql_page_refers_to_our_files_only() -> None:
    addresses = re.findall(r"(?:src|href)=\"([^\"]*)\"", PAGE.read_text(encoding="utf-8"))
    missing = [
        address
        for address in addresses
        if address != "/admin/" and not (STATIC / address.removeprefix("/static/")).is_file()
    ]
    assert missing == []


def test_graphiql_page_holds_no_inline_script() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"<script[^>]*>[^<]", page) == []
    assert re.findall(r"\son\w+=", page) == []


@pytest.mark.parametrize("tab", TABS, ids=lambda tab: tab["title"])
def test_graphiql_tab_fits_the_schema(tab: dict[str, Any], schema: GraphQLSchema) -> None:
    document = parse("\n".join(tab["query"]))
    assert validate(schema, document) == []
    (operation,) = document.definitions
    assert isinstance(operation, OperationDefinitionNode)
    # GraphiQL names a tab after its operation.
    assert operation.name
    assert operation.name.value == tab["title"]
    given = tab.get("variables", {})
    assert not isinstance(get_variable_values(schema, operation.variable_definitions or (), given), list)


def test_tarball_of_another_hash_is_refused(tmp_path: Path, script: ModuleType) -> None:
    tarball = tmp_path / "package.tgz"
    tarball.write_bytes(b"not what was published")
    with pytest.raises(script.VendorError, match="has integrity sha512-"):
        script.check_integrity(tarball, PACKAGES[0]["integrity"])


def test_lock_reads_and_renders_to_itself(script: ModuleType) -> None:
    assert script.render_lock(script.read_lock(script.LOCK)) == script.LOCK.read_text(encoding="utf-8")


def test_drop_rule_leaves_the_other_rules(script: ModuleType) -> None:
    css = "a{color:red}@font-face{font-family:x;src:url(data:x)}@font-face {src:y}b{color:blue}"
    assert script.drop_rule(css, "@font-face") == "a{color:red}b{color:blue}"


@pytest.fixture(scope="module")
def schema() -> GraphQLSchema:
    return build_schema(SCHEMA.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("vendor", ROOT / "scripts" / "vendor.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
