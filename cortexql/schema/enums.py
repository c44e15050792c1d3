"""Enums of the contract; they are the use cases' own, made known to Strawberry here."""

from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Any, cast

import strawberry

from cortexql.errors import ErrorCode
from cortexql.models import (
    AuditAction,
    ImagePolicy,
    JobStage,
    JobStatus,
    Level,
    NeuronType,
    OrganizationStatus,
    Priority,
    QuotaPacing,
    RateUnit,
    RunnerKind,
    ServerKind,
    UserStatus,
)
from cortexql.principal import Role
from cortexql.services.definitions import ChangeKind as CatalogChangeKind
from cortexql.services.health import Status as HealthStatus
from cortexql.services.identities import Admission
from cortexql.services.jsonpath import Comparison
from cortexql.services.preferences import Theme
from cortexql.services.statistics import Interval as StatsInterval
from cortexql.services.statistics import JobKey, ReportKey
from cortexql.services.submission import Outcome
from cortexql.services.widgets import Bucket as WidgetBucket
from cortexql.services.widgets import Measure as WidgetMeasure
from cortexql.services.widgets import SourceName as WidgetSource
from cortexql.services.widgets import WidgetType

__all__ = [
    "Admission",
    "AuditAction",
    "CatalogChangeKind",
    "Comparison",
    "Direction",
    "ErrorCode",
    "HealthStatus",
    "ImagePolicy",
    "JobKey",
    "JobOrderField",
    "JobStage",
    "JobStatus",
    "Level",
    "NeuronType",
    "OrganizationStatus",
    "Outcome",
    "Priority",
    "QuotaPacing",
    "RateUnit",
    "ReportKey",
    "ReportOrderField",
    "Role",
    "RunnerKind",
    "ServerKind",
    "StatsInterval",
    "Theme",
    "UserStatus",
    "WidgetBucket",
    "WidgetMeasure",
    "WidgetSource",
    "WidgetType",
]


class JobOrderField(StrEnum):
    CREATED_AT = "created_at"
    ENDED_AT = "ended_at"


class ReportOrderField(StrEnum):
    CREATED_AT = "created_at"


class Direction(StrEnum):
    ASC = "asc"
    DESC = "desc"


def _enum(of: type[Enum], description: str, values: Mapping[str, str], name: str | None = None) -> None:
    """Make an enum known, with what each of its values says of itself."""
    strawberry.enum(of, name=name, description=description)
    for value in cast("Any", of).__strawberry_definition__.values:
        value.description = values[value.name]


