#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""Post the object as JSON to a URL, signed if a secret is set."""

import hashlib
import hmac
import json
from typing import Any

import requests
from cortexutils.responder import Responder

SIGNATURE_HEADER = "X-Signature-256"
OPERATIONS = {
    "thehive:case": "AddTagToCase",
    "thehive:case_task": "AddTagToCase",
    "thehive:case_task_log": "AddTagToCase",
    "thehive:case_artifact": "AddTagToArtifact",
    "thehive:alert": "AddTagToAlert",
}
MOST_ANSWER_CHARACTERS = 500


class Webhook(Responder):  # type: ignore[misc]
    """A responder that follows no redirect: the object goes where the administrator said, or nowhere."""

    def run(self) -> None:
        """Post, and report what the other side answered."""
        url = self.get_param("config.url", None, "no url is configured")
        body = self.build_body()
        try:
            answer = self.post(url, body)
        except (requests.RequestException, ValueError) as error:
            self.error(f"nothing was sent: {type(error).__name__}: {error}")
        if not 200 <= answer.status_code < 300:
            self.error(f"{url} answered {answer.status_code} {answer.reason}")
        self.report(
            {
                "message": f"sent to {url}",
                "status": answer.status_code,
                "answer": answer.text[:MOST_ANSWER_CHARACTERS],
                "sha256": hashlib.sha256(body).hexdigest(),
            }
        )

    def build_body(self) -> bytes:
        """Return the body: the object and what it is."""
        body = {
            "dataType": self.data_type,
            "data": self.get_data(),
            "tlp": self.tlp,
            "pap": self.pap,
            "message": self.get_param("message", ""),
        }
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")

    def post(self, url: str, body: bytes) -> requests.Response:
        """Post the body. Raises: RequestException."""
        headers = {"Content-Type": "application/json", "User-Agent": "CortexQL-Webhook/1.0"}
        secret = self.get_param("config.secret")
        if secret:
            headers[SIGNATURE_HEADER] = sign(secret, body)
        return requests.post(
            url,
            data=body,
            headers=headers,
            timeout=float(self.get_param("config.timeout", 10)),
            verify=self.get_param("config.verify_tls", default=True),
            allow_redirects=False,
        )

    def operations(self, raw: dict[str, Any]) -> list[dict[str, Any]]:
        """Tag what was sent."""
        operation = OPERATIONS.get(self.data_type)
        return [self.build_operation(operation, tag="webhook:sent")] if operation else []


def sign(secret: str, body: bytes) -> str:
    """Return `sha256=` and the body's HMAC-SHA256 in hexadecimal, as GitHub's webhooks have it."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


if __name__ == "__main__":
    Webhook().run()
