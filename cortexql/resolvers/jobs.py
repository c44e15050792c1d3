"""Jobs, reports and observables."""

from typing import Annotated

import strawberry

from cortexql.errors import NotFoundError
from cortexql.models import NeuronType
from cortexql.schema import arguments, payloads
from cortexql.schema.arguments import given
from cortexql.schema.connection import (
    After,
    Before,
    Connection,
    First,
    Last,
    page_request,
    to_connection,
)
from cortexql.schema.context import Info
from cortexql.schema.enums import Priority
from cortexql.schema.errors import expected
from cortexql.schema.filters import (
    is_newest_first,
    to_job_filter,
    to_job_order,
    to_observable_filter,
    to_report_filter,
)
from cortexql.schema.ids import number_of
from cortexql.schema.inputs import (
    DEFAULT_LEVEL,
    AnalyzeInput,
    JobIdInput,
    RunAnalyzerInput,
    RunResponderInput,
    to_age,
    to_neuron_ref,
    to_object,
    to_observable,
)
from cortexql.schema.jobs import Job, Observable
from cortexql.schema.reports import Report
from cortexql.schema.scalars import Duration
from cortexql.schema.selection import selected, unread
from cortexql.services import jobs, observables, reports, submission
from cortexql.services.submission import JobRequest, ObservableRequest


@strawberry.type
class JobQueries:
    @strawberry.field(description="Jobs, newest first unless ordered otherwise.")
    async def jobs(
        self,
        info: Info,
        filter: arguments.Jobs = None,
        order_by: arguments.JobsOrder = None,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> Connection[Job]:
        request = page_request(first, after, last, before)
        wanted, order = to_job_filter(filter), to_job_order(order_by)
        names = selected(info)
        shape = jobs.Shape(unread(Job, names), "report" in names, unread(Report, names))
        async with info.context.reading() as tx:
            page = await jobs.list_page(tx, wanted, request, order, shape)
        return to_connection(page, Job.with_report if shape.report else Job.of)  # type: ignore[no-any-return]

    @strawberry.field(description="A job by its global id; null where there is none to see.")
    async def job(self, info: Info, id: arguments.JobId) -> Job | None:
        async with info.context.reading() as tx:
            try:
                return Job.of(await jobs.get(tx, number_of(id, "Job")))
            except NotFoundError:
                return None

    @strawberry.field(description="Historical results, newest first, of everything the viewer may see.")
    async def reports(
        self,
        info: Info,
        filter: arguments.Reports = None,
        order_by: arguments.ReportsOrder = None,
        first: First = None,
        after: After = None,
    ) -> Connection[Report]:
        wanted, request = to_report_filter(filter), page_request(first, after)
        async with info.context.reading() as tx:
            page = await reports.list_page(tx, wanted, request, descending=is_newest_first(order_by))
        return to_connection(page, Report.of)  # type: ignore[no-any-return]

    @strawberry.field(description="Every distinct observable seen, with its latest verdicts.")
    async def observables(
        self, info: Info, filter: arguments.Observables = None, first: First = None, after: After = None
    ) -> Connection[Observable]:
        async with info.context.reading() as tx:
            page = await observables.list_page(tx, to_observable_filter(filter), page_request(first, after))
        return to_connection(page, Observable.of)  # type: ignore[no-any-return]


@strawberry.type
class JobMutations:
    @strawberry.mutation(description="One observable, one analyzer.")
    @expected(payloads.RunAnalyzerPayload)
    async def run_analyzer(
        self, info: Info, input: Annotated[RunAnalyzerInput, given]
    ) -> payloads.RunAnalyzerPayload:
        request = JobRequest(
            observables=[to_observable(input.observable)],
            neurons=[to_neuron_ref(input.analyzer)],
            parameters=to_object(input.parameters, "parameters"),
            label=input.label,
            max_age=to_age(input.max_age),
            priority=Priority.INTERACTIVE if input.priority is None else input.priority,
            idempotency_key=input.idempotency_key,
            single=True,
        )
        async with info.context.open() as tx:
            done = await submission.submit_one(tx, request, info.context.resources.settings)
        return payloads.RunAnalyzerPayload(
            job=Job.of(done.job) if done.job else None,
            outcome=done.outcome,
            report_age=Duration(done.report_age) if done.report_age is not None else None,
        )

    @strawberry.mutation(description="Many observables times many analyzers, accepted or refused one by one.")
    @expected(payloads.AnalyzePayload)
    async def analyze(self, info: Info, input: Annotated[AnalyzeInput, given]) -> payloads.AnalyzePayload:
        request = JobRequest(
            observables=[to_observable(observable) for observable in input.observables],
            neurons=None if input.analyzers is None else [to_neuron_ref(ref) for ref in input.analyzers],
            parameters=to_object(input.parameters, "parameters"),
            label=input.label,
            max_age=to_age(input.max_age),
            priority=Priority.BULK if input.priority is None else input.priority,
            idempotency_key=input.idempotency_key,
        )
        async with info.context.open() as tx:
            done = await submission.submit(tx, request, info.context.resources.settings)
        return payloads.AnalyzePayload(submissions=[payloads.Submission.of(item) for item in done])

    @strawberry.mutation(description="One object, one responder.")
    @expected(payloads.RunResponderPayload)
    async def run_responder(
        self, info: Info, input: Annotated[RunResponderInput, given]
    ) -> payloads.RunResponderPayload:
        observable = ObservableRequest(
            data_type=input.data_type,
            input=input.data,
            tlp=DEFAULT_LEVEL if input.tlp is None else input.tlp,
            pap=DEFAULT_LEVEL if input.pap is None else input.pap,
            message=input.message or "",
        )
        request = JobRequest(
            observables=[observable],
            neurons=[to_neuron_ref(input.responder)],
            type=NeuronType.RESPONDER,
            parameters=to_object(input.parameters, "parameters"),
            label=input.label,
            idempotency_key=input.idempotency_key,
            single=True,
        )
        async with info.context.open() as tx:
            done = await submission.submit_one(tx, request, info.context.resources.settings)
        return payloads.RunResponderPayload(job=Job.of(done.job) if done.job else None)

    @strawberry.mutation(
        description="Cancels a job: a waiting one at once, a running one by destroying its run within seconds."
    )
    @expected(payloads.JobPayload)
    async def cancel_job(self, info: Info, input: Annotated[JobIdInput, given]) -> payloads.JobPayload:
        async with info.context.open() as tx:
            row = await jobs.cancel(tx, number_of(input.id, "Job"))
        return payloads.JobPayload(job=Job.of(row))

    @strawberry.mutation(
        description="Deletes a job: its report, its log and the files only it had go at once."
    )
    @expected(payloads.JobPayload)
    async def delete_job(self, info: Info, input: Annotated[JobIdInput, given]) -> payloads.JobPayload:
        async with info.context.open() as tx:
            row = await jobs.delete_job(tx, number_of(input.id, "Job"))
        return payloads.JobPayload(job=Job.of(row))
