"""Submissions: many observables times many neurons become jobs, or are answered, or refused, one by one.

A batch takes a handful of statements, whatever its size; a single one is a batch of one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import func

from cortexql import attachments
from cortexql.attachments import Content
from cortexql.errors import (
    CortexError,
    ForbiddenError,
    InvalidInputError,
    NeuronUnavailableError,
    PapExceededError,
    TlpExceededError,
    TooLargeError,
    UnsupportedDataTypeError,
)
from cortexql.models import (
    Attachment,
    Job,
    JobStage,
    JobStatus,
    Neuron,
    NeuronType,
    Priority,
    RunnerKind,
)
from cortexql.principal import Permission
from cortexql.services import (
    configuration,
    freshness,
    grants,
    idempotency,
    ledger,
    neurons,
    observables,
    quotas,
    scheduling,
    selection,
    text,
    workers,
)
from cortexql.services.observables import ObservableKey
from cortexql.settings import Settings
from cortexql.transaction import Transaction

FILE = "file"
MAX_DATA_CHARACTERS = 2**20
# In one call: its statements take 32,767 values.
MAX_SUBMISSIONS = 10_000
MAX_MESSAGE_CHARACTERS = 64 * 1024
_MAX_TLP = 4
_MAX_PAP = 3
# More wake-ups than any fleet has idle slots are of no use: a slot goes on until nothing is left.
_MAX_WAKES = 64


class Outcome(StrEnum):
    """How a submission was answered."""

    CREATED = "created"
    JOINED = "joined"
    FRESH = "fresh"


@dataclass(frozen=True, slots=True)
class ObservableRequest:
    """What to look at: exactly one of `data`, `file` and `attachment` (a SHA-256), or a responder's `input`."""

    data_type: str
    data: str | None = None
    file: Content | None = None
    attachment: str | None = None
    input: Any = None
    tlp: int = 2
    pap: int = 2
    message: str = ""


@dataclass(frozen=True, slots=True)
class JobRequest:
    """How to look at it. `neurons` None: every enabled analyzer that takes the data type.

    `as_cortex`: a client of Cortex asks. It expects a failed job where TLP or PAP are too high, and may send any
    data type, and files of any.
    """

    observables: Sequence[ObservableRequest]
    neurons: Sequence[int | str] | None
    type: NeuronType = NeuronType.ANALYZER
    parameters: Mapping[str, Any] = field(default_factory=dict)
    label: str | None = None
    max_age: timedelta | None = None
    priority: Priority = Priority.INTERACTIVE
    idempotency_key: str | None = None
    as_cortex: bool = False
    # The input named one observable, not a list: so do the paths of its errors.
    single: bool = False


@dataclass(slots=True)
class Submission:
    """One observable and one neuron, and how it was answered: by a job, or by an error."""

    observable: int
    neuron: str
    job: Job | None = None
    outcome: Outcome | None = None
    report_age: timedelta | None = None
    error: CortexError | None = None


@dataclass(slots=True)
class _Question:
    """A submission under way."""

    submission: Submission
    observable: ObservableRequest
    configured: neurons.Configured
    file: Attachment | None = None
    key: ObservableKey | None = None
    fingerprint: str | None = None
    idempotency_key: str | None = None
    failure: CortexError | None = None


async def submit_one(tx: Transaction, request: JobRequest, settings: Settings) -> Submission:
    """Submit one observable to one neuron, or raise what refused it."""
    (submission,) = await submit(tx, request, settings)
    if submission.error is not None:
        raise submission.error
    return submission


async def submit(tx: Transaction, request: JobRequest, settings: Settings) -> list[Submission]:
    """Submit every observable to every neuron; what is refused says why, and leaves nothing behind.

    Raises:
        CortexError: something is wrong with the whole request.
    """
    tx.principal.require(Permission.JOB_SUBMIT)
    _check_request(request)
    batch = _Batch(tx, request, settings)
    return await batch.run()


