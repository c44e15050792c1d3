"""Definitions and sources: all that is published loads, what is broken loses itself and says why."""

import json
from pathlib import Path
from typing import Any

import pytest

from cortexql.catalog import source
from cortexql.catalog.definition import DefinitionError, definition_id, is_secret, parse

CATALOG = Path(__file__).parents[3] / "shared" / "catalog"

GOOD: dict[str, Any] = {
    "name": "Good",
    "version": "1.0",
    "author": "a",
    "url": "u",
    "license": "l",
    "description": "d",
    "dataTypeList": ["ip", "domain", "ip"],
    "command": "Good/good.py",
    "dockerImage": "vendor/good:1.0",
}


@pytest.mark.parametrize(("kind", "count"), [("analyzer", 275), ("responder", 156)])
async def test_every_published_definition_loads(kind: Any, count: int) -> None:
    path = CATALOG / f"{kind}s.json"
    published = json.loads(path.read_text())
    listing = await source.read(str(path), kind)
    assert (listing.complete, listing.invalid, len(listing.definitions)) == (True, (), count)
    for given, read in zip(published, listing.definitions, strict=True):
        assert read.id == definition_id(given["name"], given["version"])
        assert read.data_types == tuple(dict.fromkeys(given["dataTypeList"]))
        assert read.docker_image == given.get("dockerImage")
        names = [item["name"] for item in given.get("configurationItems", ())]
        assert [item.name for item in read.items] == list(dict.fromkeys(names))
    assert len({read.id for read in listing.definitions}) == count


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": None}, "name is missing"),
        ({"version": 1}, "version is not a string"),
        ({"name": "a b"}, "name 'a b' is empty, or has white space or a slash in it"),
        ({"name": "../x"}, "name '../x' is empty, or has white space or a slash in it"),
        ({"description": "a\0"}, "it holds a NUL character"),
        ({"config": {"a": ["\\\0"]}}, "it holds a NUL character"),
        ({"config": {"a": float("nan")}}, "it holds a number or a character that JSON does not have"),
        ({"config": {"a": "\ud800"}}, "it holds a number or a character that JSON does not have"),
        ({"dataTypeList": "ip"}, "dataTypeList is not a list of strings"),
        ({"dataTypeList": [1]}, "dataTypeList is not a list of strings"),
        ({"config": []}, "config is not an object"),
        ({"command": "../evil.py"}, "command '../evil.py' leaves its catalogue's folder"),
        ({"command": "/bin/sh"}, "command '/bin/sh' leaves its catalogue's folder"),
        ({"command": "Good/../../evil.py"}, "command 'Good/../../evil.py' leaves its catalogue's folder"),
        ({"command": "link/evil.py"}, "command 'link/evil.py' leaves its catalogue's folder"),
        ({"command": "python3 ../evil.py"}, "command 'python3 ../evil.py' leaves its catalogue's folder"),
        (
            {"command": "/bin/sh Good/good.py"},
            "command '/bin/sh Good/good.py' is not a script, or an interpreter and a script",
        ),
        (
            {"command": "sh -c id Good/good.py"},
            "command 'sh -c id Good/good.py' is not a script, or an interpreter and a script",
        ),
        ({"command": "Good/'.py"}, 'command "Good/\'.py" is no command'),
        ({"dockerImage": "a b;c"}, "dockerImage 'a b;c' is not an image reference"),
        ({"dockerImage": "a/$(id)"}, "dockerImage 'a/$(id)' is not an image reference"),
        ({"dockerImage": "vendor/\u0430:1"}, "dockerImage 'vendor/\u0430:1' is not an image reference"),
        ({"dockerImage": "../a"}, "dockerImage '../a' is not an image reference"),
        ({"dockerImage": "a:1@sha256:1"}, "dockerImage 'a:1@sha256:1' is not an image reference"),
        (
            {"command": None, "dockerImage": None},
            "it has neither a dockerImage nor a command that may be run from here",
        ),
    ],
)
def test_a_broken_definition_says_why(change: dict[str, Any], reason: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path.parent)
    with pytest.raises(DefinitionError) as refusal:
        parse({**GOOD, **change}, "analyzer", "somewhere", tmp_path)
    assert str(refusal.value) == reason


def test_a_command_from_afar_is_not_trusted() -> None:
    read = parse(GOOD, "analyzer", "https://catalogue.example")
    assert (read.command, read.root, read.docker_image) == (None, None, "vendor/good:1.0")


