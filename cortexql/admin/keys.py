"""The form for a new API key, which an account's page and a user's share."""

from datetime import timedelta

from cortexql import moment
from cortexql.admin.visit import Visit
from cortexql.errors import InvalidInputError
from cortexql.principal import Role
from cortexql.services.api_keys import NewKey


def new_key(visit: Visit) -> NewKey:
    """Return the key that was filled in; no role ticked means all.

    Raises:
        InvalidInputError: no such role, or no such day.
    """
    try:
        roles = frozenset(Role(value) for value in visit.all_given("roles"))
        last_day = moment.day(given) if (given := visit.given("expires")) else None
        end = last_day + timedelta(days=1) if last_day else None
    except (ValueError, OverflowError) as error:
        raise InvalidInputError("give roles from the list, and a day as 2030-12-31") from error
    return NewKey(visit.given("key_name"), roles or None, end)
