"""What the shim shows: jobs, reports, artifacts, workers, definitions, users and organizations as Cortex does."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from cortexql.catalog.definition import ParsedItem
from cortexql.errors import NotFoundError
from cortexql.models import (
    Attachment,
    Definition,
    JobStatus,
    NeuronType,
    Organization,
    OrganizationStatus,
    UserStatus,
)
from cortexql.services import configuration, neurons
from cortexql.services.details import Figures, WholeArtifact, WholeJob, WholeNeuron, WholeReport, WholeUser
from cortexql.services.shared_configs import Shareable

STATUS = {
    JobStatus.WAITING: "Waiting",
    JobStatus.IN_PROGRESS: "InProgress",
    JobStatus.SUCCESS: "Success",
    JobStatus.FAILURE: "Failure",
    JobStatus.CANCELLED: "Failure",
    JobStatus.DELETED: "Deleted",
}
_CANCELLED = "Job cancelled"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What a report is shown as until there is one.
_UNDER_WAY = {JobStatus.WAITING: "Waiting", JobStatus.IN_PROGRESS: "Running", JobStatus.DELETED: "Deleted"}


def envelope(
    kind: str, id_: str, *, parent: str | None = None, by: str = "init", at: datetime
) -> dict[str, Any]:
    """Return what every entity begins with; versions of the store are constants here."""
    return {
        "id": id_,
        "_id": id_,
        "_type": kind,
        "_parent": parent,
        "_routing": parent or id_,
        "_seqNo": 0,
        "_primaryTerm": 1,
        "createdBy": by,
        "createdAt": millis(at),
    }


def millis(moment: datetime) -> int:
    """Return a moment as Cortex has it."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def job(whole: WholeJob) -> dict[str, Any]:
    """Return a job without its report; what it has not is absent."""
    row = whole.job
    changed = row.ended_at or row.started_at
    names = {"Id": row.worker_id, "Name": row.neuron_name, "DefinitionId": row.definition_id}
    shown: dict[str, Any] = {
        **envelope("job", str(row.id), by=row.created_by, at=row.created_at),
        "type": row.type.value,
        **{f"{kind}{name}": value for kind in ("worker", "analyzer") for name, value in names.items()},
        "organization": whole.organization,
        "status": STATUS[row.status],
        "date": millis(row.created_at),
        "dataType": row.data_type,
        "tlp": row.tlp,
        "pap": row.pap,
        "message": row.message,
        "parameters": row.parameters,
        "cacheTag": _cache_tag(whole),
    }
    return shown | _optional(
        {
            "startDate": millis(row.started_at) if row.started_at else None,
            "endDate": millis(row.ended_at) if row.ended_at else None,
            "updatedAt": millis(changed) if changed else None,
            "updatedBy": row.created_by if changed else None,
            "data": row.input if row.type is NeuronType.RESPONDER else whole.data,
            "attachment": _job_attachment(whole),
            "label": row.label,
            "errorMessage": _error_message(whole),
            "input": row.error_input,
        }
    )


def job_with_report(whole: WholeJob, report: WholeReport | None) -> dict[str, Any]:
    """Return a job with its report, or with the word that stands in its place.

    Raises:
        NotFoundError: the report is gone.
    """
    return {**job(whole), "report": _report(whole, report)}


def artifact(whole: WholeArtifact, at: datetime) -> dict[str, Any]:
    """Return an artifact as an entity of its own."""
    row, file = whole.artifact, whole.attachment
    shown = envelope("artifact", str(row.id), parent=str(row.report_id), at=at)
    shown |= {"dataType": row.data_type, "tlp": row.tlp, "tags": list(row.tags)}
    stored = attachment(file, row.filename or file.name) if file else None
    return shown | _optional({"data": row.data, "message": row.message, "attachment": stored})


def attachment(file: Attachment, name: str, content_type: str | None = None) -> dict[str, Any]:
    """Return a file, by the name that it had there."""
    return {
        "name": name,
        "hashes": [file.sha256, file.sha1, file.md5],
        "size": file.size,
        "contentType": content_type or file.content_type,
        "id": file.sha256,
    }


def worker(whole: WholeNeuron, *, with_configuration: bool) -> dict[str, Any]:
    """Return a neuron; its configuration, secrets masked, to those who may manage it."""
    row, offered = whole.neuron, whole.neuron.definition
    shown = envelope("worker", row.worker_id, parent=whole.organization, at=row.enabled_at)
    shown |= {
        "name": row.name,
        "version": offered.version,
        "workerDefinitionId": offered.definition_id,
        "description": offered.description,
        "author": offered.author,
        "url": offered.url,
        "license": offered.license,
        "dataTypeList": neurons.data_types(row),
        "baseConfig": offered.base_config,
        "type": row.type.value,
    }
    if row.type is NeuronType.ANALYZER:
        shown["analyzerDefinitionId"] = offered.definition_id
    max_tlp, max_pap = configuration.limits(whole.configured.values({}))
    shown |= _optional(
        {
            "command": offered.command,
            "dockerImage": offered.docker_image,
            "rate": whole.quota.max_jobs if whole.quota else None,
            "rateUnit": whole.quota.unit.value.capitalize() if whole.quota else None,
            "jobCache": _minutes(row.freshness),
            "jobTimeout": _minutes(row.job_timeout),
            "maxTlp": max_tlp,
            "maxPap": max_pap,
        }
    )
    return {**shown, "configuration": _configuration(whole)} if with_configuration else shown


