"""Observables as a bundle of STIX 2.1, by the OASIS library.

A value or file is a Cyber-observable Object in an Observed Data object; each analyzer's latest report is a Note on
it; what was flagged is an Indicator based on that, and a sighting is a Sighting of the Indicator, else of the
Observed Data. Ids are made from the organization's and observable's names: exported again, the same things keep
them. A data type that STIX has no object for is left out.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

import stix2

from cortexql.models import Level, Organization, Report, Sighting
from cortexql.services.exports import Export, Exported

_NAMESPACE = UUID("5f0c5bd3-7c0d-4f59-9a1a-0d3f6f8a2f11")
_HASHES = {32: "MD5", 40: "SHA-1", 64: "SHA-256", 128: "SHA-512"}
# STIX 2.1 has no marking for AMBER+STRICT: the next stricter one keeps the promise.
_MARKINGS = (stix2.TLP_WHITE, stix2.TLP_GREEN, stix2.TLP_AMBER, stix2.TLP_RED, stix2.TLP_RED)
_INDICATES = {
    Level.MALICIOUS: "malicious-activity",
    Level.SUSPICIOUS: "anomalous-activity",
    Level.SAFE: "benign",
}
# The path of a pattern to each object's value.
_PATHS = {
    "domain-name": "value",
    "url": "value",
    "ipv4-addr": "value",
    "ipv6-addr": "value",
    "email-addr": "value",
    "windows-registry-key": "key",
}


def bundle(export: Export) -> tuple[bytes, int]:
    """Return the bundle's JSON, and how many observables it leaves out."""
    identity = _identity(export.organization)
    objects: dict[str, Any] = {identity.id: identity}
    left_out = 0
    for row in export.rows:
        seen = _observable(row)
        if seen is None:
            left_out += 1
            continue
        for found in (seen, *_about(row, seen, identity)):
            objects[found.id] = found
    whole = stix2.Bundle(*objects.values(), allow_custom=False)
    return whole.serialize().encode(), left_out


def _identity(organization: Organization) -> Any:
    return stix2.Identity(
        id=_id("identity", organization.name),
        created=organization.created_at,
        modified=organization.created_at,
        name=organization.name,
        identity_class="organization",
    )


def _observable(row: Exported) -> Any:  # noqa: PLR0911 a return an object
    value = row.value
    match row.observable.data_type:
        case "file" if row.file is not None:
            hashes = {"SHA-256": row.file.sha256, "SHA-1": row.file.sha1, "MD5": row.file.md5}
            return stix2.File(name=row.file.name, size=row.file.size, hashes=hashes)
        case "hash" if len(value) in _HASHES and not value.strip("0123456789abcdefABCDEF"):
            return stix2.File(hashes={_HASHES[len(value)]: value})
        case "filename":
            return stix2.File(name=value)
        case "ip":
            return _address(value)
        case "domain" | "fqdn":
            return stix2.DomainName(value=value)
        case "url":
            return stix2.URL(value=value)
        case "mail":
            return stix2.EmailAddress(value=value)
        case "registry":
            return stix2.WindowsRegistryKey(key=value)
    return None


def _address(value: str) -> Any:
    try:
        address = ipaddress.ip_interface(value)
    except ValueError:
        return None
    return stix2.IPv4Address(value=value) if address.version == 4 else stix2.IPv6Address(value=value)


def _about(row: Exported, seen: Any, identity: Any) -> Iterator[Any]:
    key = (identity.name, row.observable.data_type, row.observable.digest)
    common = {
        "created_by_ref": identity.id,
        "object_marking_refs": [_MARKINGS[row.tlp]],
        "created": row.observable.first_seen,
    }
    times = {"first_observed": row.observable.first_seen, "last_observed": row.observable.last_seen}
    data = stix2.ObservedData(
        id=_id("observed-data", *key),
        **common,
        **times,
        modified=row.observable.last_seen,
        number_observed=1,
        object_refs=[seen.id],
    )
    yield data
    for report in row.reports:
        yield _note(report, key, common, seen)
    target = data
    if row.observable.ioc:
        target = _indicator(row, key, common, seen)
        yield target
        yield stix2.Relationship(
            id=_id("relationship", *key), **common, modified=common["created"],
            relationship_type="based-on", source_ref=target.id, target_ref=data.id,
        )  # fmt: skip
    for sighting in row.sightings:
        yield _sighting(sighting, key, common, (target, data))


def _note(report: Report, key: tuple[str, ...], common: Mapping[str, Any], seen: Any) -> Any:
    said = [f"{t['namespace']}:{t['predicate']}={t['value']} ({t['level']})" for t in report.taxonomies]
    level = report.level.value if report.level else "no verdict"
    return stix2.Note(
        id=_id("note", *key, report.neuron_name),
        **{**common, "created": report.created_at},
        modified=report.created_at,
        abstract=f"{report.neuron_name}: {level}",
        content="\n".join(said) or level,
        object_refs=[seen.id],
    )


def _indicator(row: Exported, key: tuple[str, ...], common: Mapping[str, Any], seen: Any) -> Any:
    modified: datetime = max([row.observable.first_seen, *(report.created_at for report in row.reports)])
    return stix2.Indicator(
        id=_id("indicator", *key),
        **common,
        modified=modified,
        name=row.value[:256],
        indicator_types=[_INDICATES.get(row.verdict, "unknown") if row.verdict else "unknown"],
        pattern=_pattern(seen),
        pattern_type="stix",
        valid_from=row.observable.first_seen,
    )


def _pattern(seen: Any) -> str:
    if seen.type == "file":
        pairs = [("name", seen.name)] if "hashes" not in seen else [*seen.hashes.items()]
        name, value = next((pair for pair in pairs if pair[0] == "SHA-256"), pairs[0])
        path = "file:name" if name == "name" else f"file:hashes.'{name}'"
    else:
        path = f"{seen.type}:{_PATHS[seen.type]}"
        value = seen[_PATHS[seen.type]]
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"[{path} = '{quoted}']"


def _sighting(
    sighting: Sighting, key: tuple[str, ...], common: Mapping[str, Any], of: tuple[Any, Any]
) -> Any:
    target, data = of
    description = f"{sighting.place}: {sighting.note}" if sighting.note else sighting.place
    return stix2.Sighting(
        id=_id("sighting", *key, sighting.at.isoformat(), sighting.place),
        **{**common, "created": sighting.created_at},
        modified=sighting.created_at,
        first_seen=sighting.at,
        last_seen=sighting.at,
        count=1,
        description=description,
        sighting_of_ref=target.id,
        observed_data_refs=[data.id],
    )


def _id(kind: str, *parts: str) -> str:
    return f"{kind}--{uuid5(_NAMESPACE, chr(0).join((kind, *parts)))}"