class _Batch:
    """The steps of one call, in order."""

    def __init__(self, tx: Transaction, request: JobRequest, settings: Settings) -> None:
        self.tx = tx
        self.request = request
        self.settings = settings
        if tx.principal.organization_id is None:
            raise RuntimeError("the system submits nothing")
        self.organization_id = tx.principal.organization_id
        self.runners: list[RunnerKind] = []

    async def run(self) -> list[Submission]:
        self.runners = await workers.available_runners(self.tx, self.settings)
        submissions, questions = await self._expand()
        if not any(observable.file for observable in self.request.observables):
            await self._answer(questions)
            return submissions
        async with self.tx.session.begin_nested() as savepoint:
            await self._answer(questions)
            if not any(submission.job for submission in submissions):
                # An upload whose every submission was refused is not kept.
                await savepoint.rollback()
        return submissions

    async def _answer(self, questions: Sequence[_Question]) -> None:
        await self._identify(questions)
        await self._answer_known(questions)
        granted = await self._charge([q for q in questions if _is_open(q)])
        await self._store(questions, granted)

    async def _expand(self) -> tuple[list[Submission], list[_Question]]:
        request = self.request
        found = await selection.find(
            self.tx, self.organization_id, request.type, request.neurons, single=request.single
        )
        submissions: list[Submission] = []
        questions: list[_Question] = []
        for position, observable in enumerate(self.request.observables):
            path = ("observable",) if self.request.single else ("observables", str(position))
            invalid = _invalid(observable, path, as_cortex=request.as_cortex)
            asked = found if request.neurons is not None else selection.taking(found, observable.data_type)
            for name, neuron in asked:
                submission = Submission(position, name, error=invalid)
                submissions.append(submission)
                if isinstance(neuron, CortexError):
                    submission.error = submission.error or neuron
                elif invalid is None:
                    question = _Question(submission, observable, neuron)
                    submission.error = _located(self._refusal(question), path)
                    questions.append(question)
            if not asked:
                nobody = UnsupportedDataTypeError(
                    f"no enabled {request.type.value} takes {observable.data_type[:128]}",
                    field=(*path, "dataType"),
                )
                submissions.append(Submission(position, "", error=invalid or nobody))
            if len(submissions) > MAX_SUBMISSIONS:
                raise _too_many()
        return submissions, [q for q in questions if q.submission.error is None]

    def _refusal(self, question: _Question) -> CortexError | None:
        neuron, observable = question.configured.neuron, question.observable
        taken = neurons.data_types(neuron)
        if observable.data_type not in taken and not self.request.as_cortex:
            return UnsupportedDataTypeError(
                f"{neuron.type.value} {neuron.name} takes {', '.join(taken)}, not {observable.data_type}",
                field=("observable", "dataType"),
            )
        if not workers.fitting(neuron.definition, self.runners):
            return NeuronUnavailableError(f"no configured runner can run {neuron.name} here")
        try:
            grants.check(self.tx.principal, neuron)
        except ForbiddenError as error:
            return error
        try:
            configuration.check_levels(question.configured.values({}), observable.tlp, observable.pap)
        except (TlpExceededError, PapExceededError) as error:
            if not self.request.as_cortex:
                return error
            question.failure = error
        return None

    async def _identify(self, questions: Sequence[_Question]) -> None:
        asked = {q.submission.observable: q.observable for q in questions}
        files = await self._files({n: one.file for n, one in asked.items() if one.file is not None})
        for position, observable in asked.items():
            if observable.attachment is not None:
                files[position] = await self._present_file(observable.attachment)
        for question in questions:
            file = files.get(question.submission.observable)
            if isinstance(file, CortexError):
                question.submission.error = file
                continue
            question.file = file
            self._fingerprint(question)

    async def _files(self, given: Mapping[int, Content]) -> dict[int, Attachment | CortexError]:
        limit = self.settings.max_upload_bytes
        contents = list(given.values())
        stored = await attachments.store_all(self.tx, self.organization_id, contents, max_bytes=limit)
        return dict(zip(given, stored, strict=True))

    async def _present_file(self, sha256: str) -> Attachment | CortexError:
        try:
            return await attachments.get(self.tx, sha256, hold=True)
        except CortexError as error:
            return error

    def _fingerprint(self, question: _Question) -> None:
        neuron, observable = question.configured.neuron, question.observable
        if self.request.idempotency_key is not None:
            parts = {"key": self.request.idempotency_key, "observable": question.submission.observable}
            question.idempotency_key = freshness.fingerprint(neuron.id, "", "", "", parts)
        if self.request.type is NeuronType.RESPONDER:
            return
        digest = question.file.sha256 if question.file else observables.digest(observable.data or "")
        question.key = ObservableKey(observable.data_type, digest)
        asked = {"parameters": self.request.parameters, "tlp": observable.tlp, "pap": observable.pap}
        question.fingerprint = freshness.fingerprint(
            neuron.id, question.configured.fingerprint, observable.data_type, digest, asked
        )

    async def _answer_known(self, questions: Sequence[_Question]) -> None:
        repeated = [q for q in questions if _is_open(q) and q.idempotency_key]
        ages = {q.fingerprint: self._max_age(q.configured.neuron) for q in questions if q.fingerprint}
        # A question that wants a run of its own waits for no other.
        shared = [fingerprint for fingerprint, age in ages.items() if age > timedelta(0)]
        await freshness.lock(self.tx, [*shared, *(q.idempotency_key for q in repeated if q.idempotency_key)])
        await self._answer_repeated(repeated)
        wanted = {
            q.fingerprint: ages[q.fingerprint]
            for q in questions
            if _is_open(q) and q.fingerprint and ages[q.fingerprint] > timedelta(0)
        }
        found = await freshness.find(self.tx, wanted)
        for question in questions:
            answer = found.get(question.fingerprint or "")
            if _is_open(question) and answer is not None:
                submission = question.submission
                submission.job, submission.report_age = answer.job, answer.age
                submission.outcome = Outcome.JOINED if answer.age is None else Outcome.FRESH
        joined = [q.submission.job for q in questions if q.submission.outcome is Outcome.JOINED]
        lower = [job.id for job in joined if job and job.priority > self.request.priority]
        if lower:
            await scheduling.raise_priority(self.tx, lower, self.request.priority)

    async def _answer_repeated(self, questions: Sequence[_Question]) -> None:
        asked = {q.idempotency_key: self._asked(q) for q in questions}
        answers = await idempotency.find(self.tx, asked) if asked else {}
        for question in questions:
            submission, answer = question.submission, answers.get(question.idempotency_key)
            if isinstance(answer, Job):
                submission.job, submission.outcome = answer, Outcome.CREATED
            else:
                submission.error = answer

    def _asked(self, question: _Question) -> idempotency.Question:
        seen, key, given = question.observable, question.key, self.request.parameters
        return idempotency.Question(seen.data_type, key and key.digest, seen.input, seen.tlp, seen.pap, given)

    async def _charge(self, questions: Sequence[_Question]) -> list[tuple[_Question, quotas.Grant]]:
        """Take what each new job costs; equal questions of one batch share one job."""
        first: dict[str, _Question] = {}
        granted: list[tuple[_Question, quotas.Grant]] = []
        budgets = await quotas.lock(
            self.tx,
            self.organization_id,
            {q.configured.neuron.id: q.configured.neuron for q in questions}.values(),
        )
        for question in questions:
            fresh = self._max_age(question.configured.neuron) > timedelta(0)
            if question.fingerprint and fresh and question.fingerprint in first:
                question.failure = None
                continue
            try:
                grant = quotas.Grant() if question.failure else budgets.take(question.configured.neuron)
            except CortexError as error:
                question.submission.error = error
                continue
            granted.append((question, grant))
            if question.fingerprint:
                first.setdefault(question.fingerprint, question)
        await budgets.write(self.tx)
        return granted

    async def _store(
        self, questions: Sequence[_Question], granted: Sequence[tuple[_Question, quotas.Grant]]
    ) -> None:
        seen = {
            q.key: (q.observable.data, q.file.id if q.file else None)
            for q in questions
            if q.key and q.submission.error is None
        }
        ids = await observables.see(self.tx, self.organization_id, seen)
        jobs = [self._job(question, grant, ids) for question, grant in granted]
        await ledger.open_jobs(self.tx, jobs, ledger.Cause(self.tx.principal.login))
        by_fingerprint: dict[str | None, Job] = {}
        for (question, grant), job in zip(granted, jobs, strict=True):
            question.submission.job, question.submission.outcome = job, Outcome.CREATED
            by_fingerprint.setdefault(job.fingerprint, job)
            if grant.not_before is not None:
                self.tx.wake(grant.not_before)
        for question in questions:
            if _is_open(question):
                question.submission.job = by_fingerprint[question.fingerprint]
                question.submission.outcome = Outcome.JOINED
        for _ in range(min(len(jobs), _MAX_WAKES)):
            self.tx.wake()

    def _job(self, question: _Question, grant: quotas.Grant, ids: Mapping[ObservableKey, int]) -> Job:
        neuron, observable, failure = question.configured.neuron, question.observable, question.failure
        principal = self.tx.principal
        return Job(
            organization_id=self.organization_id,
            type=neuron.type,
            neuron_id=neuron.id,
            neuron_name=neuron.name,
            worker_id=neuron.worker_id,
            definition_id=neuron.definition.definition_id,
            observable_id=ids[question.key] if question.key else None,
            data_type=observable.data_type,
            input=observable.input,
            filename=_filename(question),
            content_type=question.file.content_type if question.file else None,
            tlp=observable.tlp,
            pap=observable.pap,
            message=observable.message,
            label=self.request.label,
            parameters=dict(self.request.parameters),
            priority=self.request.priority,
            created_by_id=principal.user_id,
            created_by=principal.login,
            idempotency_key=question.idempotency_key,
            fingerprint=question.fingerprint,
            status=JobStatus.FAILURE if failure else JobStatus.WAITING,
            stage=JobStage.DONE if failure else JobStage.QUEUED,
            error_message=failure.message if failure else None,
            started_at=func.now() if failure else None,
            ended_at=func.now() if failure else None,
            not_before=grant.not_before,
            held=grant.not_before is not None,
            charges=list(grant.charges),
        )

    def _max_age(self, neuron: Neuron) -> timedelta:
        if self.request.max_age is not None:
            return self.request.max_age
        return neurons.freshness(neuron, self.settings)


