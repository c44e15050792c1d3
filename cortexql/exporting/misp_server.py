"""Observables to a MISP server, by MISP's own library: one event, written by one request.

PyMISP asks by requests, in a thread; what it asks goes through the guarded transport all the same: over the
instance's authorities and proxies, to addresses that were checked, and nowhere else.
"""

import asyncio
import io
import logging
import time
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import httpx2
import requests
from pymisp import MISPEvent, PyMISP
from pymisp.exceptions import PyMISPError
from requests.adapters import BaseAdapter

from cortexql.errors import InvalidInputError, OtherServerError
from cortexql.exporting import forms, misp_event
from cortexql.models import WatchedServer
from cortexql.outbound import GuardedTransport, OutboundError
from cortexql.principal import Permission, Principal, system
from cortexql.resources import Resources
from cortexql.secrets import SecretLostError
from cortexql.services import audit, exports, network, watching
from cortexql.services.observables import ObservableFilter

_SECONDS = 60.0
# It answers with the whole event.
_MAX_ANSWER_BYTES = 32 * 2**20
_SAID = 300
# It writes whole requests and answers of faults there, observables and all.
logging.getLogger("pymisp").setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True, slots=True)
class Order:
    """What to send where. What is stricter than `max_tlp` stays here."""

    server_id: int
    wanted: ObservableFilter
    max_tlp: int = 2


@dataclass(frozen=True, slots=True)
class Sent:
    """The event's UUID, how many attributes it has of ours, how many observables stayed for their TLP."""

    event: str
    attributes: int
    left_out: int
    is_new: bool


async def send(resources: Resources, principal: Principal, order: Order) -> Sent:
    """Write an event of what a filter selects, or bring the one that was written before up to date.

    Raises:
        NotFoundError: there is no such server that is sent to.
        InvalidInputError: nothing is left to be sent.
        OtherServerError: it does not answer, not as MISP does, or did not take all; the message says what is there.
    """
    principal.require(Permission.JOB_SUBMIT)
    async with forms.turn:
        async with resources.transactions(principal) as tx:
            server = await watching.get_receiver(tx, order.server_id)
            found = await exports.read(tx, order.wanted)
        kept = [row for row in found.rows if row.tlp <= order.max_tlp]
        if not kept:
            raise InvalidInputError("no observable fits that may be sent by its TLP", field=("filter",))
        event = await asyncio.to_thread(
            misp_event.event, replace(found, rows=kept), forms.in_words(order.wanted)
        )
        is_new = await _write(resources, server, event)
    async with resources.transactions(principal) as tx:
        await audit.note_sent(tx, server.name, str(event.uuid), len(kept))
    return Sent(str(event.uuid), len(kept), len(found.rows) - len(kept), is_new)


async def _write(resources: Resources, server: WatchedServer, event: MISPEvent) -> bool:
    try:
        async with resources.transactions(system("misp")) as tx:
            outside = await network.of(tx, resources.cipher)
        key = resources.cipher.decrypt(server.password or "")
        transport = GuardedTransport(outside, resources.settings.outbound_allow, max_bytes=_MAX_ANSWER_BYTES)
    except (OutboundError, SecretLostError) as error:
        raise OtherServerError(f"{server.name}: {error}") from error
    adapter = _Adapter(transport, asyncio.get_running_loop(), server.url)
    try:
        return await asyncio.to_thread(_send, server, key, adapter, event)
    except PyMISPError as error:
        # What it was last refused by says more than PyMISP's words about it.
        said = adapter.fault or _plain(str(error).replace(key, "…"))
        raise OtherServerError(f"{server.name}: {said}") from error
    except (_RefusedError, requests.RequestException) as error:
        raise OtherServerError(f"{server.name}: {_plain(str(error))}") from error
    finally:
        await transport.aclose()


