#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Take a URL or a host name apart and point at what is meant to mislead its reader."""

import ipaddress
import re
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

import idna
import tldextract
from cortexutils.analyzer import Analyzer
from lookalikes import Label, find_imitated, read_label

DEFAULT_PORTS = {
    "http": 80,
    "https": 443,
    "ftp": 21,
    "ftps": 990,
    "ssh": 22,
    "sftp": 22,
    "ws": 80,
    "wss": 443,
}
USUAL_PORTS = frozenset({8080, 8443})
HOSTLESS_SCHEMES = ("javascript:", "vbscript:", "data:", "mailto:", "tel:")
SCRIPT_SCHEMES = frozenset({"javascript", "vbscript", "data"})
DOTS = re.compile("[\u3002\uff0e\uff61]")
# What inet_aton takes for an address: up to four decimal, octal or hexadecimal numbers.
NUMBERS_ONLY = re.compile(r"(0x[0-9a-f]+|\d+)(\.(0x[0-9a-f]+|\d+)){0,3}", re.IGNORECASE)
# The bundled snapshot of the public suffix list: no network, no cache folder.
EXTRACT = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None, include_psl_private_domains=True)
LEVELS = ("info", "safe", "suspicious", "malicious")

Finding = dict[str, str]


class UrlAnatomy(Analyzer):  # type: ignore[misc]
    """An analyzer that never asks the network: it only reads what is written."""

    def run(self) -> None:
        """Take the observable apart."""
        if self.data_type not in ("url", "domain", "fqdn"):
            self.error(f"UrlAnatomy takes url, domain or fqdn, not {self.data_type}")
        data = str(self.get_data()).strip()
        try:
            full = dissect(data, self.get_param("config.protected_domains", []))
        except ValueError as error:
            self.error(f"not a {self.data_type}: {error}")
        self.report(full)

    def summary(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Return the registered domain at the worst level, and each finding."""
        worst = max((finding["level"] for finding in raw["findings"]), key=LEVELS.index, default="info")
        place = (raw["domain"] or {}).get("registered") or raw["host"] or raw["scheme"]
        taxonomies = [self.build_taxonomy(worst, "UrlAnatomy", "Domain", place)]
        taxonomies += [
            self.build_taxonomy(finding["level"], "UrlAnatomy", "Finding", finding["code"])
            for finding in raw["findings"]
        ]
        return {"taxonomies": taxonomies}


def dissect(data: str, protected: list[str]) -> dict[str, Any]:
    """Return the parts and the findings. Raises: ValueError, where nothing can be made of it."""
    text = refang(data)
    parts = split(text)
    host = DOTS.sub(".", parts.hostname or "").rstrip(".")
    if not host and parts.scheme not in SCRIPT_SCHEMES:
        raise ValueError(f"no host in {data!r}")
    if any(character.isspace() for character in host):
        raise ValueError(f"no host has a blank in it, as {host!r} has")
    address = read_address(host)
    labels = [] if address or not host else [read_label(label) for label in host.split(".")]
    shown = ".".join(label.shown for label in labels) or host
    domain = describe_domain(shown) if labels else None
    return {
        "data": data,
        "scheme": parts.scheme,
        "userinfo": describe_userinfo(parts),
        "host": host,
        "host_unicode": shown,
        "host_ascii": to_ascii(labels) if labels else host,
        "address": address,
        "port": parts.port,
        "domain": domain,
        "labels": [label.describe() for label in labels],
        "path": parts.path,
        "query": parse_qsl(parts.query, keep_blank_values=True, max_num_fields=1000),
        "fragment": parts.fragment,
        "findings": [
            *find_in_text(text, parts),
            *find_in_address(host, address),
            *find_in_labels(labels),
            *find_imitations(labels, domain, protected),
        ],
    }


def refang(data: str) -> str:
    """Undo the usual ways to make a URL harmless."""
    text = re.sub(r"[\[({](?:\.|dot)[\])}]", ".", data, flags=re.IGNORECASE).replace("[:]", ":")
    return re.sub(r"^h(?:xx|\*\*)p", "http", text, flags=re.IGNORECASE)


def split(text: str) -> SplitResult:
    """Split as urllib does; a name without a scheme is a host. Raises: ValueError."""
    if "://" not in text and not text.lower().startswith(HOSTLESS_SCHEMES):
        text = f"//{text}"
    # A browser reads a backslash as a slash; urllib would take the wrong host.
    return urlsplit(text.replace("\\", "/"))


def read_address(host: str) -> str | None:
    """Return the IP address that `host` is, however it is written, or None."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not NUMBERS_ONLY.fullmatch(host):
        return None
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return None


def describe_domain(shown: str) -> dict[str, Any]:
    """Return the name's parts by the public suffix list; `private`: a hoster's suffix, as github.io."""
    found = EXTRACT(shown)
    registered = f"{found.domain}.{found.suffix}" if found.domain and found.suffix else ""
    return {
        "subdomain": found.subdomain,
        "name": found.domain,
        "suffix": found.suffix,
        "registered": registered,
        "private": found.is_private,
    }


def describe_userinfo(parts: SplitResult) -> dict[str, Any] | None:
    """Return the user name; of a password only that there is one."""
    if parts.username is None:
        return None
    return {"username": parts.username, "has_password": parts.password is not None}


def to_ascii(labels: list[Label]) -> str | None:
    """Return the name as the DNS has it, or None where IDNA forbids it."""
    try:
        return idna.encode(".".join(label.shown for label in labels), uts46=True).decode()
    except idna.IDNAError:
        # Underscores are no IDNA, but common: _dmarc.example.com.
        return (
            ".".join(label.given for label in labels)
            if all(label.given.isascii() for label in labels)
            else None
        )


def find_in_text(text: str, parts: SplitResult) -> Iterator[Finding]:
    """Yield what the spelling itself gives away."""
    if parts.scheme in SCRIPT_SCHEMES:
        yield finding("suspicious", "script-scheme", f"{parts.scheme}: runs or holds content of its own")
    if parts.username is not None:
        yield finding(
            "suspicious", "userinfo", f"{parts.username!r} stands before the host {parts.hostname!r}"
        )
    if "\\" in text:
        yield finding("suspicious", "backslash", "a backslash: programs disagree about where the host ends")
    if re.search(r"[\x00-\x20\x7f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]", text):
        yield finding("suspicious", "invisible", "blanks, control or invisible characters")
    port = parts.port
    if port is not None and port != DEFAULT_PORTS.get(parts.scheme):
        yield finding("info" if port in USUAL_PORTS else "suspicious", "port", f"port {port}")


def find_in_address(host: str, address: str | None) -> Iterator[Finding]:
    """Yield that the host is an address, and whether it is disguised."""
    if address is None:
        return
    yield finding("suspicious", "address", f"an address in place of a name: {address}")
    if address != host and ":" not in address:
        yield finding("suspicious", "disguised-address", f"{host} is a way to write {address}")


def find_in_labels(labels: list[Label]) -> Iterator[Finding]:
    """Yield labels in punycode, of mixed scripts or of look-alike letters."""
    for label in labels:
        if label.is_punycode:
            yield finding("info", "punycode", f"{label.given} reads {label.shown}")
        if label.is_mixed:
            scripts = ", ".join(label.scripts)
            yield finding("suspicious", "mixed-scripts", f"{label.shown} mixes {scripts}")
        if label.looks_like:
            yield finding("suspicious", "look-alike", f"{label.shown} looks like {label.looks_like}")


def find_imitations(
    labels: list[Label], domain: dict[str, Any] | None, protected: list[str]
) -> Iterator[Finding]:
    """Yield the protected domains the name is made to be taken for."""
    if domain is None:
        return
    for kind, imitated in find_imitated(labels, domain["registered"], protected):
        level = "malicious" if kind == "imitation" else "suspicious"
        yield finding(level, kind, f"made to be taken for {imitated}")


def finding(level: str, code: str, text: str) -> Finding:
    """Return one finding."""
    return {"level": level, "code": code, "text": text}


if __name__ == "__main__":
    UrlAnatomy().run()
