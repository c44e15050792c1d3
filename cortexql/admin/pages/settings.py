"""Settings as this web server has them, and where each comes from; they are changed where they come from."""

import re
from dataclasses import dataclass
from datetime import timedelta

from pydantic import SecretStr
from starlette.responses import Response

from cortexql.admin import spans
from cortexql.admin.visit import Visit
from cortexql.principal import Permission
from cortexql.settings import Settings, origin_of

_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*@")


@dataclass(frozen=True, slots=True)
class _Row:
    variable: str
    value: str
    meaning: str
    origin: str


async def show(visit: Visit) -> Response:
    """List the settings, all or those that have something in them, or that are set."""
    visit.principal.require(Permission.INSTANCE_MANAGE)
    settings = visit.resources.settings
    rows = [
        _Row(
            f"CORTEXQL_{name.upper()}",
            _to_text(getattr(settings, name)),
            field.description or "",
            origin_of(settings, name),
        )
        for name, field in Settings.model_fields.items()
    ]
    filters = {name: value for name in ("search", "origin") if (value := visit.asked(name))}
    return visit.page(
        "settings/list.html",
        partial="settings/_table.html",
        rows=[row for row in rows if _fits(row, filters)],
        filters=filters,
    )


def _fits(row: _Row, filters: dict[str, str]) -> bool:
    text = f"{row.variable}\n{row.value}\n{row.meaning}".casefold()
    return filters.get("search", "").casefold() in text and not (
        "origin" in filters and row.origin == "default"
    )


def _to_text(value: object) -> str:
    """Return a value for people: of a secret only whether it is set, and no password in an address."""
    if isinstance(value, SecretStr):
        return "set, not shown" if value.get_secret_value() else ""
    if isinstance(value, tuple | list):
        return ", ".join(_to_text(part) for part in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, timedelta):
        return spans.to_text(value)
    return _CREDENTIALS.sub("…@", "" if value is None else str(value))
