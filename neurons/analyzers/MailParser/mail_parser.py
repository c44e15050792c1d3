#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Read a mail: headers, hops, authentication results, links and attachments."""

import base64
import binascii
import codecs
import hashlib
import ipaddress
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mailparser
from cortexutils.analyzer import Analyzer
from links import find_links

ADDRESS_FIELDS = ("from", "sender", "reply-to", "return-path", "to", "cc", "bcc")
# Not one of these: not a mail.
MAIL_FIELDS = frozenset({"from", "to", "subject", "date", "received", "message-id", "return-path"})
OUTLOOK_START = b"\xd0\xcf\x11\xe0"
UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
# What Cortex refuses in a file name, control characters, and the marks that turn the reading direction.
FORBIDDEN = re.compile(r'[\x00-\x1f\x7f/\\`?*<>|":;\u200e\u200f\u202a-\u202e\u2066-\u2069]')
METHOD_RESULT = re.compile(r"\b(spf|dkim|dmarc|arc)\s*=\s*([a-z]+)", re.IGNORECASE)
RESULT_LEVELS = {"pass": "safe", "fail": "suspicious", "softfail": "suspicious", "permerror": "suspicious"}
BODY_CHARACTERS = 20_000
NAME_CHARACTERS = 500


class MailParser(Analyzer):  # type: ignore[misc]
    """An analyzer of hostile mail: no name out of the mail is ever used as a path."""

    def run(self) -> None:
        """Parse the file observable."""
        if self.data_type != "file":
            self.error(f"MailParser takes file, not {self.data_type}")
        path = self.get_param("file")
        if not path:
            self.error("the file is not in the job folder")
        try:
            mail = parse(Path(path).read_bytes())
        except (ValueError, mailparser.exceptions.MailParserError) as error:
            self.error(f"not a mail: {error}")
        self.contents = [read_content(attachment) for attachment in mail.attachments]
        self.report(clean(describe(mail, self.contents)))

    def summary(self, raw: dict[str, Any]) -> dict[str, Any]:
        """Return the counts, the authentication results, and each finding."""
        build = self.build_taxonomy
        taxonomies = [
            build("info", "MailParser", name, len(raw[name.lower()])) for name in ("Attachments", "Links")
        ]
        taxonomies += [
            build(RESULT_LEVELS.get(result, "info"), "MailParser", method.upper(), result)
            for method, result in raw["authentication"]["results"].items()
        ]
        taxonomies += [
            build("suspicious", "MailParser", "Finding", finding["code"]) for finding in raw["findings"]
        ]
        return {"taxonomies": taxonomies}

    def artifacts(self, raw: dict[str, Any]) -> list[dict[str, Any]]:
        """Return attachments, addresses, URLs and the hops' public addresses, each once."""
        most = int(self.get_param("config.max_attachments", 100))
        pairs = zip(raw["attachments"], self.contents, strict=True)
        distinct = {attachment["sha256"]: (attachment, content) for attachment, content in pairs}
        files = [
            self.make_file(attachment, content) for attachment, content in list(distinct.values())[:most]
        ]
        addresses = dict.fromkeys(entry["address"] for field in raw["addresses"].values() for entry in field)
        urls = dict.fromkeys(
            link["url"] for link in raw["links"] if link["url"].lower().startswith(("http", "ftp"))
        )
        hops = dict.fromkeys(address for hop in raw["hops"] for address in hop["addresses"])
        values = [("mail", addresses), ("url", urls), ("ip", hops)]
        return [*files, *(self.build_artifact(kind, value) for kind, found in values for value in found)]

    def make_file(self, attachment: dict[str, Any], content: bytes) -> dict[str, Any]:
        """Write an attachment into the output folder, under a name of our own making."""
        handle, path = tempfile.mkstemp(prefix="attachment-", dir=Path(self.job_directory) / "output")
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        return {
            "dataType": "file",
            "file": Path(path).name,
            "filename": attachment["safe_name"],
            "contentType": attachment["content_type"],
        }


def parse(content: bytes) -> mailparser.MailParser:
    """Return the parsed mail. Raises: ValueError, where it is none."""
    if content.startswith(OUTLOOK_START):
        raise ValueError("an Outlook file; save it as .eml")
    mail = mailparser.parse_from_bytes(without_mark(content))
    if not MAIL_FIELDS & {name.lower() for name in mail.message.keys()}:  # noqa: SIM118
        raise ValueError("it has no header of a mail")
    return mail


def without_mark(content: bytes) -> bytes:
    """Return a mail that an editor has saved with a byte order mark as it was before, in UTF-8 where it was UTF-16."""
    for mark, encoding in UTF16.items():
        if content.startswith(mark):
            return content.removeprefix(mark).decode(encoding, "replace").encode(errors="replace")
    return content.removeprefix(codecs.BOM_UTF8)


