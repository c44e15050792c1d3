"""Templates: always escaped, and what they may call."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cortexql import __version__, guess
from cortexql.admin import charts
from cortexql.models import PAP, TLP
from cortexql.services.configuration import GLOBAL

# Tones of console.css.
_LEVELS = {"info": "blue", "safe": "green", "suspicious": "orange", "malicious": "red"}
_STATES = {"in_progress": "blue", "success": "green", "failure": "red", "cancelled": "yellow"}
_KINDS = {"analyzer": "Analyzers", "responder": "Responders"}
_TLP_TONES = ("grey", "green", "orange", "orange", "red")
# What a redirect may tell: the address names it, so it is no place for other words.
_NOTICES = {
    "cancelled": "What had not ended is cancelled.",
    "deleted": "Deleted, with reports, logs and files.",
    "enabled": "It is enabled.",
    "saved": "Saved.",
    "disabled": "It is disabled. Its jobs and reports stay.",
    "created": "Created.",
    "removed": "Removed.",
    "sighted": "The sighting is noted.",
    "watched": "It is watched: a worker looks at it within seconds.",
    "pulling": "A worker pulls the image now.",
    "lifted": "The limit is lifted.",
    "password": "The password is changed.",
}
_DECEIVING = {
    code: f"[U+{code:04X}]"
    for code in (0x61C, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF)
}


def render(template: str, **context: object) -> str:
    """Return a template's text."""
    return _environment.get_template(template).render(context)


def ago(moment: datetime | None) -> str:
    """Return how long ago something was, in one unit."""
    if moment is None:
        return ""
    span = datetime.now(UTC) - moment
    return "just now" if span < timedelta(seconds=1) else f"{length(span)} ago"


def length(span: timedelta | None) -> str:
    """Return a span of time in its largest whole unit."""
    if span is None:
        return ""
    seconds = max(span.total_seconds(), 0)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{seconds:.1f} s" if 0 < seconds < 10 else f"{int(seconds)} s"


def moment_text(moment: datetime | None) -> str:
    """Return a time to the second, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if moment else ""


def plain(text: object) -> str:
    """Return foreign text with the characters named that would turn others around or hide them."""
    return str(text).translate(_DECEIVING)


def size_text(count: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _environment_of(folder: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {
        "ago": ago,
        "defanged": guess.defang,
        "length": length,
        "length_of": len,
        "plain": plain,
        "moment": moment_text,
        "size": size_text,
        "figure": charts.figure_text,
        "as_json": _json,
        "notice": lambda name: _NOTICES.get(str(name), ""),
        "level_tone": lambda level: _LEVELS.get(str(level), "grey"),
        "state_tone": lambda state: _STATES.get(str(state), "grey"),
        "tlp": lambda level: f"TLP:{TLP[level]}",
        "pap": lambda level: f"PAP:{PAP[level]}",
        "tlp_tone": lambda level: _TLP_TONES[level],
    }
    environment.globals |= {
        "vendor": "/static/vendor",
        "version": __version__,
        "kinds": _KINDS,
        "everything": GLOBAL,
    }
    return environment


_environment = _environment_of(Path(__file__).with_name("templates"))