def _is_open(question: _Question) -> bool:
    return question.submission.error is None and question.submission.job is None


def _located(error: CortexError | None, path: tuple[str, ...]) -> CortexError | None:
    """Return an error that names what it is about by the observable's own path."""
    if error is not None and error.field[:1] == ("observable",):
        error.field = (*path, *error.field[1:])
    return error


def _check_request(request: JobRequest) -> None:
    if not request.observables:
        raise InvalidInputError("give at least one observable", field=("observables",))
    if len(request.observables) > MAX_SUBMISSIONS:
        raise _too_many()
    for name in request.neurons or ():
        if isinstance(name, str):
            text.check(name, request.type.value, longest=1024, empty=True)
    text.check_json(request.parameters, "parameters")
    if request.label is not None:
        text.check(request.label, "label", longest=1024, empty=True)
    if request.idempotency_key is not None:
        text.check(request.idempotency_key, "idempotencyKey", longest=256)


def _too_many() -> TooLargeError:
    return TooLargeError(
        f"one call takes at most {MAX_SUBMISSIONS} observables times analyzers", field=("observables",)
    )


def _invalid(observable: ObservableRequest, path: tuple[str, ...], *, as_cortex: bool) -> CortexError | None:
    try:
        _check_observable(observable, as_cortex=as_cortex)
    except CortexError as error:
        error.field = (*path, *error.field)
        return error
    return None