_enum(
    Role,
    "What a user may do.",
    {
        "READ": "Sees the own organization's neurons, jobs, reports and quotas.",
        "ANALYZE": "Submits, cancels and deletes jobs, too.",
        "ORGADMIN": "Manages the organization's neurons and users, too.",
        "SUPERADMIN": "Manages the instance: organizations, users, catalogues, budgets. It sees no jobs of others.",
    },
)
_enum(
    AuditAction,
    "What the audit log tells.",
    {
        "CREATED": "Something was made.",
        "CHANGED": "Something was changed.",
        "REMOVED": "Something was removed.",
        "SIGNED_IN": "Somebody came in by password.",
        "SIGN_IN_FAILED": "A password did not do.",
    },
)
_enum(
    Admission,
    "What signing in does for somebody whom a provider vouches for.",
    {
        "CREATED": "A user is made.",
        "UPDATED": "The user's organization or roles are changed to what the groups say.",
        "ADMITTED": "The user comes in as it is.",
        "REFUSED": "Nobody comes in.",
    },
)
_enum(
    ErrorCode,
    "Why something was refused: `code` of a UserError, `extensions.code` of an error. INTERNAL, in the latter alone, "
    "is our fault.",
    {
        "NOT_FOUND": "There is none that the caller may see.",
        "FORBIDDEN": "The caller's roles do not allow it.",
        "UNAUTHENTICATED": "No credential was given, or it does not hold.",
        "INVALID_INPUT": "Something in the request is wrong; the message names it.",
        "CONFLICT": "It is so already, or something else is under way.",
        "UNSUPPORTED_DATA_TYPE": "The neuron does not take this data type.",
        "TLP_EXCEEDED": "The TLP is above what the neuron may see.",
        "PAP_EXCEEDED": "The PAP is above what the neuron may do.",
        "QUOTA_EXCEEDED": "A budget is used up; `retryAfter` tells until when.",
        "NEURON_DISABLED": "The catalogue has it, the organization has not enabled it.",
        "NEURON_UNAVAILABLE": "No runner here can run it.",
        "TOO_LARGE": "A file, a request or a value is over its limit.",
        "RATE_LIMITED": "Too many at once, or too many failures; try again later.",
        "CURSOR_EXPIRED": "The event log no longer reaches back to the cursor: query anew, then subscribe.",
        "OTHER_SERVER": "Another server does not answer, or not as it should.",
    },
)
_enum(
    ServerKind,
    "What a watched server is.",
    {"CORTEX": "A Cortex.", "CORTEXQL": "Another CortexQL.", "MISP": "A MISP."},
)
_enum(
    UserStatus,
    "Whether a user may come in.",
    {"ACTIVE": "May come in.", "LOCKED": "May not; its keys and sessions hold no more."},
)
_enum(
    Theme,
    "Colours.",
    {"SYSTEM": "As the reader's computer has them.", "LIGHT": "Dark on light.", "DARK": "Light on dark."},
)
_enum(
    OrganizationStatus,
    "Whether an organization may work.",
    {"ACTIVE": "It may.", "LOCKED": "Its users may not come in, its jobs wait."},
)
_enum(
    NeuronType,
    "Analyzers look, responders act.",
    {
        "ANALYZER": "Looks at an observable and reports.",
        "RESPONDER": "Acts on an object, such as a case or an alert.",
    },
)
_enum(
    JobStatus,
    "Where a job stands; docs/job-states.md draws it.",
    {
        "WAITING": "A worker will claim it.",
        "IN_PROGRESS": "A worker runs it.",
        "SUCCESS": "It has a report.",
        "FAILURE": "It has none; `errorMessage` says why.",
        "CANCELLED": "A user ended it.",
        "DELETED": "Report and files are gone; lists show it only when asked for.",
    },
)
_enum(
    JobStage,
    "What is going on with a job, within its status.",
    {
        "QUEUED": "It waits for its turn.",
        "PULLING_IMAGE": "Its image is pulled.",
        "STARTING": "Its run is made ready.",
        "RUNNING": "Its neuron runs.",
        "COLLECTING": "What it left is read.",
        "DONE": "It has ended.",
    },
)
_enum(
    Level,
    "A verdict, mildest first.",
    {
        "INFO": "Says nothing of danger.",
        "SAFE": "Known to be harmless.",
        "SUSPICIOUS": "Possibly harmful.",
        "MALICIOUS": "Known to be harmful.",
    },
)
_enum(
    RateUnit,
    "The window of a quota.",
    {
        "SECOND": "Any second: it slides.",
        "MINUTE": "Any minute: it slides.",
        "HOUR": "An hour of the clock.",
        "DAY": "A day in UTC.",
        "MONTH": "A calendar month in UTC.",
    },
)
_enum(
    RunnerKind,
    "How a neuron is run.",
    {"DOCKER": "In a container of its image.", "PROCESS": "As a process of the worker's host."},
)
_enum(
    Priority,
    "Interactive jobs are claimed before bulk ones.",
    {"INTERACTIVE": "Somebody waits for it.", "BULK": "Nobody does."},
)
_enum(
    ImagePolicy,
    "When an image is pulled.",
    {
        "NEVER": "Never: it is there, or the job fails.",
        "MISSING": "Where it is missing.",
        "REFRESH": "Where it is missing, and with each refresh of the catalogue.",
        "ALWAYS": "Before each run.",
        "DIGEST": "One digest, where it is missing.",
    },
)
_enum(
    QuotaPacing,
    "What happens to a submission over the limit.",
    {"REJECT": "It is refused with QUOTA_EXCEEDED.", "QUEUE": "Its job waits for the next window."},
)
_enum(
    Outcome,
    "How a submission was answered: with a new job, by joining an identical one under way, or from a report fresh "
    "enough.",
    {
        "CREATED": "With a new job.",
        "JOINED": "With an identical job that is under way.",
        "FRESH": "With a job whose report is fresh enough.",
    },
)
_enum(
    CatalogChangeKind,
    "What a refresh did to a definition.",
    {"ADDED": "It is new.", "UPDATED": "It was changed.", "REMOVED": "No catalogue has it any more."},
    name="CatalogChangeKind",
)
_enum(
    HealthStatus,
    "How a part of the instance is.",
    {"GREEN": "It works.", "ORANGE": "It works in part.", "RED": "It does not work."},
    name="HealthStatus",
)
_enum(
    JobOrderField,
    "What a list of jobs is ordered by.",
    {"CREATED_AT": "When they were submitted.", "ENDED_AT": "When they ended; the list has ended jobs only."},
)
_enum(ReportOrderField, "What a list of reports is ordered by.", {"CREATED_AT": "When they were stored."})
_enum(
    Comparison,
    "How a value in a report compares.",
    {
        "EQ": "Equal.",
        "NE": "Of the same kind, but not equal.",
        "GT": "Greater.",
        "GTE": "Greater or equal.",
        "LT": "Less.",
        "LTE": "Less or equal.",
        "CONTAINS": "A text with this text in it; case does not count.",
        "STARTS_WITH": "A text that begins so; case counts.",
        "EXISTS": "Anything stands there.",
    },
)
_enum(
    StatsInterval,
    "What time is cut into, in UTC.",
    {"HOUR": "Hours.", "DAY": "Days."},
    name="StatsInterval",
)
_enum(
    JobKey,
    "What jobs are counted by.",
    {
        "ANALYZER": "The neuron's name.",
        "STATUS": "Where they stand.",
        "LEVEL": "The level of their reports.",
        "DATA_TYPE": "The observable's data type.",
        "CREATED_BY": "Who submitted them.",
        "ORGANIZATION": "Whose they are; nobody sees another organization's.",
    },
)
_enum(
    ReportKey,
    "What reports are counted by.",
    {
        "ANALYZER": "The analyzer's name.",
        "LEVEL": "Their level.",
        "DATA_TYPE": "The observable's data type.",
        "ORGANIZATION": "Whose they are; nobody sees another organization's.",
    },
)
_enum(
    Direction,
    "Which end of a list comes first.",
    {"ASC": "The oldest or least first.", "DESC": "The newest or greatest first."},
)
_enum(
    WidgetType,
    "How a widget's answer is shown.",
    {
        "COUNTER": "One figure.",
        "BAR": "Bars: by one key, by time, or by time and stacked by one key.",
        "DONUT": "Shares of a whole, by one key.",
        "LINE": "One line over time.",
        "MULTI_LINE": "A line over time for each value of one key.",
        "TABLE": "A table, by one or two keys.",
        "TEXT": "A text, and no question.",
    },
)
_enum(
    WidgetSource,
    "What a widget asks about.",
    {
        "JOBS": "Jobs, by when they were submitted.",
        "REPORTS": "Reports, by when they were stored.",
        "TAXONOMIES": "Each taxonomy of each report, by when that was stored.",
        "OBSERVABLES": "Observables, by when they were first seen.",
        "ARTIFACTS": "What reports named or left, by when these were stored.",
        "QUOTAS": "What was taken of budgets, by hour, day or month.",
        "AUDIT": "The audit log; for admins.",
    },
    "WidgetSource",
)
_enum(
    WidgetMeasure,
    "What is made of a group's rows.",
    {
        "COUNT": "How many there are.",
        "DISTINCT": "How many different values a field has.",
        "SUM": "The sum of a number.",
        "MEAN": "The mean of a number.",
        "PERCENTILE": "What so many in a hundred do not exceed.",
    },
    "WidgetMeasure",
)
_enum(
    WidgetBucket,
    "How time is cut, in UTC.",
    {
        "MINUTE": "By the minute.",
        "HOUR": "By the hour.",
        "DAY": "By the day.",
        "WEEK": "By the week; it begins on Monday.",
        "MONTH": "By the month.",
    },
    "WidgetBucket",
)
