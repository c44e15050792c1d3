"""Cortex's request fields: body and query string in one flat map, the query string over the body."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import MultipartParseError
from starlette.datastructures import FormData, QueryParams, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from cortexql import attachments
from cortexql.attachments import Content
from cortexql.errors import InvalidInputError

_JSON = ("application/json", "text/json")
_FORM = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"
_EXTENDED_NAME = re.compile(rb";\s*filename\*=utf-8''([^;]+)", re.IGNORECASE)
# json.loads of a deeply nested body would exhaust the stack of whoever handles it next.
MAX_DEPTH = 200


@dataclass(frozen=True, slots=True)
class Fields:
    """What a request says. JSON values and texts of forms and queries are told apart: a JSON "2" is no number."""

    json: Mapping[str, Any] = field(default_factory=dict)
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    files: Mapping[str, Content] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        """Say whether the request names the field."""
        return name in self.texts or name in self.files or name in self.json

    def string(self, name: str) -> str | None:
        """Return a JSON string, or the one text of that name."""
        if texts := self.texts.get(name):
            return texts[0] if len(texts) == 1 else None
        value = self.json.get(name)
        return value if isinstance(value, str) and name not in self.files else None

    def strings(self, name: str) -> list[str] | None:
        """Return a JSON list of strings, or all texts of that name."""
        if texts := self.texts.get(name):
            return list(texts)
        value = self.json.get(name)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
        return None

    def number(self, name: str) -> int | None:
        """Return a whole number, cut off."""
        if texts := self.texts.get(name):
            return _to_int(texts[0]) if len(texts) == 1 else None
        value = self.json.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        return int(value) if abs(value) < 2**63 else None

    def boolean(self, name: str) -> bool:
        """Say whether a field is true."""
        if texts := self.texts.get(name):
            text = texts[0].lower()
            return len(texts) == 1 and (text == "true" or _to_int(text) == 1)
        return self.json.get(name) is True

    def value(self, name: str) -> Any:
        """Return any JSON value, a text as a string; None where there is none."""
        if texts := self.texts.get(name):
            return texts[0] if len(texts) == 1 else list(texts)
        return self.json.get(name)

    def object(self, name: str) -> dict[str, Any] | None:
        """Return a JSON object."""
        value = self.json.get(name)
        return value if isinstance(value, dict) else None


async def read(request: Request) -> Fields:
    """Read the body by its content type, and the query string.

    Raises:
        InvalidInputError: the body is not what its content type says, or no JSON object.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    texts = _texts(request.query_params)
    # Scripts name a type with every request, and send nothing of it with a GET.
    if request.method in ("GET", "HEAD") and not await request.body():
        kind = ""
    if kind in _JSON:
        return Fields(_object(await request.body()), texts)
    _check_names(texts)
    if kind not in (_FORM, _MULTIPART):
        return Fields({}, texts)
    form = await _form(request, kind)
    if kind == _FORM:
        given = {name: [str(v) for v in form.getlist(name)] for name in form}
        _check_names(given)
        return Fields({}, {**given, **texts})
    files = {
        name: _content(part) for name, part in form.items() if isinstance(part, UploadFile) and part.size
    }
    described = form.get("_json")
    return Fields(_object(described.encode()) if isinstance(described, str) else {}, texts, files)


async def _form(request: Request, kind: str) -> FormData:
    try:
        if kind == _FORM:
            return await request.form(max_fields=1000)
        async with aclosing(request.stream()) as stream:
            parser = _MultiPart(
                request.headers, stream, max_files=10, max_fields=1000, max_part_size=32 * 2**20
            )
            # The request's own, so that closing it closes the files.
            request._form = await parser.parse()  # noqa: SLF001
            return request._form  # noqa: SLF001
    except (HTTPException, MultiPartException, MultipartParseError) as error:
        raise InvalidInputError("the form cannot be read") from error


class _MultiPart(MultiPartParser):
    """Takes `filename*=utf-8''…` too: the library holds RFC 7578, the urllib3 of older cortex4py did not."""

    def on_headers_finished(self) -> None:
        part = self._current_part
        if found := _EXTENDED_NAME.search(part.content_disposition or b""):
            name = unquote_to_bytes(found[1]).replace(b"\\", b"_").replace(b'"', b"_")
            part.content_disposition = (part.content_disposition or b"") + b'; filename="' + name + b'"'
        super().on_headers_finished()


def _texts(query: QueryParams) -> dict[str, list[str]]:
    return {name: query.getlist(name) for name in query}


def _check_names(given: Mapping[str, Any]) -> None:
    for name in given:
        if name.startswith("_"):
            raise InvalidInputError(f"the field {name[:64]} may not begin with _")


def _content(part: UploadFile) -> Content:
    name = attachments.to_name(part.filename or "")
    return attachments.from_file(part.file, name, part.content_type or "application/octet-stream")


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("Invalid Json: the body cannot be read") from error
    if not isinstance(value, dict):
        raise InvalidInputError("Invalid Json: an object is expected")
    if _depth_exceeds(value, MAX_DEPTH):
        raise InvalidInputError("Invalid Json: it is nested too deeply")
    return value


def _refuse(constant: str) -> None:
    """Refuse NaN and infinities: Python reads them, JSON has none."""
    raise ValueError(constant)


def _depth_exceeds(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


def _to_int(text: str) -> int | None:
    try:
        number = int(text) if len(text) < 20 else None
    except ValueError:
        return None
    return number if number is not None and abs(number) < 2**63 else None
