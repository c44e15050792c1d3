"""How many connections a user may hold open at once, in this process."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from cortexql.errors import RateLimitedError
from cortexql.principal import Principal


class Places:
    """At most so many for each user."""

    def __init__(self, most: int) -> None:
        """Begin with all free."""
        self._most = most
        self._taken: Counter[int | None] = Counter()

    def check(self, principal: Principal) -> None:
        """Raise RateLimitedError unless a place is free."""
        if self._taken[principal.user_id] >= self._most:
            raise RateLimitedError(f"a user has at most {self._most} of these open at once; close one first")

    @contextmanager
    def hold(self, principal: Principal) -> Iterator[None]:
        """Take a place until the block ends; whether one is free is checked before."""
        self._taken[principal.user_id] += 1
        try:
            yield
        finally:
            self._taken[principal.user_id] -= 1
            if not self._taken[principal.user_id]:
                del self._taken[principal.user_id]
