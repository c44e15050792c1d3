# SPDX-License-Identifier: AGPL-3.0-or-later
"""Webhook: against a server in a thread."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from neuron_harness import run_neuron

NAME = "responders/Webhook/Webhook"
CASE = {"_type": "case", "caseId": 12, "title": "Bücher", "tags": ["a"]}


class Receiver(ThreadingHTTPServer):
    """A server that keeps what it was sent and answers `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.received: list[tuple[str, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        """Return where it listens."""
        return f"http://127.0.0.1:{self.server_port}/hook"


class Handler(BaseHTTPRequestHandler):
    """Keep one request."""

    server: Receiver

    def do_POST(self) -> None:
        """Answer as the receiver was told."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, dict(self.headers.items()), body))
        self.send_response(self.server.status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(b"thanks")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Yield a listening server."""
    with Receiver() as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_case_is_posted_signed_and_tagged(tmp_path: Path, receiver: Receiver) -> None:
    config = {"url": receiver.url, "secret": "s3cret"}
    done = run_neuron(tmp_path, NAME, dataType="thehive:case", data=CASE, tlp=3, message="now", config=config)
    [(path, headers, body)] = receiver.received
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    assert json.loads(body) == {
        "dataType": "thehive:case",
        "data": CASE,
        "tlp": 3,
        "pap": 2,
        "message": "now",
    }
    assert headers["X-Signature-256"] == "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert (path, headers["Content-Type"]) == ("/hook", "application/json")
    assert done.output == {
        "success": True,
        "full": {
            "message": f"sent to {receiver.url}",
            "status": 200,
            "answer": "thanks",
            "sha256": hashlib.sha256(body).hexdigest(),
        },
        "operations": [{"type": "AddTagToCase", "tag": "webhook:sent"}],
    }


@pytest.mark.parametrize(
    ("data_type", "operations"),
    [
        ("thehive:alert", ["AddTagToAlert"]),
        ("thehive:case_artifact", ["AddTagToArtifact"]),
        ("thehive:case_task", ["AddTagToCase"]),
        ("thehive:case_task_log", ["AddTagToCase"]),
        ("ip", []),
    ],
)
def test_each_type_has_its_operation(
    tmp_path: Path, receiver: Receiver, data_type: str, operations: list[str]
) -> None:
    data = "192.0.2.1" if data_type == "ip" else {"title": "x"}
    done = run_neuron(tmp_path, NAME, dataType=data_type, data=data, config={"url": receiver.url})
    assert [operation["type"] for operation in done.output["operations"]] == operations
    assert json.loads(receiver.received[0][2])["data"] == data
    assert "X-Signature-256" not in receiver.received[0][1]


@pytest.mark.parametrize(
    ("status", "reason"), [(500, "Internal Server Error"), (302, "Found"), (404, "Not Found")]
)
def test_other_answer_is_an_error(tmp_path: Path, receiver: Receiver, status: int, reason: str) -> None:
    receiver.status = status
    config = {"url": receiver.url, "secret": "s3cret"}
    done = run_neuron(tmp_path, NAME, dataType="thehive:case", data=CASE, config=config)
    assert (done.code, done.output["errorMessage"]) == (1, f"{receiver.url} answered {status} {reason}")
    assert len(receiver.received) == 1
    assert "s3cret" not in json.dumps(done.output)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "no url is configured"),
        ({"url": "http://127.0.0.1:9/"}, "nothing was sent: ConnectionError: "),
        ({"url": "nonsense"}, "nothing was sent: MissingSchema: "),
    ],
)
def test_no_receiver_is_an_error(tmp_path: Path, config: dict[str, str], message: str) -> None:
    done = run_neuron(tmp_path, NAME, dataType="thehive:case", data=CASE, config=config)
    assert done.code == 1
    assert done.output["errorMessage"].startswith(message)