@pytest.mark.parametrize(
    "image",
    [
        "python",
        "vendor/good:1.0",
        "registry.example:5000/team/good:1.0-rc.1_x",
        "[::1]:5443/good:1",
        "ghcr.io/vendor/msdefenderoffice365_safelinksdecoder:1",
        f"vendor/good:1@sha256:{'0' * 64}",
    ],
)
def test_a_reference_is_taken_as_it_is(image: str) -> None:
    assert parse({**GOOD, "dockerImage": image}, "analyzer", "s").docker_image == image


@pytest.mark.parametrize(
    ("definition", "item", "default"),
    [
        ("CiscoUmbrella", "query_limit", 20),  # `default`, misspelt
        ("Censys", "max_records", 10),  # `defaultvalue`
        ("HarfangLab-SearchHash", "limit", 100),  # a number's default as a string
        ("Velociraptor", "query_max_duration", 600),
        ("TorProject", "cache.duration", 3600),  # a dotted name
    ],
)
async def test_an_anomaly_of_the_published_catalogue_is_understood(
    definition: str, item: str, default: object
) -> None:
    found = [
        read
        for kind in ("analyzer", "responder")
        for listed in (await source.read(str(CATALOG / f"{kind}s.json"), kind)).definitions
        if listed.name.startswith(definition)
        for read in listed.items
        if read.name == item
    ]
    assert {(read.type, read.default) for read in found} == {("number", default)}


@pytest.mark.parametrize(
    ("item", "read"),
    [
        ({"name": "n", "type": "number", "defaultValue": "100"}, ("number", False, False, 100)),
        ({"name": "n", "type": "Number", "defaultvalue": 1.5}, ("number", False, False, 1.5)),
        ({"name": "n", "type": "number", "defaultValue": True}, ("number", False, False, None)),
        ({"name": "n", "type": "boolean", "default": "False"}, ("boolean", False, False, False)),
        ({"name": "n", "type": "string", "defaultValue": 5}, ("string", False, False, None)),
        ({"name": "n", "type": "string", "multi": True, "defaultValue": "a"}, ("string", True, False, ["a"])),
        ({"name": "n", "type": "string", "required": "yes"}, ("string", False, False, None)),
        ({"name": "n", "type": "text", "required": True}, ("text", False, True, None)),
    ],
)
def test_an_item_is_read_kindly(item: dict[str, Any], read: tuple[Any, ...]) -> None:
    parsed = parse(
        {**GOOD, "configurationItems": [item, {"name": ""}, {"name": "x", "type": "y"}, 1]}, "analyzer", "s"
    )
    assert [(i.type, i.multi, i.required, i.default) for i in parsed.items] == [read]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-inf", "1e400", [], {}])
def test_a_default_that_is_no_number_is_none(value: Any) -> None:
    item = {"name": "n", "type": "number", "defaultValue": value}
    (read,) = parse({**GOOD, "configurationItems": [item]}, "analyzer", "s").items
    assert read.default is None


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("key", True),
        ("api_key", True),
        ("password", True),
        ("OktaToken", True),
        ("zip_pw", True),
        ("keywords", False),
        ("url", False),
        ("monkey", True),
    ],
)
def test_a_secret_is_known_by_its_name(name: str, secret: bool) -> None:  # noqa: FBT001
    assert is_secret(name, "string") is secret
    assert is_secret(name, "number") is False


async def test_a_bad_file_in_a_folder_loses_itself(tmp_path: Path) -> None:
    for name, content in (
        ("good", json.dumps(GOOD)),
        ("half", json.dumps(GOOD)[:50]),
        ("nameless", json.dumps({**GOOD, "name": None})),
        ("deep", "[" * 100_000),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.json").write_text(content)
    listing = await source.read(str(tmp_path), "analyzer")
    assert (listing.complete, [read.id for read in listing.definitions]) == (True, ["Good_1_0"])
    reasons = {Path(invalid.source).stem: invalid.reason for invalid in listing.invalid}
    assert reasons["nameless"] == "name is missing"
    assert sorted(reasons) == ["deep", "half", "nameless"]
    assert all(reasons[name].startswith("it is not JSON") for name in ("deep", "half"))


@pytest.mark.parametrize("content", [None, "", "{", "\xff", "[1]"])
async def test_a_source_that_cannot_be_read_says_so(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "catalogue.json"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    listing = await source.read(str(path), "analyzer")
    assert (listing.definitions, len(listing.invalid)) == ((), 1)
    assert listing.complete is (content == "[1]")


def test_a_backslash_before_u0000_is_no_nul() -> None:
    assert parse({**GOOD, "config": {"a": "\\u0000"}}, "analyzer", "s").config == {"a": "\\u0000"}
