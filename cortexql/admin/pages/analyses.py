"""New analyses: many observables and files at once, their types guessed, each pair accepted or refused."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from starlette.responses import Response

from cortexql import attachments, guess
from cortexql.admin.visit import Visit, to_int
from cortexql.errors import CortexError, InvalidInputError, NotFoundError
from cortexql.models import Neuron, NeuronType
from cortexql.principal import Permission
from cortexql.services import log, neurons, preferences, submission
from cortexql.services.preferences import Selection
from cortexql.services.submission import FILE, JobRequest, ObservableRequest, Submission
from cortexql.transaction import Transaction

_MAX_LINES = 1000
_MAX_NAMED = 200
_DEFAULT_LEVEL = "2"
_CHOICE = "analyses/_choice.html"
# What the guess may give, and what an analyst may mean instead.
_TYPES = (
    "domain",
    "fqdn",
    "ip",
    "url",
    "hash",
    "mail",
    "mail-subject",
    "filename",
    "user-agent",
    "registry",
    "uri_path",
    "regexp",
    "autonomous-system",
    "cve",
    "other",
)


@dataclass(frozen=True, slots=True)
class _Shown:
    """The pasted lines with their types, and each analyzer with what it takes and whether it takes any of them."""

    lines: list[tuple[str, str]]
    types: list[str]
    analyzers: list[tuple[Neuron, list[str], bool]]
    chosen: set[str]
    selections: Sequence[Selection]


@dataclass(slots=True)
class _Result:
    """What became of a form: submissions, each with the name of its observable."""

    answers: list[tuple[str, Submission]] = field(default_factory=list)
    unanswered: list[tuple[str, str]] = field(default_factory=list)

    @property
    def job_ids(self) -> list[int]:
        return list(dict.fromkeys(item.job.id for _, item in self.answers if item.job is not None))

    @property
    def refused(self) -> list[tuple[str, Submission]]:
        return [(name, item) for name, item in self.answers if item.error is not None]


async def show(visit: Visit) -> Response:
    """Show the form, empty or with what the address names: `data` with `data_type`, or a file's `attachment`."""
    visit.principal.require(Permission.JOB_SUBMIT)
    return await _form(visit)


async def preview(visit: Visit) -> Response:
    """Show what each pasted line is taken for; every guess can be changed."""
    visit.principal.require(Permission.JOB_SUBMIT)
    async with visit.open() as tx:
        form = await _shown(visit, tx, _lines(visit))
    return visit.page("analyses/_preview.html", form=form, is_preview=True)


async def choose(visit: Visit) -> Response:
    """Use, keep or forget a named selection of analyzers; the rest of the form stays as it is."""
    visit.principal.require(Permission.JOB_SUBMIT)
    chosen = {to_int(value, "analyzer") for value in visit.all_given("analyzer")}
    try:
        async with visit.open() as tx:
            if visit.given("forget"):
                await preferences.forget_selection(tx, visit.given("forget"))
            elif visit.given("use"):
                chosen = await _selected(tx, visit.given("use"))
            else:
                await preferences.keep_selection(tx, visit.given("selection"), sorted(chosen))
    except CortexError as error:
        return await _form(visit, partial=_CHOICE, error=error)
    return await _form(visit, partial=_CHOICE, chosen=chosen)


async def _selected(tx: Transaction, name: str) -> set[int]:
    kept = next((one for one in await preferences.selections(tx) if one.name == name), None)
    if kept is None:
        raise NotFoundError(f"there is no selection {name}")
    return {neuron.id for neuron in kept.neurons}


async def submit(visit: Visit) -> Response:
    """Submit the form; to the job, or to the list of jobs, unless something was refused."""
    visit.principal.require(Permission.JOB_SUBMIT)
    try:
        result = await _submit(visit)
    except CortexError as error:
        return await _form(visit, error=error)
    if result.refused or result.unanswered:
        return await _form(visit, result=result, status=200 if result.job_ids else 422)
    if len(result.job_ids) == 1:
        return visit.to(f"/jobs/{result.job_ids[0]}")
    return visit.to("/jobs", **_those(visit, result))


def _those(visit: Visit, result: _Result) -> dict[str, str]:
    """Return the filter of the list that shows a form's jobs; an address does not hold thousands of numbers."""
    if len(result.job_ids) <= _MAX_NAMED:
        return {"ids": ",".join(map(str, result.job_ids))}
    label = visit.given("label")
    return {"label": label} if label else {"created_by": visit.principal.login}


