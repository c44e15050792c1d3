#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Look an address up in a MaxMind database on disk."""

import ipaddress
from pathlib import Path
from typing import Any

import maxminddb
from cortexutils.analyzer import Analyzer


class GeoLookup(Analyzer):  # type: ignore[misc]
    """An analyzer for City, Country and ASN databases alike: it shows what the record has."""

    def run(self) -> None:
        """Look the address up."""
        if self.data_type != "ip":
            self.error(f"GeoLookup takes ip, not {self.data_type}")
        path = self.get_param("config.database", None, "no database is configured")
        try:
            address = ipaddress.ip_address(str(self.get_data()).strip())
            self.report(look_up(Path(path), address))
        except OSError as error:
            self.error(f"the database {path} cannot be read: {error.strerror}")
        except (ValueError, maxminddb.InvalidDatabaseError) as error:
            self.error(str(error))

    def summary(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Return country, city and autonomous system, as far as they are known."""
        known = {name: raw[name] for name in ("country", "city", "network_owner") if raw[name]}
        build = self.build_taxonomy
        names = {"country": "Country", "city": "City", "network_owner": "AS"}
        taxonomies = [build("info", "GeoLookup", names[name], text) for name, text in known.items()]
        return {"taxonomies": taxonomies or [build("info", "GeoLookup", "Location", "unknown")]}


def look_up(path: Path, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> dict[str, Any]:
    """Return what the database has on the address; every field is null where it has nothing."""
    with maxminddb.open_database(path) as reader:
        about = reader.metadata()
        record, prefix = reader.get_with_prefix_len(address)
    found: dict[str, Any] = record if isinstance(record, dict) else {}
    return {
        "ip": str(address),
        "is_global": address.is_global,
        "found": record is not None,
        "network": str(ipaddress.ip_network((address, prefix), strict=False)) if record is not None else None,
        "country": get_name(found.get("country") or found.get("registered_country")),
        "country_code": (found.get("country") or {}).get("iso_code"),
        "city": get_name(found.get("city")),
        "location": found.get("location"),
        "network_owner": describe_owner(found),
        "database": {"type": about.database_type, "build_epoch": about.build_epoch, "name": path.name},
        "record": record,
    }


def get_name(place: dict[str, Any] | None) -> str | None:
    """Return a place's English name, or its code."""
    if not place:
        return None
    return place.get("names", {}).get("en") or place.get("iso_code")


def describe_owner(record: dict[str, Any]) -> str | None:
    """Return `AS64496 Example Net`, of an ASN database's record."""
    number = record.get("autonomous_system_number")
    if number is None:
        return None
    return f"AS{number} {record.get('autonomous_system_organization', '')}".strip()


if __name__ == "__main__":
    GeoLookup().run()
