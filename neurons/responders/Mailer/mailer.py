#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Send a case, alert, observable, task or task log by mail."""

import json
import os
import smtplib
import socket
import ssl
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any

from cortexutils.responder import Responder

OPERATIONS = {
    "thehive:case": "AddTagToCase",
    "thehive:case_task": "AddTagToCase",
    "thehive:case_task_log": "AddTagToCase",
    "thehive:case_artifact": "AddTagToArtifact",
    "thehive:alert": "AddTagToAlert",
}
# What a reader wants first, where the object has it.
FIELDS = (
    "title",
    "dataType",
    "data",
    "description",
    "message",
    "severity",
    "status",
    "tlp",
    "pap",
    "tags",
    "owner",
)
SUBJECT_CHARACTERS = 150


class Mailer(Responder):  # type: ignore[misc]
    """A responder that sends one mail to all recipients, or fails for all of them."""

    def run(self) -> None:
        """Send, and report to whom."""
        if self.data_type not in OPERATIONS:
            self.error(f"Mailer takes {', '.join(OPERATIONS)}, not {self.data_type}")
        recipients = [address for address in self.get_param("config.to", []) if address]
        if not recipients:
            self.error("no recipient is configured")
        try:
            mail = self.write(recipients)
            self.send(mail)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            self.error(f"nothing was sent: {type(error).__name__}: {error}")
        self.report(
            {
                "message": f"sent to {', '.join(recipients)}",
                "subject": mail["Subject"],
                "message_id": mail["Message-ID"],
            }
        )

    def write(self, recipients: list[str]) -> EmailMessage:
        """Return the mail."""
        data = self.get_data()
        mail = EmailMessage()
        mail["From"] = self.get_param("config.from", None, "no sender is configured")
        mail["To"] = ", ".join(recipients)
        mail["Subject"] = write_subject(self.data_type, data)
        mail["Date"] = formatdate()
        # The default domain would ask the DNS.
        mail["Message-ID"] = make_msgid(domain=mail["From"].addresses[0].domain or "localhost")
        mail.set_content(write_body(data, self.get_param("message", "")))
        return mail

    def send(self, mail: EmailMessage) -> None:
        """Hand the mail to the server. Raises: OSError, SMTPException, ValueError."""
        user = self.get_param("config.smtp_user")
        with self.connect() as server:
            if user:
                server.login(user, self.get_param("config.smtp_pwd", ""))
            refused = server.send_message(mail)
        if refused:
            raise ValueError(f"the server refused {', '.join(refused)}")

    def connect(self) -> smtplib.SMTP:
        """Return a connection, encrypted as configured."""
        tls = self.get_param("config.tls", "starttls")
        if tls not in ("none", "starttls", "implicit"):
            raise ValueError(f"tls is none, starttls or implicit, not {tls!r}")
        host = self.get_param("config.smtp_host", None, "no smtp_host is configured")
        port = int(self.get_param("config.smtp_port", 25))
        timeout = float(self.get_param("config.timeout", 30))
        # The default name in HELO would ask the DNS.
        name = socket.gethostname()
        if tls == "implicit":
            return smtplib.SMTP_SSL(host, port, local_hostname=name, timeout=timeout, context=make_context())
        server = smtplib.SMTP(host, port, local_hostname=name, timeout=timeout)
        if tls == "starttls":
            server.starttls(context=make_context())
        return server

    def operations(self, raw: dict[str, Any]) -> list[dict[str, Any]]:
        """Tag what was sent."""
        return [self.build_operation(OPERATIONS[self.data_type], tag="mailer:sent")]


def make_context() -> ssl.SSLContext:
    """Return a context that trusts the neuron's own CA certificates, if some are configured."""
    return ssl.create_default_context(cafile=os.environ.get("REQUESTS_CA_BUNDLE"))


def write_subject(data_type: str, data: dict[str, Any]) -> str:
    """Return `[case #12] Title`, in one line."""
    kind = data_type.removeprefix("thehive:").replace("_", " ")
    number = f" #{data['caseId']}" if "caseId" in data else ""
    title = data.get("title") or data.get("data") or data.get("message") or "without a title"
    return f"[{kind}{number}] {' '.join(str(title).split())}"[:SUBJECT_CHARACTERS]


def write_body(data: dict[str, Any], message: str) -> str:
    """Return the message, the main fields, and the whole object."""
    lines = [f"{name}: {show(data[name])}" for name in FIELDS if data.get(name) not in (None, "", [])]
    parts = [message, "\n".join(lines), json.dumps(data, ensure_ascii=False, indent=2)]
    return "\n\n".join(part for part in parts if part) + "\n"


def show(value: Any) -> str:
    """Return a field's value as text."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    Mailer().run()
