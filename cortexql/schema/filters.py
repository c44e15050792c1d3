"""Filters and orders of lists, and what the use cases take in their place."""

from datetime import datetime

import strawberry

from cortexql.errors import InvalidInputError
from cortexql.schema.enums import (
    Comparison,
    Direction,
    JobOrderField,
    JobStatus,
    Level,
    NeuronType,
    ReportOrderField,
)
from cortexql.schema.ids import NEURONS, number_of
from cortexql.schema.scalars import JSON
from cortexql.services import jobs, observables, reports
from cortexql.services.jsonpath import PathCondition

EXACTLY = "About exactly this value, or the file of this SHA-256."


@strawberry.input(description="Which jobs; what is left out or null does not narrow.")
class JobFilter:
    ids: list[strawberry.ID] | None = strawberry.field(default=None, description="Any of these.")
    status: list[JobStatus] | None = strawberry.field(
        default=None, description="In any of these; deleted jobs are listed only when named here."
    )
    type: NeuronType | None = strawberry.field(default=None, description="Of analyzers, or of responders.")
    neurons: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Of any of these neurons."
    )
    neuron_name: str | None = strawberry.field(default=None, description="Of the neuron of this name.")
    data_type: list[str] | None = strawberry.field(default=None, description="Of any of these data types.")
    data: str | None = strawberry.field(default=None, description=EXACTLY)
    search: str | None = strawberry.field(
        default=None, description="With this text in value, neuron, label, message, file name or submitter."
    )
    level: list[Level] | None = strawberry.field(
        default=None, description="Whose report has any of these levels."
    )
    created_by: str | None = strawberry.field(default=None, description="Submitted by this login.")
    label: str | None = strawberry.field(default=None, description="With exactly this label.")
    created_after: datetime | None = strawberry.field(default=None, description="Submitted at or after.")
    created_before: datetime | None = strawberry.field(default=None, description="Submitted before.")
    ended_after: datetime | None = strawberry.field(default=None, description="Ended at or after.")
    ended_before: datetime | None = strawberry.field(default=None, description="Ended before.")


@strawberry.input(description="How jobs are ordered.")
class JobOrder:
    field: JobOrderField = strawberry.field(description="By what.")
    direction: Direction = strawberry.field(description="Which end first.")


@strawberry.input(description="A taxonomy; what is left out or null does not narrow.")
class TaxonomyFilter:
    level: Level | None = strawberry.field(default=None, description="Of this level.")
    namespace: str | None = strawberry.field(default=None, description="Of exactly this namespace.")
    predicate: str | None = strawberry.field(default=None, description="Of exactly this predicate.")
    value: str | None = strawberry.field(default=None, description="Of exactly this value.")


@strawberry.input(
    description="A condition on a value in the full result. Where the path leads to many values, one is enough."
)
class FullCondition:
    path: str = strawberry.field(
        description='Where it stands, as JSONPath: `$.scans[*].result`, `$.*.score`, `$."a name".x`.'
    )
    comparison: Comparison = strawberry.field(default=Comparison.EQ, description="How it compares.")
    value: JSON | None = strawberry.field(
        default=None, description="With what: a text, number, boolean or null."
    )


@strawberry.input(description="How reports are ordered.")
class ReportOrder:
    field: ReportOrderField = strawberry.field(description="By what.")
    direction: Direction = strawberry.field(description="Which end first.")


@strawberry.input(description="Which reports; what is left out or null does not narrow.")
class ReportFilter:
    analyzer: str | None = strawberry.field(default=None, description="Of the analyzer of this name.")
    data_type: str | None = strawberry.field(default=None, description="About observables of this data type.")
    data: str | None = strawberry.field(default=None, description=EXACTLY)
    level: list[Level] | None = strawberry.field(default=None, description="Of any of these levels.")
    search: str | None = strawberry.field(
        default=None,
        description="With this text in value, analyzer or taxonomies, or with these words in the full result: "
        '`trojan -clean`, `"two words"`, an address or a host whole.',
    )
    since: datetime | None = strawberry.field(default=None, description="Stored at or after.")
    until: datetime | None = strawberry.field(default=None, description="Stored before.")
    taxonomy: TaxonomyFilter | None = strawberry.field(default=None, description="With such a taxonomy.")
    full: list[FullCondition] | None = strawberry.field(
        default=None,
        description="Whose full result satisfies all of these; results of more than 256 kB satisfy none.",
    )


