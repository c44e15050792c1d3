"""A site that clients of Cortex use: a running `cortexql up`, set up by cortex4py alone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from cortex4py.api import Api

from tests.e2e.instances import ADMIN_KEY, started

ROLES = {"ann": ["read", "analyze", "orgadmin"], "bob": ["read", "analyze"], "eve": ["read"]}


@dataclass(frozen=True, slots=True)
class Site:
    """An organization `soc` with an orgadmin, an analyst and a reader; Echo and Webhook are enabled."""

    url: str
    superadmin: Any
    keys: dict[str, str]
    received: list[bytes]

    def api(self, login: str) -> Any:
        """Return a user's client."""
        return Api(self.url, self.keys[login])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Start an instance and set the site up."""
    received: list[bytes] = []
    with started(tmp_path_factory.mktemp("site") / "data") as instance, _receiver(received) as address:
        superadmin: Any = Api(instance.url, ADMIN_KEY)
        superadmin.organizations.create({"name": "soc", "description": "a team"})
        keys: dict[str, str] = {}
        for login, roles in ROLES.items():
            user = {"login": login, "name": login.title(), "roles": roles, "organization": "soc"}
            superadmin.users.create(user)
            keys[login] = superadmin.users.set_key(login)
        admin: Any = Api(instance.url, keys["ann"])
        admin.analyzers.enable("Echo_1_0", {"configuration": {"max_tlp": 2, "check_tlp": True}})
        admin.responders.enable("Webhook_1_0", {"configuration": {"url": address}})
        yield Site(instance.url, superadmin, keys, received)


@contextmanager
def _receiver(received: list[bytes]) -> Iterator[str]:
    """Serve a webhook, keep the bodies that it is sent, and return its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