def _send(server: WatchedServer, key: str, adapter: "_Adapter", event: MISPEvent) -> bool:
    """Write the event in a thread; return whether it is new there."""
    misp = _Client(f"{server.url}/", key, adapter)
    if unknown := {attribute.type for attribute in event.attributes} - set(misp.types):
        raise _RefusedError(f"it knows no attribute of type {min(unknown)}: nothing was sent")
    is_new = not misp.event_exists(event)
    answer: Any = misp.add_event(event) if is_new else misp.update_event(event)
    if "errors" in answer:
        raise _RefusedError(f"it took nothing: {answer['errors']}")
    _check_taken(event, answer)
    return is_new


class _RefusedError(Exception):
    """The MISP does not take it; the message says why."""


def _check_taken(event: MISPEvent, answer: Any) -> None:
    """Look at what the answer says is there: a MISP passes over an attribute that it does not like, and goes on."""
    written = answer.get("Event", {}) if isinstance(answer, dict) else {}
    rows = written.get("Attribute", []) if isinstance(written, dict) else []
    there = {row.get("uuid") for row in rows if isinstance(row, dict)}
    missing = [attribute for attribute in event.attributes if attribute.uuid not in there]
    if missing:
        raise _RefusedError(
            f"it did not take {len(missing)} of {len(event.attributes)} attributes, the first of type "
            f"{missing[0].type}; the others are in its event {event.uuid}, unpublished. Sent again, none is doubled"
        )


class _Client(PyMISP):
    """PyMISP with one way outside; it takes one for https alone, and asks as soon as it is made."""

    def __init__(self, url: str, key: str, adapter: "_Adapter") -> None:
        self._adapter = adapter
        super().__init__(url, key, https_adapter=adapter, timeout=_SECONDS)

    def _prepare_request(self, *args: Any, **kwargs: Any) -> requests.Response:
        session: requests.Session = self._PyMISP__session  # type: ignore[attr-defined]
        # No .netrc, no proxy of the environment: the transport decides.
        session.trust_env = False
        session.mount("http://", self._adapter)
        return super()._prepare_request(*args, **kwargs)


class _Adapter(BaseAdapter):
    """Takes the requests of a thread to the transport on the loop, within a time for all of them."""

    def __init__(self, transport: GuardedTransport, loop: asyncio.AbstractEventLoop, url: str) -> None:
        super().__init__()
        self._transport, self._loop = transport, loop
        self._host = urlsplit(url).netloc
        self._until = time.monotonic() + _SECONDS
        self.fault = ""

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        try:
            return self._answer(request)
        except (OutboundError, httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, OSError) as error:
            said = str(error) or f"does not answer within {_SECONDS:g} s"
            self.fault = said if isinstance(error, OutboundError) else f"it does not answer: {_plain(said)}"
            raise requests.ConnectionError(self.fault) from error

    def close(self) -> None:
        """Nothing is kept open."""

    def _answer(self, request: requests.PreparedRequest) -> requests.Response:
        body = request.body.encode() if isinstance(request.body, str) else request.body
        assert isinstance(body, bytes | None)
        headers = {str(name): _text(value) for name, value in request.headers.items()}
        asked = httpx2.Request(str(request.method), str(request.url), headers=headers, content=body)
        asking = asyncio.run_coroutine_threadsafe(self._transport.handle_async_request(asked), self._loop)
        try:
            answer = asking.result(max(self._until - time.monotonic(), 0))
        except TimeoutError:
            asking.cancel()
            raise
        if answer.is_redirect:
            # The key goes nowhere else.
            raise OutboundError(f"it answers {answer.status_code}, and sends elsewhere")
        if not answer.is_success and answer.status_code != httpx2.codes.NOT_FOUND:
            self.fault = f"it answers {answer.status_code}"
        made = requests.Response()
        made.status_code, made.url, made.request = answer.status_code, str(request.url), request
        made.headers.update(answer.headers)
        made.raw = io.BytesIO(answer.content)
        made.encoding = "utf-8"
        return made


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _plain(said: str) -> str:
    return "".join(c for c in said if c.isprintable())[:_SAID]