def describe(mail: mailparser.MailParser, contents: list[bytes]) -> dict[str, Any]:
    """Return the full report."""
    addresses = read_addresses(mail)
    links = find_links(mail.text_html, mail.text_plain)
    attachments = [
        describe_attachment(attachment, content)
        for attachment, content in zip(mail.attachments, contents, strict=True)
    ]
    return {
        "subject": mail.subject,
        "date": mail.date.isoformat() if mail.date else None,
        "message_id": mail.message_id,
        "addresses": addresses,
        "headers": [[name, str(value)] for name, value in mail.message.items()],
        "hops": [describe_hop(hop) for hop in mail.received],
        "authentication": read_authentication(mail.message.get_all("authentication-results", [])),
        "text": "\n".join(mail.text_plain)[:BODY_CHARACTERS],
        "html": "\n".join(mail.text_html)[:BODY_CHARACTERS],
        "links": links,
        "attachments": attachments,
        "defects": sorted(mail.defects_categories),
        "findings": [*find_in_addresses(addresses), *find_in_links(links), *find_in_attachments(attachments)],
    }


def read_addresses(mail: mailparser.MailParser) -> dict[str, list[dict[str, str]]]:
    """Return the addresses of each field that has some."""
    fields = {}
    for field in ADDRESS_FIELDS:
        pairs = mailparser.utils.get_addresses(mail.message.get(field, ""), decode_names=True)
        entries = [{"name": name, "address": address} for name, address in pairs if "@" in address]
        if entries:
            fields[field] = entries
    return fields


def describe_hop(hop: dict[str, Any]) -> dict[str, Any]:
    """Return one Received header, the oldest first, with the public addresses of its sending side."""
    fields = {name: hop.get(name) for name in ("hop", "from", "by", "with", "for", "id", "date_utc", "delay")}
    return {**fields, "addresses": list(find_public(str(hop.get("from", ""))))}


def find_public(text: str) -> Iterator[str]:
    """Yield the addresses in a Received header's clause that are routed on the Internet."""
    for word in re.findall(r"[0-9a-fA-F:.]{3,45}", text.replace("IPv6:", " ")):
        try:
            address = ipaddress.ip_address(word)
        except ValueError:
            continue
        if address.is_global:
            yield str(address)


def read_authentication(headers: list[Any]) -> dict[str, Any]:
    """Return the results of the topmost header: those further down may be the sender's own invention."""
    results: dict[str, str] = {}
    for method, result in (
        METHOD_RESULT.findall(re.sub(r"\([^()]*\)", "", str(headers[0]))) if headers else []
    ):
        results.setdefault(method.lower(), result.lower())
    return {"results": results, "headers": [str(header) for header in headers]}


def read_content(attachment: dict[str, Any]) -> bytes:
    """Return an attachment's bytes, as far as broken base64 lets them be read."""
    payload = str(attachment["payload"])
    if not attachment["binary"]:
        return payload.encode("utf-8", "surrogateescape")
    letters = re.sub(r"[^A-Za-z0-9+/]", "", payload)
    letters = letters[: len(letters) - (len(letters) % 4 == 1)]
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4))
    except binascii.Error:
        return payload.encode("utf-8", "replace")


def describe_attachment(attachment: dict[str, Any], content: bytes) -> dict[str, Any]:
    """Return an attachment without its content."""
    return {
        "name": attachment["filename"],
        "safe_name": to_safe_name(str(attachment["filename"])),
        "content_type": attachment["mail_content_type"],
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def to_safe_name(name: str) -> str:
    """Return the name's last part, of at most 200 characters, without what no file should be called."""
    last = FORBIDDEN.sub("_", re.split(r"[/\\]", name)[-1]).strip(". ")
    return last[-200:] or "attachment"


def find_in_addresses(addresses: dict[str, list[dict[str, str]]]) -> Iterator[dict[str, str]]:
    """Yield answers that go elsewhere, and display names that show another address."""
    senders = addresses.get("from", [])
    domains = {get_domain(sender["address"]) for sender in senders}
    for field in ("reply-to", "return-path"):
        for entry in addresses.get(field, []):
            if domains and get_domain(entry["address"]) not in domains:
                yield {"code": field, "text": f"{field} {entry['address']} is not of the sender's domain"}
    for sender in senders:
        shown = re.search(r"[\w.+-]+@[\w.-]+", sender["name"][:NAME_CHARACTERS])
        if shown and shown[0].lower() != sender["address"].lower():
            yield {"code": "display-name", "text": f"{sender['address']} calls itself {shown[0]}"}


def get_domain(address: str) -> str:
    """Return an address's domain."""
    return address.rpartition("@")[2].lower()


def find_in_links(links: list[dict[str, Any]]) -> Iterator[dict[str, str]]:
    """Yield links that show one host and lead to another."""
    for link in links:
        if link["misleading"]:
            yield {"code": "link", "text": f"shows {link['text']!r}, leads to {link['url']}"}


def find_in_attachments(attachments: list[dict[str, Any]]) -> Iterator[dict[str, str]]:
    """Yield attachments whose names mean harm to whoever saves them."""
    for attachment in attachments:
        name = str(attachment["name"])
        if re.search(r"[/\\\x00-\x1f\u202a-\u202e\u2066-\u2069]", name):
            yield {"code": "attachment-name", "text": f"an attachment is named {name!a}"}


def clean(value: Any) -> Any:
    """Replace lone surrogates and NUL: neither can be written as UTF-8 or stored as text."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    if isinstance(value, dict):
        return {key: clean(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [clean(entry) for entry in value]
    return value


if __name__ == "__main__":
    MailParser().run()
