"""Limits on the requests of a credential and of an address: token buckets in this process."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from starlette.requests import HTTPConnection

from cortexql.auth import session
from cortexql.auth.address import address_of

# An office is one address to us.
_WIDE = 10
_MOST_BUCKETS = 10_000


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Rates:
    """At most `per_minute` requests of a credential, and ten times as many of an address; 0: any number.

    A whole minute's requests may come at once. Each web server counts for itself; what was not seen for the longest
    is forgotten first.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with full buckets."""
        self._per_minute = per_minute
        self._clock = clock
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def take(self, connection: HTTPConnection) -> int:
        """Count a request; return 0, or in how many seconds it may be tried again."""
        if not self._per_minute:
            return 0
        wait = self._take(("address", address_of(connection)), self._per_minute * _WIDE)
        shown = connection.headers.get("authorization") or connection.cookies.get(session.COOKIE)
        if shown and not wait:
            scheme, _, credential = shown.strip().partition(" ")
            # The hash alone: no credential is kept.
            wait = self._take(("credential", hash((scheme.lower(), credential.strip()))), self._per_minute)
        return wait

    def _take(self, key: Hashable, per_minute: int) -> int:
        now = self._clock()
        bucket = self._buckets.setdefault(key, _Bucket(per_minute, now))
        self._buckets.move_to_end(key)
        if len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)
        bucket.left = min(per_minute, bucket.left + (now - bucket.at) * per_minute / 60)
        bucket.at = now
        if bucket.left < 1:
            return math.ceil((1 - bucket.left) * 60 / per_minute)
        bucket.left -= 1
        return 0
