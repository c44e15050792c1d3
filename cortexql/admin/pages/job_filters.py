"""Which jobs a list shows, and in which order, as its address says it."""

from datetime import timedelta

from cortexql import moment
from cortexql.admin.visit import Visit, to_int
from cortexql.errors import InvalidInputError
from cortexql.models import JobStatus, Level, NeuronType
from cortexql.services.jobs import JobFilter, JobOrder

# Those that a list shows when one of them is set.
RARE = ("neuron", "label", "created_by", "since", "until", "sort", "size")
NAMES = ("search", "status", "type", "data_type", "level", "ids", *RARE)
SIZES = {"": "25 rows", "50": "50 rows", "100": "100 rows", "200": "200 rows"}
ORDERS = {
    "": ("Newest first", JobOrder()),
    "oldest": ("Oldest first", JobOrder(descending=False)),
    "ended": ("Last ended first", JobOrder(by_end=True)),
    "ended-oldest": ("First ended first", JobOrder(by_end=True, descending=False)),
}


def given(visit: Visit) -> dict[str, str]:
    """Return the filters that the address names."""
    filters = {name: value for name in NAMES if (value := visit.asked(name))}
    if chosen := visit.request.query_params.getlist("id"):
        filters["ids"] = ",".join(chosen)
    return filters


def to_filter(filters: dict[str, str]) -> JobFilter:
    """Return the filter.

    Raises:
        InvalidInputError: there is no such state, verdict, kind or day.
    """
    try:
        return JobFilter(
            ids=[to_int(part, "ids") for part in filters["ids"].split(",")] if "ids" in filters else None,
            status=[JobStatus(filters["status"])] if "status" in filters else None,
            type=NeuronType(filters["type"]) if "type" in filters else None,
            neuron_name=filters.get("neuron"),
            data_types=[filters["data_type"]] if "data_type" in filters else None,
            search=filters.get("search"),
            levels=[Level(filters["level"])] if "level" in filters else None,
            label=filters.get("label"),
            created_by=filters.get("created_by"),
            created_after=moment.day(filters["since"]) if "since" in filters else None,
            created_before=moment.day(filters["until"]) + timedelta(days=1) if "until" in filters else None,
        )
    except ValueError as error:
        raise InvalidInputError(f"there is no such filter: {error}") from error


def to_order(filters: dict[str, str]) -> JobOrder:
    """Return the order; an unknown one is the usual one."""
    return ORDERS.get(filters.get("sort", ""), ORDERS[""])[1]


def to_size(filters: dict[str, str]) -> int:
    """Return how many rows a page has; an unknown number is the usual one."""
    size = filters.get("size", "")
    return int(size) if size in SIZES and size else 25
