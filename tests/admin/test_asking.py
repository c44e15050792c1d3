"""What destroys asks before it does, in every template."""

import re
from pathlib import Path

import pytest

import cortexql.admin

_TEMPLATES = Path(cortexql.admin.__file__).with_name("templates")
_FORM = re.compile(r"<form.*?</form>", re.DOTALL)
_DESTROYS = re.compile(r'action="[^"]*/(delete|remove|revoke|disable|unsight|cancel|upgrade)"')
_BUTTON = re.compile(
    r"<button[^>]*formaction=\"[^\"]*/(?:delete|cancel|remove|revoke)\".*?</button>", re.DOTALL
)


@pytest.mark.parametrize("path", sorted(_TEMPLATES.rglob("*.html")), ids=lambda path: path.name)
def test_a_form_that_destroys_asks(path: Path) -> None:
    text = path.read_text()
    forms = [form for form in _FORM.findall(text) if _DESTROYS.search(form)]
    asked = [*forms, *_BUTTON.findall(text)]
    assert [one[:120] for one in asked if "data-confirm" not in one and "hx-confirm" not in one] == []


def test_there_are_forms_that_ask() -> None:
    text = "".join(path.read_text() for path in _TEMPLATES.rglob("*.html"))
    assert len(re.findall(r"(?:data|hx)-confirm=", text)) >= 15
