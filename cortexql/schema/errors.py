"""Expected failures as data: every payload has `errors`."""

import functools
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import ParamSpec, TypeVar

import strawberry

from cortexql.errors import CortexError
from cortexql.schema.enums import ErrorCode

Arguments = ParamSpec("Arguments")
PayloadType = TypeVar("PayloadType", bound="Payload")


@strawberry.type(description="An expected failure, reported as data.")
class UserError:
    code: ErrorCode = strawberry.field(description="What kind of failure it is.")
    message: str = strawberry.field(description="What is wrong, in words.")
    field: list[str] | None = strawberry.field(
        description='Path into the input, e.g. `["observables", "3", "data"]`.'
    )
    retry_after: datetime | None = strawberry.field(
        default=None, description="When a refused submission may be tried again."
    )

    @classmethod
    def of(cls, error: CortexError) -> "UserError":
        """Convert what a use case raised."""
        return cls(
            code=error.code,
            message=error.message,
            field=list(error.field) or None,
            retry_after=error.retry_after,
        )


@strawberry.interface(description="What every mutation answers with.")
class Payload:
    errors: list[UserError] = strawberry.field(
        default_factory=list, description="Why it was refused; empty where it was done."
    )


def expected(
    payload: Callable[..., PayloadType], *echoed: str
) -> Callable[[Callable[Arguments, Awaitable[PayloadType]]], Callable[Arguments, Awaitable[PayloadType]]]:
    """Wrap a mutation: what it raises on purpose becomes its payload with errors, and the input's `echoed` fields."""

    def wrap(
        mutate: Callable[Arguments, Awaitable[PayloadType]],
    ) -> Callable[Arguments, Awaitable[PayloadType]]:
        @functools.wraps(mutate)
        async def mutation(*args: Arguments.args, **kwargs: Arguments.kwargs) -> PayloadType:
            try:
                return await mutate(*args, **kwargs)
            except CortexError as error:
                given = {name: getattr(kwargs["input"], name) for name in echoed}
                return payload(errors=[UserError.of(error)], **given)

        return mutation

    return wrap
