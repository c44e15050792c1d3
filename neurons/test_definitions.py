# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every bundled definition: complete, runnable, and as its folder says."""

import os
from pathlib import Path

import pytest
from neuron_harness import NEURONS, load_definition

REQUIRED = {
    "name",
    "version",
    "author",
    "url",
    "license",
    "description",
    "dataTypeList",
    "command",
    "baseConfig",
}
NAMES = sorted(str(path.relative_to(NEURONS).with_suffix("")) for path in NEURONS.glob("*/*/*.json"))
SOURCES = sorted(path for path in NEURONS.rglob("*.py"))
JSON_TYPES: dict[str, type | tuple[type, ...]] = {"string": str, "number": (int, float), "boolean": bool}


def test_all_neurons_are_here() -> None:
    analyzers = ("Echo", "FileProfile", "GeoLookup", "IndicatorExtractor", "ListLookup", "MailParser")
    expected = [f"analyzers/{name}/{name}" for name in (*analyzers, "UrlAnatomy", "Yara")]
    assert [*expected, "responders/Mailer/Mailer", "responders/Webhook/Webhook"] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_definition_is_complete(name: str) -> None:
    definition = load_definition(name)
    folder = (NEURONS / name).parent
    script = folder.parent / definition["command"]
    assert definition.keys() >= REQUIRED
    assert (definition["name"], definition["version"], definition["license"]) == (
        folder.name,
        "1.0",
        "AGPL-3.0",
    )
    assert len(set(definition["dataTypeList"])) == len(definition["dataTypeList"]) > 0
    assert os.access(script, os.X_OK)
    assert script.read_text(encoding="utf-8").startswith(
        "#!/usr/bin/env python3\n# SPDX-License-Identifier: AGPL-3.0"
    )
    assert all((folder / file).is_file() for file in ("README.md", "requirements.txt"))


@pytest.mark.parametrize("name", NAMES)
def test_items_have_fitting_defaults(name: str) -> None:
    items = load_definition(name)["configurationItems"]
    assert len({item["name"] for item in items}) == len(items)
    for item in items:
        default = item.get("defaultValue", [] if item["multi"] else None)
        values = default if item["multi"] else [default]
        assert isinstance(values, list)
        assert all(value is None or isinstance(value, JSON_TYPES[item["type"]]) for value in values)
        assert not (item["required"] and "defaultValue" in item)


def test_requirements_are_the_sum() -> None:
    each = {line for path in NEURONS.glob("*/*/requirements.txt") for line in path.read_text().splitlines()}
    assert (NEURONS / "requirements.txt").read_text().splitlines() == sorted(each)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_source_names_its_licence(path: Path) -> None:
    assert "# SPDX-License-Identifier: AGPL-3.0-or-later" in path.read_text(encoding="utf-8").splitlines()[:2]
