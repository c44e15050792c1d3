"""Observables as an event of MISP's, by its own library: a file that a MISP imports.

The event's id is made from the organization and the filter, the attributes' from that: the same export, imported
again, updates its event.
"""

from datetime import UTC, datetime
from uuid import UUID, uuid5

from pymisp import MISPAttribute, MISPEvent, MISPSighting

from cortexql.models import TLP, Level, Report
from cortexql.services.exports import Export, Exported
from cortexql.services.submission import FILE

_NAMESPACE = UUID("0a1e7b5c-5d5e-4c53-8f0e-3b1b1f7f6f90")
_TYPES = {
    "ip": "ip-dst",
    "domain": "domain",
    "fqdn": "hostname",
    "url": "url",
    "uri_path": "uri",
    "user-agent": "user-agent",
    "mail": "email",
    "mail_subject": "email-subject",
    "filename": "filename",
    "registry": "regkey",
    "file": "filename|sha256",
}
_HASHES = {32: "md5", 40: "sha1", 56: "sha224", 64: "sha256", 96: "sha384", 128: "sha512"}
# MISP's threat levels: 1 high, 2 medium, 3 low, 4 undefined.
_THREATS = {Level.MALICIOUS: 1, Level.SUSPICIOUS: 2, Level.SAFE: 3, Level.INFO: 4}
_ANALYSIS_COMPLETED, _OWN_ORGANIZATION_ONLY = 2, 0


def to_file(export: Export, selection: str) -> bytes:
    """Return the event's JSON."""
    return f'{{"Event": {event(export, selection).to_json()}}}'.encode()


def event(export: Export, selection: str) -> MISPEvent:
    """Return the event. `selection` is the filter in words: it names the event."""
    made = MISPEvent()
    made.uuid = str(uuid5(_NAMESPACE, f"{export.organization.name}\0{selection}"))
    made.info = f"CortexQL, {export.organization.name}: {selection or 'all observables'}"
    made.date = datetime.now(UTC).date()
    made.distribution = _OWN_ORGANIZATION_ONLY
    made.analysis = _ANALYSIS_COMPLETED
    verdicts = [row.verdict for row in export.rows if row.verdict is not None]
    made.threat_level_id = min((_THREATS[each] for each in verdicts), default=4)
    made.add_tag(_tlp_tag(max((row.tlp for row in export.rows), default=0)))
    for row in export.rows:
        made.attributes.append(_attribute(row, UUID(str(made.uuid))))
    return made


def _attribute(row: Exported, event_id: UUID) -> MISPAttribute:
    seen = row.observable
    made = MISPAttribute()
    value = f"{row.file.name.replace('|', '_')}|{row.file.sha256}" if row.file else row.value
    made.from_dict(
        uuid=str(uuid5(event_id, f"{seen.data_type}\0{seen.digest}")),
        type=_type(row),
        value=value,
        to_ids=seen.ioc,
        comment="; ".join(map(_said, row.reports)),
        first_seen=seen.first_seen,
        last_seen=seen.last_seen,
        distribution=5,  # as the event
    )
    made.add_tag(_tlp_tag(row.tlp))
    for sighting in row.sightings:
        said = MISPSighting()
        at = int(sighting.at.timestamp())
        # Its own id: sent again, it is the same sighting.
        id_ = str(uuid5(UUID(str(made.uuid)), f"{sighting.at.isoformat()}\0{sighting.place}"))
        said.from_dict(uuid=id_, date_sighting=at, source=sighting.place, type="0", value=value)
        made.Sighting.append(said)
    return made


def _tlp_tag(tlp: int) -> str:
    return f"tlp:{TLP[tlp].lower()}"


def _type(row: Exported) -> str:
    if row.observable.data_type == FILE and row.file is None:
        return "sha256"
    if row.observable.data_type == "hash":
        return _HASHES.get(len(row.value), "other")
    return _TYPES.get(row.observable.data_type, "other")


def _said(report: Report) -> str:
    words = ", ".join(f"{t['namespace']}:{t['predicate']}={t['value']}" for t in report.taxonomies)
    level = report.level.value if report.level else "no verdict"
    return f"{report.neuron_name}: {level} ({words})" if words else f"{report.neuron_name}: {level}"
