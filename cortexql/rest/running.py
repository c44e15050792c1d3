"""Runs: every form of body that Cortex takes becomes one submission."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from starlette.responses import JSONResponse, Response

from cortexql.attachments import Content
from cortexql.models import NeuronType
from cortexql.rest import errors, views
from cortexql.rest.edge import Call
from cortexql.rest.errors import AttributeProblem
from cortexql.rest.fields import Fields
from cortexql.services import details, submission
from cortexql.services.submission import JobRequest, ObservableRequest, Outcome

_DEFAULT_LEVEL = 2
# TheHive 5 sends TLP 4, the RED of TLP 2.0, which Cortex has not.
_LEVELS = {"tlp": range(5), "pap": range(4)}
_LONGEST_LABEL = 1024
_FILES = ("data", "attachment")


@dataclass(frozen=True, slots=True)
class _Asked:
    """A body's attributes: flat ones, or those of Cortex 1, which stand in `attributes`."""

    fields: Fields
    attributes: Fields
    legacy: bool


async def run_analyzer(call: Call) -> Response:
    """Run an analyzer, or answer with a job that is fresh enough."""
    return await _run(call, NeuronType.ANALYZER, _observable)


async def run_responder(call: Call) -> Response:
    """Run a responder on a JSON value."""
    return await _run(call, NeuronType.RESPONDER, _responder_input)


async def _run(call: Call, kind: NeuronType, to_observable: Any) -> Response:
    async with call.open() as tx:
        worker = await details.get_worker(tx, kind, call.path("id"))
    asked = _attributes(call.fields)
    observable: ObservableRequest = to_observable(asked)
    request = JobRequest(
        [observable],
        [worker.neuron.id],
        kind,
        parameters=asked.attributes.object("parameters") or {},
        label=_label(asked.attributes.string("label")),
        max_age=timedelta(0) if call.fields.boolean("force") else None,
        as_cortex=True,
        single=True,
    )
    async with call.open() as tx:
        done = await submission.submit_one(tx, request, call.resources.settings)
        assert done.job is not None
        await tx.session.refresh(done.job)
        (whole,) = await details.of_jobs(tx, [done.job])
    shown = views.job(whole)
    return JSONResponse(shown if done.outcome is Outcome.CREATED else {**shown, "fromCache": True})


def _attributes(fields: Fields) -> _Asked:
    legacy = fields.object("attributes")
    return _Asked(fields, fields if legacy is None else Fields(legacy), legacy is not None)


def _observable(asked: _Asked) -> ObservableRequest:
    fields = asked.fields
    file = next((fields.files[name] for name in _FILES if name in fields.files), None)
    data = fields.string("data")
    if file is not None and data is not None and "attachment" in fields.files:
        raise errors.invalid("job", "data/attachment", "give a value or a file, not both")
    _check_present(asked, has_data=data is not None or file is not None)
    return _request(asked, data=None if file else data, file=file)


def _responder_input(asked: _Asked) -> ObservableRequest:
    value = asked.fields.value("data")
    _check_present(asked, has_data=value is not None)
    return _request(asked, input=value)


def _check_present(asked: _Asked, *, has_data: bool) -> None:
    lacking = [] if asked.attributes.string("dataType") else ["dataType"]
    if not has_data:
        lacking.append("data" if asked.legacy else "data/attachment")
    if lacking:
        raise errors.missing("job", *lacking)


def _request(
    asked: _Asked, data: str | None = None, file: Content | None = None, input: Any = None
) -> ObservableRequest:
    tlp, pap = (_level(asked.attributes, name) for name in ("tlp", "pap"))
    wrong = [
        AttributeProblem(
            name,
            "InvalidFormat",
            f"Invalid format for {name}: {value}, expected 0 to {_LEVELS[name][-1]}",
            value,
        )
        for name, value in (("tlp", tlp), ("pap", pap))
        if value not in _LEVELS[name]
    ]
    if wrong:
        raise errors.AttributeCheckingError("job", wrong)
    return ObservableRequest(
        data_type=asked.attributes.string("dataType") or "",
        data=data,
        file=file,
        input=input,
        tlp=tlp,
        pap=pap,
        message=asked.attributes.string("message") or "",
    )


def _level(fields: Fields, name: str) -> int:
    value = fields.number(name)
    return _DEFAULT_LEVEL if value is None else value


def _label(text: str | None) -> str | None:
    # An alert's title may be longer than what a label may be here.
    return text[:_LONGEST_LABEL] if text is not None else None