def _check_observable(observable: ObservableRequest, *, as_cortex: bool) -> None:
    text.check(observable.data_type, "dataType", longest=128)
    text.check(observable.message, "message", longest=MAX_MESSAGE_CHARACTERS, empty=True)
    for name, value, highest in (("tlp", observable.tlp, _MAX_TLP), ("pap", observable.pap, _MAX_PAP)):
        if not 0 <= value <= highest:
            raise InvalidInputError(f"{name} is 0 to {highest}, not {value}", field=(name,))
    if observable.input is not None:
        text.check_json(observable.input, "data")
        return
    given = [name for name in ("data", "file", "attachment") if getattr(observable, name) is not None]
    if len(given) != 1:
        raise InvalidInputError(
            f"give exactly one of data, file and attachment, not {len(given)}", field=("data",)
        )
    is_value = observable.data is not None
    # TheHive has types of its users' own that are files, too.
    if (observable.data_type == FILE) == is_value and (is_value or not as_cortex):
        wanted = "a file or an attachment" if observable.data_type == FILE else "data"
        raise InvalidInputError(
            f"an observable of type {observable.data_type} has {wanted}", field=(given[0],)
        )
    if observable.data is not None:
        text.check(observable.data, "data", longest=MAX_DATA_CHARACTERS)
    if observable.attachment is not None:
        text.check(observable.attachment, "attachment", longest=64)


def _filename(question: _Question) -> str | None:
    if question.file is None:
        return None
    given = question.observable.file
    return attachments.to_name(given.name) if given else question.file.name