@strawberry.input(description="Which observables; what is left out or null does not narrow.")
class ObservableFilter:
    ids: list[strawberry.ID] | None = strawberry.field(default=None, description="Any of these observables.")
    jobs: list[strawberry.ID] | None = strawberry.field(
        default=None, description="That any of these jobs looked at."
    )
    data_type: list[str] | None = strawberry.field(default=None, description="Of any of these data types.")
    data: str | None = strawberry.field(default=None, description=EXACTLY)
    search: str | None = strawberry.field(default=None, description="With this text in the value.")
    verdict: list[Level] | None = strawberry.field(default=None, description="With any of these verdicts.")
    since: datetime | None = strawberry.field(default=None, description="Seen at or after.")
    ioc: bool | None = strawberry.field(
        default=None, description="Flagged as an indicator of compromise, or not."
    )
    sighted: bool | None = strawberry.field(default=None, description="Seen in the own network, or not.")


def to_job_filter(given: JobFilter | None) -> jobs.JobFilter:
    """Take a filter."""
    given = given or JobFilter()
    neuron_ids = None if given.neurons is None else [number_of(id_, *NEURONS) for id_ in given.neurons]
    return jobs.JobFilter(
        ids=None if given.ids is None else [number_of(id_, "Job") for id_ in given.ids],
        status=given.status,
        type=given.type,
        neuron_ids=neuron_ids,
        neuron_name=given.neuron_name,
        data_types=given.data_type,
        data=given.data,
        search=given.search,
        levels=given.level,
        created_by=given.created_by,
        label=given.label,
        created_after=given.created_after,
        created_before=given.created_before,
        ended_after=given.ended_after,
        ended_before=given.ended_before,
    )


def to_job_order(given: JobOrder | None) -> jobs.JobOrder:
    """Take an order."""
    if given is None:
        return jobs.JobOrder()
    return jobs.JobOrder(given.field is JobOrderField.ENDED_AT, given.direction is Direction.DESC)


def to_report_filter(given: ReportFilter | None) -> reports.ReportFilter:
    """Take a filter."""
    given = given or ReportFilter()
    return reports.ReportFilter(
        analyzer=given.analyzer,
        data_type=given.data_type,
        data=given.data,
        levels=given.level,
        search=given.search,
        since=given.since,
        until=given.until,
        taxonomy=_to_taxonomy(given.taxonomy),
        full=None if given.full is None else [_to_condition(one) for one in given.full],
    )


def to_observable_filter(given: ObservableFilter | None) -> observables.ObservableFilter:
    """Take a filter."""
    given = given or ObservableFilter()
    return observables.ObservableFilter(
        ids=None if given.ids is None else [number_of(id_, "Observable") for id_ in given.ids],
        jobs=None if given.jobs is None else [number_of(id_, "Job") for id_ in given.jobs],
        data_types=given.data_type,
        data=given.data,
        search=given.search,
        verdicts=given.verdict,
        since=given.since,
        ioc=given.ioc,
        sighted=given.sighted,
    )


def is_newest_first(given: ReportOrder | None) -> bool:
    """Take an order of reports."""
    return given is None or given.direction is Direction.DESC


def _to_taxonomy(given: TaxonomyFilter | None) -> dict[str, str] | None:
    if given is None:
        return None
    values = {
        "level": given.level,
        "namespace": given.namespace,
        "predicate": given.predicate,
        "value": given.value,
    }
    found = {name: str(value) for name, value in values.items() if value is not None}
    if any("\0" in value or any("\ud800" <= c <= "\udfff" for c in value) for value in found.values()):
        raise InvalidInputError(
            "no taxonomy holds a NUL character, or half a surrogate pair", field=("taxonomy",)
        )
    return found


def _to_condition(given: FullCondition) -> PathCondition:
    return PathCondition(given.path, given.comparison, given.value)
