"""Everything that a use case raises on purpose."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar


class ErrorCode(StrEnum):
    """The codes of the public contract; a transport shows them as they are."""

    NOT_FOUND = "NOT_FOUND"
    FORBIDDEN = "FORBIDDEN"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    INVALID_INPUT = "INVALID_INPUT"
    CONFLICT = "CONFLICT"
    UNSUPPORTED_DATA_TYPE = "UNSUPPORTED_DATA_TYPE"
    TLP_EXCEEDED = "TLP_EXCEEDED"
    PAP_EXCEEDED = "PAP_EXCEEDED"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    NEURON_DISABLED = "NEURON_DISABLED"
    NEURON_UNAVAILABLE = "NEURON_UNAVAILABLE"
    TOO_LARGE = "TOO_LARGE"
    RATE_LIMITED = "RATE_LIMITED"
    CURSOR_EXPIRED = "CURSOR_EXPIRED"
    OTHER_SERVER = "OTHER_SERVER"


class CortexError(Exception):
    """Something the caller can understand and mend."""

    code: ClassVar[ErrorCode] = ErrorCode.INVALID_INPUT
    status: ClassVar[int] = 400

    def __init__(
        self, message: str = "", *, field: Sequence[str] = (), retry_after: datetime | None = None
    ) -> None:
        """Take the message (default: the class's docstring), the path into the input, and when to try again.

        That is told in whole seconds, rounded up: who comes then must not be too early.
        """
        self.message = message or (type(self).__doc__ or "").strip()
        self.field = tuple(field)
        self.retry_after = retry_after and up_to_second(retry_after)
        super().__init__(self.message)

    @property
    def extensions(self) -> dict[str, object]:
        """Return what graphql-core copies into an error's extensions."""
        told: dict[str, object] = {"code": self.code.value}
        if self.retry_after is not None:
            told["retryAfter"] = self.retry_after.isoformat()
        return told


def up_to_second(at: datetime) -> datetime:
    """Return the first whole second that is not before a time."""
    return at + timedelta(microseconds=-at.microsecond % 1_000_000)


class NotFoundError(CortexError):
    """There is no such object."""

    code = ErrorCode.NOT_FOUND
    status = 404


class ForbiddenError(CortexError):
    """Your roles do not allow this."""

    code = ErrorCode.FORBIDDEN
    status = 403


class UnauthenticatedError(CortexError):
    """Authentication failure."""

    code = ErrorCode.UNAUTHENTICATED
    status = 401


class InvalidInputError(CortexError):
    """The input is not valid."""


class ConflictError(CortexError):
    """It exists already, or is not in a state that allows this."""

    code = ErrorCode.CONFLICT
    status = 409


class UnsupportedDataTypeError(CortexError):
    """The neuron does not take this data type."""

    code = ErrorCode.UNSUPPORTED_DATA_TYPE


class TlpExceededError(CortexError):
    """TLP is higher than allowed."""

    code = ErrorCode.TLP_EXCEEDED


class PapExceededError(CortexError):
    """PAP is higher than allowed."""

    code = ErrorCode.PAP_EXCEEDED


class QuotaExceededError(CortexError):
    """A quota is used up."""

    code = ErrorCode.QUOTA_EXCEEDED
    status = 429


class NeuronDisabledError(CortexError):
    """The neuron is disabled."""

    code = ErrorCode.NEURON_DISABLED
    status = 409


class NeuronUnavailableError(CortexError):
    """No configured runner can run this neuron here."""

    code = ErrorCode.NEURON_UNAVAILABLE
    status = 409


class TooLargeError(CortexError):
    """It is larger than the limit."""

    code = ErrorCode.TOO_LARGE
    status = 413


class RateLimitedError(CortexError):
    """Too many requests."""

    code = ErrorCode.RATE_LIMITED
    status = 429


class CursorExpiredError(CortexError):
    """The event log no longer reaches back to this cursor."""

    code = ErrorCode.CURSOR_EXPIRED
    status = 410


class OtherServerError(CortexError):
    """Another server does not answer, or not as it should."""

    code = ErrorCode.OTHER_SERVER
    status = 502
