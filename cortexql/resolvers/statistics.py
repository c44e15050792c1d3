"""Figures for dashboards."""

import strawberry

from cortexql.schema import arguments
from cortexql.schema.context import Info
from cortexql.schema.filters import to_job_filter, to_report_filter
from cortexql.schema.selection import selected
from cortexql.schema.statistics import JobStats, ReportStats
from cortexql.services import statistics
from cortexql.services.statistics import Span


@strawberry.type
class StatisticsQueries:
    @strawberry.field(
        description="Counts and latencies of jobs, oldest first: by time, and by what `by` names; at most 1000 groups."
    )
    async def job_stats(
        self,
        info: Info,
        filter: arguments.Jobs = None,
        by: arguments.JobKeys = None,
        interval: arguments.Interval = None,
    ) -> list[JobStats]:
        spans = [span for span in Span if span.value in selected(info)]
        async with info.context.reading() as tx:
            groups = await statistics.of_jobs(
                tx, to_job_filter(filter), list(dict.fromkeys(by or ())), interval, spans
            )
        return [JobStats.of(group) for group in groups]

    @strawberry.field(
        description="Counts of reports, oldest first: by time, and by what `by` names; at most 1000 groups."
    )
    async def report_stats(
        self,
        info: Info,
        filter: arguments.Reports = None,
        by: arguments.ReportKeys = None,
        interval: arguments.Interval = None,
    ) -> list[ReportStats]:
        async with info.context.reading() as tx:
            groups = await statistics.of_reports(
                tx, to_report_filter(filter), list(dict.fromkeys(by or ())), interval
            )
        return [ReportStats.of(group) for group in groups]
