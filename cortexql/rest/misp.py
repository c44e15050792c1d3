"""MISP's module protocol: every enabled analyzer is a module, a query runs it and waits for its report.

A query is `{"module": NAME, "<type>": VALUE}`, in newer clients `{"module": NAME, "attribute": {"type", "value"}}`;
for a file, `data` beside the value holds its base64, or the value itself does. The answer is
`{"results": [{"types": [TYPE, …], "values": [VALUE, …]}, …]}` or `{"error": MESSAGE}`, both with status 200.
"""

import base64
import binascii
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse, Response

from cortexql import attachments
from cortexql.attachments import Content
from cortexql.errors import NotFoundError
from cortexql.models import JobStatus, Neuron, NeuronType
from cortexql.rest import misp_types, views, waiting
from cortexql.rest.edge import Call, listing
from cortexql.rest.errors import PlainError
from cortexql.services import neurons, search, submission
from cortexql.services.conditions import Compare, Operator
from cortexql.services.job_reader import Shown
from cortexql.services.search import Search
from cortexql.services.submission import JobRequest, ObservableRequest
from cortexql.transaction import Transaction

_LONGEST_WAIT = "20 minutes"
# What MISP sends beside the observable.
_ABOUT = frozenset({"module", "config", "data", "event_id", "attribute_uuid", "persistent"})
_NAMELESS = "noname"


@dataclass(frozen=True, slots=True)
class _Attribute:
    """What a query asks about; `data`: the base64 of a file that `value` names."""

    type: str
    value: str
    data: str | None


async def modules(call: Call) -> Response:
    """List the organization's analyzers as modules."""
    async with call.open() as tx:
        found = await search.find_neurons(tx, NeuronType.ANALYZER, Search(limit=None))
    return listing([_module(neuron) for neuron in found.rows])


async def query(call: Call) -> Response:
    """Run a module on an attribute, or take a report that is fresh enough, and tell what was found."""
    given = call.fields.json
    name = given.get("module")
    if not isinstance(name, str):
        raise PlainError("Module parameter is not present in request")
    attribute = _attribute(given)
    if attribute.type == "malware-sample":
        return JSONResponse({"error": "malware-sample is not read here: add the file as an attachment"})
    async with call.open() as tx:
        request = JobRequest(
            [_observable(attribute)],
            [await _find(tx, name)],
            NeuronType.ANALYZER,
            as_cortex=True,
            single=True,
        )
        done = await submission.submit_one(tx, request, call.resources.settings)
    assert done.job is not None
    return JSONResponse(_answer(await waiting.until_ended(call, str(done.job.id), _LONGEST_WAIT)))


def _module(neuron: Neuron) -> dict[str, Any]:
    offered = neuron.definition
    types = [type_ for name in neurons.data_types(neuron) for type_ in misp_types.of_data_type(name)]
    return {
        "name": neuron.name,
        "type": "cortex",
        "mispattributes": {"input": list(dict.fromkeys(types)), "output": []},
        "meta": {
            "module-type": ["cortex"],
            "description": offered.description,
            "author": offered.author,
            "version": offered.version,
            "config": [],
        },
    }


def _attribute(given: Mapping[str, Any]) -> _Attribute:
    found = given.get("attribute")
    if isinstance(found, dict):
        type_, value, data = (found.get(name) for name in ("type", "value", "data"))
    else:
        type_, value = next(((key, given[key]) for key in given if key not in _ABOUT), (None, None))
        data = given.get("data")
    if type_ is None:
        raise PlainError("Request doesn't contain data to analyze")
    if not isinstance(type_, str) or not isinstance(value, str) or not isinstance(data, str | None):
        raise PlainError("Data has invalid type (expected string)")
    return _Attribute(type_, value, data)


def _observable(attribute: _Attribute) -> ObservableRequest:
    data_type = misp_types.to_data_type(attribute.type)
    if data_type != "file":
        return ObservableRequest(data_type, attribute.value, tlp=0, pap=0)
    if attribute.data is None:
        return ObservableRequest(data_type, file=_file(attribute.value, _NAMELESS), tlp=0, pap=0)
    return ObservableRequest(data_type, file=_file(attribute.data, attribute.value), tlp=0, pap=0)


def _file(encoded: str, name: str) -> Content:
    try:
        content = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise PlainError("Data has invalid type (expected base64)") from error
    return attachments.from_file(io.BytesIO(content), attachments.to_name(name), "application/octet-stream")


async def _find(tx: Transaction, name: str) -> int:
    wanted = Search(Compare("name", Operator.EQUALS, name), limit=1)
    found = await search.find_neurons(tx, NeuronType.ANALYZER, wanted)
    if not found.rows:
        raise NotFoundError(f"Module {name[:64]} not found")
    return found.rows[0].id


def _answer(shown: Shown) -> dict[str, Any]:
    whole, _ = shown
    told = views.job_with_report(*shown)
    if whole.job.status is not JobStatus.SUCCESS:
        return {"error": _error(whole.job.status, told)}
    report = told["report"]
    results = [
        {"types": misp_types.of_data_type(artifact["dataType"]), "values": [artifact["data"]]}
        for artifact in report["artifacts"]
        if "data" in artifact
    ]
    texts = {name: json.dumps(report[name], ensure_ascii=False) for name in ("full", "summary")}
    results.append({"types": ["cortex"], "values": [json.dumps(texts, ensure_ascii=False)]})
    return {"results": results}


def _error(status: JobStatus, told: Mapping[str, Any]) -> str:
    match status:
        case JobStatus.WAITING | JobStatus.IN_PROGRESS:
            return "This job hasn't finished yet"
        case JobStatus.DELETED:
            return "This job has been deleted"
    return told.get("errorMessage") or "This job has failed, without message!"
