# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mailer: against an SMTP server in a thread."""

import json
import socket
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword
from neuron_harness import run_neuron

NAME = "responders/Mailer/Mailer"
CASE = {
    "caseId": 12,
    "title": "Bücher\r\nBcc: x@evil.org",
    "severity": 2,
    "tags": ["a", "b"],
    "description": "",
}


class Postbox:
    """Keep what arrives; refuse one recipient."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    async def handle_RCPT(  # noqa: N802
        self, _server: Any, _session: Any, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Take every recipient but nobody@."""
        if address.startswith("nobody@"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: N802
        """Keep the mail."""
        self.envelopes.append(envelope)
        return "250 OK"


def authenticate(_server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> AuthResult:
    """Let bob in."""
    is_bob = isinstance(given, LoginPassword) and (given.login, given.password) == (b"bob", b"pw")
    return AuthResult(success=is_bob, handled=False)


@pytest.fixture
def server() -> Iterator[Controller]:
    """Yield a listening server."""
    controller = Controller(
        Postbox(),
        hostname="127.0.0.1",
        port=find_free_port(),
        authenticator=authenticate,
        auth_require_tls=False,
    )
    controller.start()
    yield controller
    controller.stop()


def find_free_port() -> int:
    """Return a port nobody listens on; the controller cannot choose one itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings(server: Controller, **others: Any) -> dict[str, Any]:
    """Return a configuration that sends to the server."""
    sender = {"from": "Cortex <cortex@corp.org>", "to": ["a@corp.org", "b@corp.org"]}
    return {"smtp_host": "127.0.0.1", "smtp_port": server.port, "tls": "none", **sender, **others}


def read(envelope: Envelope) -> EmailMessage:
    """Return the mail of an envelope."""
    assert isinstance(envelope.content, bytes)
    mail = message_from_bytes(envelope.content, policy=policy.default)
    assert isinstance(mail, EmailMessage)
    return mail


def test_case_is_sent_and_tagged(tmp_path: Path, server: Controller) -> None:
    done = run_neuron(
        tmp_path, NAME, dataType="thehive:case", data=CASE, message="look", config=settings(server)
    )
    [envelope] = server.handler.envelopes
    mail = read(envelope)
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    assert (envelope.mail_from, envelope.rcpt_tos) == ("cortex@corp.org", ["a@corp.org", "b@corp.org"])
    assert (mail["From"], mail["To"]) == ("Cortex <cortex@corp.org>", "a@corp.org, b@corp.org")
    assert (mail["Subject"], mail["Bcc"]) == ("[case #12] Bücher Bcc: x@evil.org", None)
    head, fields, whole = mail.get_content().replace("\r\n", "\n").split("\n\n", 2)
    assert (head, fields.splitlines()[-2:]) == ("look", ["severity: 2", "tags: a, b"])
    assert json.loads(whole) == CASE
    assert done.output == {
        "success": True,
        "full": {
            "message": "sent to a@corp.org, b@corp.org",
            "subject": "[case #12] Bücher Bcc: x@evil.org",
            "message_id": mail["Message-ID"],
        },
        "operations": [{"type": "AddTagToCase", "tag": "mailer:sent"}],
    }


@pytest.mark.parametrize(
    ("data_type", "data", "subject", "operation"),
    [
        ("thehive:alert", {"title": "t"}, "[alert] t", "AddTagToAlert"),
        (
            "thehive:case_artifact",
            {"dataType": "ip", "data": "192.0.2.1"},
            "[case artifact] 192.0.2.1",
            "AddTagToArtifact",
        ),
        ("thehive:case_task", {"title": "call"}, "[case task] call", "AddTagToCase"),
        ("thehive:case_task_log", {"message": "done"}, "[case task log] done", "AddTagToCase"),
        ("thehive:case", {}, "[case] without a title", "AddTagToCase"),
    ],
)
def test_each_type_has_subject_and_operation(
    tmp_path: Path, server: Controller, data_type: str, data: dict[str, Any], subject: str, operation: str
) -> None:
    done = run_neuron(tmp_path, NAME, dataType=data_type, data=data, config=settings(server))
    assert read(server.handler.envelopes[0])["Subject"] == subject
    assert done.output["operations"] == [{"type": operation, "tag": "mailer:sent"}]


def test_login_is_made_when_configured(tmp_path: Path, server: Controller) -> None:
    good = settings(server, smtp_user="bob", smtp_pwd="pw")
    bad = settings(server, smtp_user="bob", smtp_pwd="no")
    first = run_neuron(tmp_path / "1", NAME, dataType="thehive:case", data=CASE, config=good)
    second = run_neuron(tmp_path / "2", NAME, dataType="thehive:case", data=CASE, config=bad)
    assert first.output["success"] is True
    assert second.output["errorMessage"].startswith("nothing was sent: SMTPAuthenticationError: ")
    assert len(server.handler.envelopes) == 1


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"to": []}, "no recipient is configured"),
        ({"from": None}, "no sender is configured"),
        ({"smtp_host": None}, "no smtp_host is configured"),
        ({"tls": "starttls"}, "nothing was sent: SMTPNotSupportedError: "),
        ({"tls": "maybe"}, "nothing was sent: ValueError: tls is none, starttls or implicit, not 'maybe'"),
        ({"smtp_port": 9}, "nothing was sent: ConnectionRefusedError: "),
        ({"to": ["nobody@corp.org"]}, "nothing was sent: SMTPRecipientsRefused: "),
        ({"to": ["a@corp.org\r\nBcc: x@evil.org"]}, "nothing was sent: ValueError: "),
    ],
)
def test_what_cannot_be_sent_is_an_error(
    tmp_path: Path, server: Controller, others: dict[str, Any], message: str
) -> None:
    config = settings(server, **others)
    done = run_neuron(tmp_path, NAME, dataType="thehive:case", data=CASE, config=config)
    assert done.code == 1
    assert done.output["errorMessage"].startswith(message)
    assert server.handler.envelopes == []


def test_plain_value_is_refused(tmp_path: Path, server: Controller) -> None:
    done = run_neuron(tmp_path, NAME, dataType="ip", data="192.0.2.1", config=settings(server))
    assert done.code == 1
    assert done.output["errorMessage"].startswith("Mailer takes thehive:case, ")
