"""Dashboards: made, arranged, shared, imported, exported, and three that are ready."""

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import ColumnElement, func, or_, select

from cortexql.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError, TooLargeError
from cortexql.models import Dashboard
from cortexql.principal import Permission, Principal
from cortexql.services import questions, text, widgets
from cortexql.services.widgets import MAX_WIDGETS, Widget
from cortexql.transaction import Transaction

FORMAT = "cortexql-dashboard"
VERSION = 1
MAX_FILE_BYTES = 512 * 1024
_MAX_OWN = 200
_READY = Path(__file__).resolve().parents[1] / "dashboards"
_READY_NAMES = ("operations", "threats", "spending")


@dataclass(frozen=True, slots=True)
class Content:
    """What a dashboard says, wherever it lies: in a file, a row, a form."""

    name: str
    description: str = ""
    widgets: Sequence[Widget] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """What to change; None leaves as it is."""

    name: str | None = None
    description: str | None = None
    is_shared: bool | None = None
    widgets: Sequence[Widget] | None = None


class _File(BaseModel):
    """An exported dashboard; its widgets are read one by one, to name the one that is wrong."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: Literal["cortexql-dashboard"]
    version: Annotated[int, Field(ge=1)]
    name: str
    description: str = ""
    widgets: list[Any] = Field(max_length=MAX_WIDGETS)


async def list_all(tx: Transaction) -> Sequence[Dashboard]:
    """Return the own dashboards and the organization's shared ones, by name."""
    tx.principal.require(Permission.READ)
    query = select(Dashboard).where(_visible(tx.principal)).order_by(Dashboard.name, Dashboard.id)
    return (await tx.session.scalars(query)).all()


async def get(tx: Transaction, dashboard_id: int) -> Dashboard:
    """Return a dashboard that exists for the caller, or raise NotFoundError."""
    tx.principal.require(Permission.READ)
    return await _get(tx, dashboard_id)


async def create(tx: Transaction, content: Content, *, is_shared: bool = False) -> Dashboard:
    """Make a dashboard of the caller's own.

    Raises:
        InvalidInputError: a widget asks for what there is not.
        ConflictError: the caller has as many as there may be.
    """
    tx.principal.require(Permission.READ)
    if tx.principal.organization_id is None:
        raise ForbiddenError("a dashboard belongs to somebody")
    own = select(func.count(Dashboard.id)).where(Dashboard.owner_id == tx.principal.user_id)
    if (await tx.session.scalar(own) or 0) >= _MAX_OWN:
        raise ConflictError(f"nobody has more than {_MAX_OWN} dashboards")
    row = Dashboard(
        organization_id=tx.principal.organization_id,
        owner_id=tx.principal.user_id,
        created_by=tx.principal.login,
        name=_check_name(content.name),
        description=_check_description(content.description),
        is_shared=is_shared,
        widgets=_to_rows(content.widgets, tx.principal),
    )
    tx.session.add(row)
    await tx.flush()
    return row


async def update(tx: Transaction, dashboard_id: int, changes: Changes) -> Dashboard:
    """Change a dashboard.

    Raises:
        ForbiddenError: it is somebody else's, and the caller is no admin.
        InvalidInputError: a widget asks for what there is not.
    """
    tx.principal.require(Permission.READ)
    row = await _get_to_change(tx, dashboard_id)
    if changes.name is not None:
        row.name = _check_name(changes.name)
    if changes.description is not None:
        row.description = _check_description(changes.description)
    if changes.is_shared is not None:
        if not changes.is_shared and row.owner_id != tx.principal.user_id:
            raise ForbiddenError("only its owner can take a dashboard back from the organization")
        row.is_shared = changes.is_shared
    if changes.widgets is not None:
        row.widgets = _to_rows(changes.widgets, tx.principal)
    return await _changed(tx, row)


async def put_widget(tx: Transaction, dashboard_id: int, widget: Widget) -> Dashboard:
    """Put a widget in the place of the one with its id, or at the end where it has none."""
    tx.principal.require(Permission.READ)
    row = await _get_to_change(tx, dashboard_id)
    present = content_of(row)
    if widget.id:
        find_widget(present, widget.id)
        placed = [widget if one.id == widget.id else one for one in present.widgets]
    else:
        placed = [*present.widgets, widget]
    row.widgets = _to_rows(placed, tx.principal)
    return await _changed(tx, row)


async def remove_widget(tx: Transaction, dashboard_id: int, widget_id: str) -> Dashboard:
    """Remove a widget."""
    tx.principal.require(Permission.READ)
    row = await _get_to_change(tx, dashboard_id)
    find_widget(content_of(row), widget_id)
    row.widgets = [one for one in row.widgets if one["id"] != widget_id]
    return await _changed(tx, row)


async def arrange(tx: Transaction, dashboard_id: int, order: Sequence[str]) -> Dashboard:
    """Put the widgets into an order of their ids; those that it does not name follow as they were."""
    tx.principal.require(Permission.READ)
    row = await _get_to_change(tx, dashboard_id)
    place = {widget_id: position for position, widget_id in enumerate(order)}
    row.widgets = sorted(row.widgets, key=lambda one: place.get(one["id"], len(place)))
    return await _changed(tx, row)


async def delete(tx: Transaction, dashboard_id: int) -> Dashboard:
    """Delete a dashboard."""
    tx.principal.require(Permission.READ)
    row = await _get_to_change(tx, dashboard_id)
    await tx.session.delete(row)
    return row


