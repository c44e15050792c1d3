"""Errors in Cortex's words: `{"type", "message"}`, and `AttributeCheckingError` with one entry an attribute."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from cortexql.auth.csrf import CrossSiteError
from cortexql.errors import (
    ConflictError,
    CortexError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    QuotaExceededError,
    RateLimitedError,
    TooLargeError,
    UnauthenticatedError,
)
from cortexql.transaction import is_outage

_TYPES: tuple[tuple[type[CortexError], int, str], ...] = (
    (UnauthenticatedError, 401, "AuthenticationError"),
    (CrossSiteError, 403, "Forbidden"),
    (ForbiddenError, 403, "AuthorizationError"),
    (NotFoundError, 404, "NotFoundError"),
    (ConflictError, 400, "ConflictError"),
    (QuotaExceededError, 429, "RateLimitExceeded"),
    (RateLimitedError, 429, "RateLimitExceeded"),
    (TooLargeError, 413, "Unknown"),
)


@dataclass(frozen=True, slots=True)
class AttributeProblem:
    """What is wrong with one attribute; `kind` as Cortex names it, without its `AttributeError`."""

    name: str
    kind: str
    message: str
    value: Any = None

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the list of errors."""
        told: dict[str, Any] = {
            "name": self.name,
            "type": f"{self.kind}AttributeError",
            "message": self.message,
        }
        if self.value is not None:
            told["value"] = {"type": "JsonInputValue", "value": self.value}
        return told


class AttributeCheckingError(InvalidInputError):
    """Attributes are missing or wrong."""

    def __init__(self, table: str, problems: Sequence[AttributeProblem]) -> None:
        """Take the entity's name and what is wrong with which attribute."""
        super().__init__("; ".join(problem.message for problem in problems))
        self.table = table
        self.problems = tuple(problems)


class NumberFormatError(InvalidInputError):
    """A number or a duration cannot be read."""


class SearchError(InvalidInputError):
    """The query cannot be understood."""


class PlainError(InvalidInputError):
    """Told as plain text, as Cortex does in a few places."""


def missing(table: str, *names: str) -> AttributeCheckingError:
    """Return the error of attributes that are not there."""
    return AttributeCheckingError(
        table, [AttributeProblem(name, "Missing", f"Attribute {name} is missing") for name in names]
    )


def invalid(table: str, name: str, message: str, value: Any = None) -> AttributeCheckingError:
    """Return the error of an attribute that cannot be so."""
    text = f"Invalid format for {name}: {message}"
    return AttributeCheckingError(table, [AttributeProblem(name, "InvalidFormat", text, value)])


def render(error: CortexError) -> Response:
    """Return the answer that tells an error."""
    if isinstance(error, PlainError):
        return PlainTextResponse(error.message, 400)
    status, kind = _status_and_type(error)
    body: dict[str, Any] = {"type": kind}
    match error:
        case AttributeCheckingError():
            body |= {"tableName": error.table, "errors": [p.to_json() for p in error.problems]}
        case UnauthenticatedError():
            body["message"] = "Authentication failure"
        case ConflictError():
            body |= {"message": error.message, "object": {}}
        case _:
            body["message"] = error.message
    headers = (
        {"Retry-After": error.retry_after.strftime("%a, %d %b %Y %H:%M:%S GMT")}
        if error.retry_after
        else None
    )
    return JSONResponse(body, status, headers)


def render_unexpected(error: Exception) -> Response:
    """Return the answer that tells of a defect, or of a database that is away, and nothing more."""
    if is_outage(error):
        return JSONResponse({"type": "NoNodeAvailable", "message": "the database does not answer"}, 500)
    return JSONResponse({"type": "InternalError", "message": "internal error"}, 500)


def _status_and_type(error: CortexError) -> tuple[int, str]:
    match error:
        case AttributeCheckingError():
            return 400, "AttributeCheckingError"
        case NumberFormatError():
            return 400, "NumberFormatException"
        case SearchError():
            return 400, "SearchError"
    for kind, status, name in _TYPES:
        if isinstance(error, kind):
            return status, name
    return 400, "BadRequest"