def definition(row: Definition) -> dict[str, Any]:
    """Return what a catalogue offers."""
    return {
        "id": row.definition_id,
        "name": row.name,
        "version": row.version,
        "description": row.description,
        "dataTypeList": row.data_types,
        "author": row.author,
        "url": row.url,
        "license": row.license,
        "baseConfig": row.base_config,
        "configurationItems": [item(found) for found in configuration.own_items(row)],
        "dockerImage": row.docker_image,
        "command": row.command.rpartition("/")[2] if row.command else None,
    }


def config(found: Shareable) -> dict[str, Any]:
    """Return a base configuration, its secrets masked; none of it is set: an empty object."""
    row, hidden = found.stored, {each.name for each in found.items if each.secret}
    plain = {name: value for name, value in row.configuration.items() if name not in hidden} if row else {}
    return {
        "name": found.name,
        "workers": list(found.definitions),
        "configurationItems": [{**item(each), "required": False} for each in found.items],
        "config": plain | dict.fromkeys(row.secrets if row else (), configuration.MASK),
    }


def item(found: ParsedItem) -> dict[str, Any]:
    """Return a configuration item."""
    shown: dict[str, Any] = {
        "name": found.name,
        "description": found.description,
        "type": found.type,
        "multi": found.multi,
        "required": found.required,
    }
    return shown | _optional({"defaultValue": None if found.secret else found.default})


def user(whole: WholeUser) -> dict[str, Any]:
    """Return a user."""
    row = whole.user
    return {
        **envelope("user", row.login, at=row.created_at),
        "name": row.name,
        "roles": row.roles,
        "status": "Ok" if row.status is UserStatus.ACTIVE else "Locked",
        "organization": whole.organization,
        "hasKey": whole.has_key,
        "hasPassword": row.password_hash is not None,
    }


def organization(row: Organization, counted: Figures | None = None) -> dict[str, Any]:
    """Return an organization, with its figures on demand."""
    shown = envelope("organization", row.name, at=row.created_at)
    shown |= {
        "name": row.name,
        "description": row.description,
        "status": "Active" if row.status is OrganizationStatus.ACTIVE else "Locked",
    }
    if counted is not None:
        users = {"Ok": counted.active, "Locked": counted.locked, "total": counted.active + counted.locked}
        shown["stats"] = {"users": users, "workers": {"total": counted.neurons}}
    return shown


def _optional(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _minutes(value: timedelta | None) -> int | None:
    return None if value is None else int(value.total_seconds() // 60)


def _job_attachment(whole: WholeJob) -> dict[str, Any] | None:
    file = whole.attachment
    if file is None:
        return None
    return attachment(file, whole.job.filename or file.name, whole.job.content_type)


def _error_message(whole: WholeJob) -> str | None:
    return _CANCELLED if whole.job.status is JobStatus.CANCELLED else whole.job.error_message


def _cache_tag(whole: WholeJob) -> str:
    row = whole.job
    data = whole.attachment.sha256 if whole.attachment else whole.data
    if data is None:
        data = _compact(row.input)
    text = f"{row.worker_id}|{row.data_type}|{row.tlp}|{data}|{_compact(row.parameters)}"
    return hashlib.md5(text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _report(whole: WholeJob, found: WholeReport | None) -> dict[str, Any] | str:
    if under_way := _UNDER_WAY.get(whole.job.status):
        return under_way
    if found is None and whole.job.status is JobStatus.SUCCESS:
        # It was kept for less long than its job.
        raise NotFoundError(f"Job {whole.job.id} has no report")
    if found is None:
        given = whole.job.error_input
        text = None if given is None else _compact(given)
        return {"success": False, "errorMessage": _error_message(whole) or "", "input": text}
    output = found.output
    summary, full = output.get("summary"), output.get("full")
    summary = summary if isinstance(summary, dict) else {}
    if "taxonomies" in summary:
        # As they were understood: one odd element has TheHive drop the whole list.
        summary = {**summary, "taxonomies": found.report.taxonomies}
    return {
        "success": True,
        "summary": summary,
        "full": full if isinstance(full, dict) else {},
        "artifacts": [_report_artifact(each) for each in found.artifacts],
        "operations": found.report.operations,
    }


def _report_artifact(whole: WholeArtifact) -> dict[str, Any]:
    row, file = whole.artifact, whole.attachment
    shown = {"dataType": row.data_type, "message": row.message, "tags": list(row.tags), "tlp": row.tlp}
    if file is None:
        return {"data": row.data, **shown}
    stored = attachment(file, row.filename or file.name)
    del stored["hashes"]
    return {**shown, "attachment": stored}


def _configuration(whole: WholeNeuron) -> dict[str, Any]:
    """Return every item: the neuron's own value, a mask for a secret; null where a shared one counts."""
    row = whole.neuron
    above = [each for each in (whole.configured.common, whole.configured.shared) if each is not None]
    shared = {name for each in above for name in (*each.configuration, *each.secrets)}
    shown: dict[str, Any] = {}
    for found in whole.configured.items:
        elsewhere = found.name in shared
        default = None if found.secret or elsewhere else found.default
        own = {} if found.secret else row.configuration
        masked = configuration.MASK if found.name in row.secrets else None
        shown[found.name] = masked or own.get(found.name, default)
    return shown