def may_change(principal: Principal, row: Dashboard) -> bool:
    """Say whether somebody may change a dashboard: its owner, and of a shared one an admin."""
    is_owner = row.owner_id is not None and row.owner_id == principal.user_id
    return is_owner or (row.is_shared and principal.may(Permission.NEURON_MANAGE))


def content_of(row: Dashboard) -> Content:
    """Return what a stored dashboard says."""
    return Content(row.name, row.description, [widgets.parse(one) for one in row.widgets])


def find_widget(content: Content, widget_id: str) -> Widget:
    """Return a widget by its id, or raise NotFoundError."""
    for widget in content.widgets:
        if widget.id == widget_id:
            return widget
    raise NotFoundError("there is no such widget")


def export(content: Content) -> str:
    """Return a dashboard as a file; docs/dashboards.md describes it."""
    found = {
        "format": FORMAT,
        "version": VERSION,
        "name": content.name,
        "description": content.description,
        "widgets": [_without_id(widget.to_json()) for widget in content.widgets],
    }
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def read(file: str | bytes) -> Content:
    """Read an exported dashboard.

    Raises:
        TooLargeError: it is larger than one can be.
        InvalidInputError: it is none, or of another version, or a widget is not understood; the message says where.
    """
    if len(file) > MAX_FILE_BYTES:
        raise TooLargeError(f"a dashboard's file has at most {MAX_FILE_BYTES // 1024} KiB")
    try:
        given = json.loads(file)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("the file is not JSON", field=("file",)) from error
    _check_kind(given)
    try:
        parsed = _File.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInputError(f"{where}: {first['msg']}"[:500], field=("file",)) from error
    found = [_read_widget(number, one) for number, one in enumerate(parsed.widgets)]
    return Content(_check_name(parsed.name), _check_description(parsed.description), found)


@cache
def ready() -> dict[str, Content]:
    """Return the dashboards that come with CortexQL, by the names of their files."""
    found = {}
    for name in _READY_NAMES:
        content = read((_READY / f"{name}.json").read_bytes())
        numbered = [one.model_copy(update={"id": f"{n:x}"}) for n, one in enumerate(content.widgets, 1)]
        found[name] = Content(content.name, content.description, numbered)
    return found


def _check_kind(given: object) -> None:
    if not isinstance(given, dict) or given.get("format") != FORMAT:
        raise InvalidInputError(f'the file is no dashboard: "format" is not "{FORMAT}"', field=("file",))
    version = given.get("version")
    if version != VERSION or isinstance(version, bool):
        raise InvalidInputError(
            f"the dashboard's format has version {str(version)[:20]}; this CortexQL reads version {VERSION}",
            field=("file",),
        )


def _read_widget(number: int, given: Any) -> Widget:
    try:
        widget = widgets.parse(given)
    except InvalidInputError as error:
        title = given.get("title") if isinstance(given, dict) else None
        named = f" ({title[:60]})" if isinstance(title, str) else ""
        raise InvalidInputError(
            f"widget {number + 1}{named}: {error.message}", field=("widgets", str(number), *error.field)
        ) from error
    return widget.model_copy(update={"id": ""})


def _without_id(widget: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in widget.items() if name != "id"}


def _visible(principal: Principal) -> ColumnElement[bool]:
    return or_(Dashboard.is_shared.is_(True), Dashboard.owner_id == principal.user_id)


async def _get(tx: Transaction, dashboard_id: int, *, locked: bool = False) -> Dashboard:
    query = select(Dashboard).where(Dashboard.id == dashboard_id, _visible(tx.principal))
    row = (await tx.session.scalars(query.with_for_update() if locked else query)).one_or_none()
    if row is None:
        raise NotFoundError("there is no such dashboard")
    return row


async def _get_to_change(tx: Transaction, dashboard_id: int) -> Dashboard:
    row = await _get(tx, dashboard_id, locked=True)
    if not may_change(tx.principal, row):
        raise ForbiddenError(f"the dashboard is {row.created_by}'s; copy it to change it")
    return row


async def _changed(tx: Transaction, row: Dashboard) -> Dashboard:
    row.updated_at = await tx.session.scalar(select(func.now())) or row.updated_at
    await tx.flush()
    return row


def _to_rows(given: Iterable[Widget], principal: Principal) -> list[dict[str, Any]]:
    """Return the widgets as they are stored: each checked against its source, and with an id of its own."""
    rows: list[dict[str, Any]] = []
    taken: set[str] = set()
    for number, widget in enumerate(given):
        if number >= MAX_WIDGETS:
            raise TooLargeError(f"a dashboard has at most {MAX_WIDGETS} widgets", field=("widgets",))
        try:
            questions.check(widget, principal)
        except InvalidInputError as error:
            told = f"widget {number + 1} ({widget.title[:60]}): {error.message}"
            raise InvalidInputError(told, field=("widgets", str(number), *error.field)) from error
        widget_id = widget.id if widget.id and widget.id not in taken else secrets.token_hex(4)
        taken.add(widget_id)
        rows.append({**widget.to_json(), "id": widget_id})
    return rows


def _check_name(name: str) -> str:
    return text.check(name.strip(), "name", longest=128)


def _check_description(description: str) -> str:
    return text.check(description.strip(), "description", longest=2000, empty=True)
