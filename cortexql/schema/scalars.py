"""Scalars of the contract."""

from datetime import UTC, datetime, timedelta
from typing import Any, NewType

import strawberry
from graphql import GraphQLError
from starlette.datastructures import UploadFile
from strawberry.file_uploads.scalars import Upload
from strawberry.types.scalar import ScalarDefinition

from cortexql import duration, moment

JSON = NewType("JSON", object)
Duration = NewType("Duration", timedelta)
"""A span of time."""


def _serialize_time(value: datetime) -> str:
    # The database's driver gives them in UTC, where all but the last six characters stay.
    return (value if value.tzinfo is UTC else value.astimezone(UTC)).isoformat()[:-6] + "Z"


def _parse_time(value: Any) -> datetime:
    try:
        return moment.parse(value)
    except ValueError as error:
        raise GraphQLError(str(error)) from error


def _parse_duration(value: Any) -> timedelta:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise GraphQLError(f"{value!r} is not a duration")
    try:
        return duration.parse(value)
    except ValueError as error:
        raise GraphQLError(str(error)) from error


def _parse_upload(value: Any) -> UploadFile:
    if not isinstance(value, UploadFile):
        raise GraphQLError("a file comes by the multipart request spec, as a variable")
    return value


SCALARS: dict[object, ScalarDefinition] = {
    JSON: strawberry.scalar(
        name="JSON", description="Any JSON value.", serialize=lambda v: v, parse_value=lambda v: v
    ),
    Duration: strawberry.scalar(
        name="Duration",
        description="Out: ISO 8601. In: ISO 8601, `10m`, `1h`, or a number of seconds.",
        serialize=duration.to_iso,
        parse_value=_parse_duration,
    ),
    Upload: strawberry.scalar(
        name="Upload", description="A file, by the multipart request spec.", parse_value=_parse_upload
    ),
    datetime: strawberry.scalar(
        name="DateTime",
        description="A time, RFC 3339, in UTC.",
        serialize=_serialize_time,
        parse_value=_parse_time,
    ),
}