async def _submit(visit: Visit) -> _Result:
    observables = _observables(visit)
    if not observables:
        raise InvalidInputError("paste an observable, or choose a file")
    chosen = {to_int(value, "analyzer") for value in visit.all_given("analyzer")}
    result = _Result()
    async with visit.open() as tx:
        enabled = await neurons.list_own(tx, NeuronType.ANALYZER)
        for data_type in dict.fromkeys(observable.data_type for observable in observables):
            group = [observable for observable in observables if observable.data_type == data_type]
            takers = [n.id for n in enabled if _takes(n, data_type) and (not chosen or n.id in chosen)]
            await _submit_group(visit, tx, group, takers, result)
    return result


async def _submit_group(
    visit: Visit,
    tx: Transaction,
    group: Sequence[ObservableRequest],
    takers: Sequence[int],
    result: _Result,
) -> None:
    if not takers:
        result.unanswered += [(_name(observable), observable.data_type) for observable in group]
        return
    request = JobRequest(
        observables=group,
        neurons=list(takers),
        label=visit.given("label") or None,
        max_age=timedelta(0) if visit.given("again") else None,
    )
    done = await submission.submit(tx, request, visit.resources.settings)
    result.answers += [(_name(group[item.observable]), item) for item in done]


def _observables(visit: Visit) -> list[ObservableRequest]:
    tlp, pap = (to_int(visit.given(name) or _DEFAULT_LEVEL, name) for name in ("tlp", "pap"))
    message = visit.given("message")
    values = [
        ObservableRequest(data_type, data=data, tlp=tlp, pap=pap, message=message)
        for data, data_type in _lines(visit)
    ]
    files = [
        ObservableRequest(
            FILE,
            file=attachments.from_file(upload.file, upload.filename or "", upload.content_type or ""),
            tlp=tlp,
            pap=pap,
            message=message,
        )
        for upload in visit.files("files")
    ]
    known = [
        ObservableRequest(FILE, attachment=sha256, tlp=tlp, pap=pap, message=message)
        for sha256 in visit.all_given("attachment")
    ]
    return values + files + known


def _lines(visit: Visit) -> list[tuple[str, str]]:
    """Return the pasted observables, refanged, each once, with the type that was guessed or chosen."""
    given = visit.given("observables") or visit.asked("data") or ""
    lines = [line for line in given.splitlines() if line.strip()]
    if len(lines) > _MAX_LINES:
        raise InvalidInputError(f"paste at most {_MAX_LINES} observables at once, not {len(lines)}")
    chosen = dict(zip(visit.all_given("data"), visit.all_given("data_type"), strict=False))
    if data := visit.asked("data"):
        chosen[guess.refang(data)] = visit.asked("data_type") or ""
    values = dict.fromkeys(guess.refang(line) for line in lines)
    return [(value, chosen.get(value) or guess.data_type(value)) for value in values if value]


def _name(observable: ObservableRequest) -> str:
    return observable.file.name if observable.file else observable.data or observable.attachment or ""


def _takes(neuron: Neuron, data_type: str) -> bool:
    return data_type in neurons.data_types(neuron)


def _all_types(visit: Visit) -> list[str]:
    return list(dict.fromkeys([*_TYPES, *visit.all_given("data_type"), visit.asked("data_type") or "other"]))


async def _shown(
    visit: Visit, tx: Transaction, lines: list[tuple[str, str]], chosen: set[int] | None = None
) -> _Shown:
    """Return what the preview and the choice of analyzers show: those that take what is pasted come first."""
    present = {data_type for _, data_type in lines}
    enabled = await neurons.list_own(tx, NeuronType.ANALYZER)
    listed = [(neuron, neurons.data_types(neuron)) for neuron in enabled]
    fitting = [(n, takes, not present or not present.isdisjoint(takes)) for n, takes in listed]
    return _Shown(
        lines,
        _all_types(visit),
        sorted(fitting, key=lambda one: not one[2]),
        set(visit.all_given("analyzer")) if chosen is None else {str(id_) for id_ in chosen},
        await preferences.selections(tx),
    )


async def _form(
    visit: Visit,
    *,
    partial: str | None = None,
    result: _Result | None = None,
    error: CortexError | None = None,
    chosen: set[int] | None = None,
    status: int = 200,
) -> Response:
    """Show the form again, as it was filled in; what is wrong with the part that was asked for is told there."""
    async with visit.open() as tx:
        position = await log.own_position(tx)
        form = await _shown(visit, tx, [] if error and not partial else _lines(visit), chosen)
    return visit.page(
        "analyses/new.html",
        partial=partial,
        position=position,
        status=error.status if error else status,
        form=form,
        attachments=visit.all_given("attachment") or [name for name in [visit.asked("attachment")] if name],
        pasted=visit.given("observables") or visit.asked("data") or "",
        is_preview=False,
        result=result,
        those=_those(visit, result) if result else {},
        error=error.message if error else "",
        beside_choice=partial == _CHOICE,
    )
