"""What arguments say of themselves: every one has a description, and many fields share theirs."""

from typing import Annotated

import strawberry

from cortexql.schema.enums import JobKey, NeuronType, ReportKey, StatsInterval
from cortexql.schema.filters import JobFilter, JobOrder, ObservableFilter, ReportFilter, ReportOrder

given = strawberry.argument(description="What to do, and to what.")

EventsAfter = Annotated[
    str | None,
    strawberry.argument(description="A cursor: what happened behind it, none missed and none twice."),
]
JobId = Annotated[strawberry.ID, strawberry.argument(description="The job's global id.")]
NodeId = Annotated[strawberry.ID, strawberry.argument(description="A global id of any type.")]
NodeIds = Annotated[
    list[strawberry.ID], strawberry.argument(description="Global ids of any types, at most 100.")
]
Name = Annotated[str, strawberry.argument(description="Its name; case counts.")]
Login = Annotated[str, strawberry.argument(description="The user's login; case does not count.")]
OrganizationName = Annotated[
    str | None,
    strawberry.argument(description="Of this organization; another than the own is for a superadmin."),
]
DataType = Annotated[str | None, strawberry.argument(description="Only those that take this data type.")]
NamedSo = Annotated[str | None, strawberry.argument(description="Only the one of this name.")]
Kind = Annotated[NeuronType | None, strawberry.argument(description="Only analyzers, or only responders.")]
Search = Annotated[
    str | None, strawberry.argument(description="With this text in id, description or author.")
]
Jobs = Annotated[JobFilter | None, strawberry.argument(description="Which jobs; null: all.")]
JobsOrder = Annotated[JobOrder | None, strawberry.argument(description="Null: newest first.")]
Reports = Annotated[ReportFilter | None, strawberry.argument(description="Which reports; null: all.")]
Observables = Annotated[
    ObservableFilter | None, strawberry.argument(description="Which observables; null: all.")
]
ReportsOrder = Annotated[ReportOrder | None, strawberry.argument(description="Null: newest first.")]
JobKeys = Annotated[
    list[JobKey] | None, strawberry.argument(description="What they are counted by; null: all together.")
]
ReportKeys = Annotated[
    list[ReportKey] | None, strawberry.argument(description="What they are counted by; null: all together.")
]
Interval = Annotated[
    StatsInterval | None,
    strawberry.argument(description="Counted by hours or days, too; null: over all time."),
]
