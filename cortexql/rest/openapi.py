"""The shim in OpenAPI's words, from its route table: `/api/openapi.json`.

A field may stand in the body or in the query string, which wins; the document names the place that clients use. Only
what an answer always has is required of it.
"""

from collections.abc import Sequence
from typing import Any

from cortexql import __version__
from cortexql.models import RateUnit
from cortexql.principal import Permission, Role
from cortexql.rest.operation import Operation

Schema = dict[str, Any]
_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_MILLIS: Schema = {"type": "integer", "description": "epoch milliseconds"}
_OBJECT: Schema = {"type": "object"}
_TEXTS: Schema = {"type": "array", "items": _TEXT}


def _object(required: Schema, **optional: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": {**required, **optional}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_LEVEL: Schema = {"type": "integer", "minimum": 0, "maximum": 3}
FIELDS: dict[str, Schema] = {
    "analyzerFilter": {**_TEXT, "description": "a worker's id or name"},
    "atMost": {**_TEXT, "description": "`1 second`, `30seconds`, `1minute`, `Inf`", "example": "1 second"},
    "attribute": {**_object({"type": _TEXT, "value": _TEXT}, data=_TEXT), "description": "as MISP has it"},
    "config": {**_OBJECT, "description": "values by item"},
    "configuration": {**_OBJECT, "description": "values by item; a mask or a null keeps a secret"},
    "currentPassword": _TEXT,
    "data": {
        "description": "an analyzer's value, or a responder's object; a file is a part `data` of a form"
    },
    "dataFilter": _TEXT,
    "dataType": _TEXT,
    "dataTypeFilter": _TEXT,
    "dataTypeList": _TEXTS,
    "description": _TEXT,
    "force": {"type": "boolean", "description": "run, though a report is fresh enough"},
    "jobCache": {**_COUNT, "description": "minutes for which a report answers again"},
    "jobIds": _TEXTS,
    "jobTimeout": {**_COUNT, "description": "minutes"},
    "key": {"type": "string", "minLength": 32},
    "label": _TEXT,
    "login": _TEXT,
    "message": _TEXT,
    "module": {**_TEXT, "description": "a worker's name"},
    "name": _TEXT,
    "nstats": {"type": "boolean", "description": "with the numbers of users and workers"},
    "organization": _TEXT,
    "pap": _LEVEL,
    "parameters": _OBJECT,
    "password": _TEXT,
    "query": {
        **_OBJECT,
        "description": "Cortex's search language",
        "example": {"_field": "status", "_value": "Success"},
    },
    "range": {
        **_TEXT,
        "description": "`0-10`, the end not included, or `all`; else the first ten",
        "example": "0-10",
    },
    "rate": {
        "type": ["integer", "null"],
        "minimum": 0,
        "description": "jobs in a rateUnit; null lifts the limit",
    },
    "rateUnit": {"type": "string", "enum": [unit.value.capitalize() for unit in RateUnit]},
    "roles": {"type": "array", "items": {"type": "string", "enum": [role.value for role in Role]}},
    "sort": {**_TEXTS, "description": "fields, each with `+` or `-` before it", "example": ["-createdAt"]},
    "stats": {
        "type": "array",
        "items": _object({"_agg": {"const": "count"}}),
        "example": [{"_agg": "count"}],
    },
    "status": {"type": "string", "enum": ["Active", "Locked", "Ok"]},
    "tlp": {**_LEVEL, "maximum": 4},
    "user": _TEXT,
}
# Clients say these in the query string of a POST.
_ALWAYS_IN_QUERY = {"force", "nstats"}

_ENTITY: Schema = {
    **dict.fromkeys(("id", "_id", "_type", "_routing", "createdBy"), _TEXT),
    **dict.fromkeys(("_seqNo", "_primaryTerm"), _COUNT),
    "_parent": {"type": ["string", "null"]},
    "createdAt": _MILLIS,
}
_ATTACHMENT = _object({"id": _TEXT, "name": _TEXT, "contentType": _TEXT, "size": _COUNT}, hashes=_TEXTS)
_JOB = _object(
    {
        **_ENTITY,
        **{
            f"{kind}{name}": _TEXT
            for kind in ("worker", "analyzer")
            for name in ("Id", "Name", "DefinitionId")
        },
        "type": {"enum": ["analyzer", "responder"]},
        "organization": _TEXT,
        "status": {"enum": ["Waiting", "InProgress", "Success", "Failure", "Deleted"]},
        "date": _MILLIS,
        "dataType": _TEXT,
        "tlp": FIELDS["tlp"],
        "pap": _LEVEL,
        "message": _TEXT,
        "parameters": _OBJECT,
        "cacheTag": _TEXT,
    },
    startDate=_MILLIS,
    endDate=_MILLIS,
    updatedAt=_MILLIS,
    updatedBy=_TEXT,
    data={},
    attachment=_ATTACHMENT,
    label=_TEXT,
    errorMessage=_TEXT,
    input={},
    fromCache={"const": True},
)
_REPORT = _object(
    {"success": {"type": "boolean"}},
    summary=_OBJECT,
    full=_OBJECT,
    artifacts={"type": "array", "items": _OBJECT},
    operations={"type": "array", "items": _OBJECT},
    errorMessage=_TEXT,
    input={"type": ["string", "null"]},
)
_ITEM = _object(
    {
        "name": _TEXT,
        "description": _TEXT,
        "type": _TEXT,
        "multi": {"type": "boolean"},
        "required": {"type": "boolean"},
    },
    defaultValue={},
)
_OFFERED: Schema = {
    **dict.fromkeys(("name", "version", "description", "author", "url", "license"), _TEXT),
    "dataTypeList": _TEXTS,
}
SCHEMAS: dict[str, Schema] = {
    "Anything": _OBJECT,
    "Artifact": _object(
        {**_ENTITY, "dataType": _TEXT, "tlp": FIELDS["tlp"], "tags": _TEXTS},
        data=_TEXT,
        message=_TEXT,
        attachment=_ATTACHMENT,
    ),
    "Config": _object(
        {
            "name": _TEXT,
            "workers": _TEXTS,
            "configurationItems": {"type": "array", "items": _ITEM},
            "config": _OBJECT,
        }
    ),
    "Counts": {"type": "object", "additionalProperties": _COUNT},
    "Definition": _object(
        {"id": _TEXT, **_OFFERED, "configurationItems": {"type": "array", "items": _ITEM}},
        baseConfig={"type": ["string", "null"]},
        dockerImage={"type": ["string", "null"]},
        command={"type": ["string", "null"]},
    ),
    "Error": _object(
        {"type": _TEXT}, message=_TEXT, tableName=_TEXT, errors={"type": "array", "items": _OBJECT}
    ),
    "Health": _object({"status": _TEXT}),
    "Job": _JOB,
    "JobWithReport": {
        "allOf": [
            _ref("Job"),
            _object({"report": {"anyOf": [_REPORT, {"enum": ["Waiting", "Running", "Deleted"]}]}}),
        ]
    },
    "Module": _object(
        {"name": _TEXT, "type": {"const": "cortex"}, "mispattributes": _OBJECT, "meta": _OBJECT}
    ),
    "ModuleAnswer": {
        "anyOf": [_object({"results": {"type": "array", "items": _OBJECT}}), _object({"error": _TEXT})]
    },
    "Organization": _object(
        {**_ENTITY, "name": _TEXT, "description": _TEXT, "status": {"enum": ["Active", "Locked"]}},
        stats=_OBJECT,
    ),
    "Session": _object({"id": _TEXT, "name": _TEXT, "roles": _TEXTS}),
    "Status": _object({"versions": _OBJECT, "config": _OBJECT}),
    "Statuses": {"type": "object", "additionalProperties": _TEXT},
    "Text": _TEXT,
    "User": _object(
        {
            **_ENTITY,
            "name": _TEXT,
            "roles": _TEXTS,
            "status": {"enum": ["Ok", "Locked"]},
            "organization": _TEXT,
            "hasKey": {"type": "boolean"},
            "hasPassword": {"type": "boolean"},
        },
        preferences=_OBJECT,
    ),
    "Worker": _object(
        {**_ENTITY, **_OFFERED, "workerDefinitionId": _TEXT, "type": _JOB["properties"]["type"]},
        analyzerDefinitionId=_TEXT,
        baseConfig={"type": ["string", "null"]},
        command=_TEXT,
        dockerImage=_TEXT,
        rate=_COUNT,
        rateUnit=FIELDS["rateUnit"],
        jobCache=_COUNT,
        jobTimeout=_COUNT,
        maxTlp={"type": "number"},
        maxPap={"type": "number"},
        configuration=_OBJECT,
    ),
}
_OTHER_CONTENT = {"File": "application/octet-stream", "Zip": "application/zip", "Key": "text/plain"}


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """Return the document of some operations."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "CortexQL for clients of Cortex",
            "version": __version__,
            "description": "What Cortex 4.1 answers, so that its clients find CortexQL in its place.",
        },
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "responses": {"Error": _content("application/json", _ref("Error"), "An error, by its `type`")},
        },
        "security": [{"key": []}],
    }


def permission_of(operation: Operation) -> str:
    """Return who may call an operation, in a word."""
    if operation.is_open:
        return "everybody"
    return operation.permission.value if isinstance(operation.permission, Permission) else "who has a key"


def _operation(operation: Operation) -> dict[str, Any]:
    in_body = [] if operation.method in ("GET", "DELETE") else _names(operation, in_query=False)
    in_query = [name for name in _names(operation) if name not in in_body]
    path = [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in operation.parameters]
    query = [_parameter(name, required=f"{name}!" in operation.takes) for name in in_query]
    told: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": f"{operation.method.lower()} {operation.path}",
        "x-permission": permission_of(operation),
        "parameters": [*path, *query],
        "responses": _responses(operation),
    }
    if in_body:
        told["requestBody"] = {"required": True, "content": _body(operation, in_body)}
    return {**told, "security": []} if operation.is_open else told


def _names(operation: Operation, *, in_query: bool = True) -> list[str]:
    names = [name.removesuffix("!") for name in operation.takes]
    return names if in_query else [name for name in names if name not in _ALWAYS_IN_QUERY]


def _parameter(name: str, *, required: bool) -> dict[str, Any]:
    # An object in a query string is its JSON's text, which no client sends; arrays are repeated.
    schema = _TEXT if FIELDS[name].get("type") == "object" else FIELDS[name]
    return {"name": name, "in": "query", "required": required, "schema": schema}


def _body(operation: Operation, names: Sequence[str]) -> dict[str, Any]:
    required = [name for name in names if f"{name}!" in operation.takes]
    json = {"type": "object", "properties": {name: FIELDS[name] for name in names}, "required": required}
    content: dict[str, Any] = {"application/json": {"schema": json}}
    if operation.path.endswith("analyzer/{id}/run"):
        form = _object({"_json": _TEXT, "data": {"type": "string", "format": "binary"}})
        content["multipart/form-data"] = {"schema": form}
    return content


def _responses(operation: Operation) -> dict[str, Any]:
    error: dict[str, Any] = {"$ref": "#/components/responses/Error"}
    name, is_list = operation.gives.removesuffix("[]"), operation.gives.endswith("[]")
    if operation.status >= 400:
        return {str(operation.status): error, "default": error}
    if not name:
        return {str(operation.status): {"description": "Done"}, "default": error}
    if name in _OTHER_CONTENT:
        given = _content(_OTHER_CONTENT[name], {"type": "string"}, name)
    else:
        schema = {"type": "array", "items": _ref(name)} if is_list else _ref(name)
        given = _content("application/json", schema, operation.gives)
    if is_list:
        given["headers"] = {
            "X-Total": {"schema": _COUNT, "description": "how many there are beyond the range"}
        }
    return {str(operation.status): given, "default": error}


def _content(kind: str, schema: Schema, description: str) -> dict[str, Any]:
    return {"description": description, "content": {kind: {"schema": schema}}}
