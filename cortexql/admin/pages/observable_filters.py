"""Which observables a page's address or form selects."""

from collections.abc import Mapping, Sequence

from cortexql.errors import InvalidInputError
from cortexql.models import Level
from cortexql.services.observables import ObservableFilter

NAMES = ("search", "data_type", "level", "ioc", "sighted")
_BOOLEANS = {"yes": True, "no": False}


def to_filter(
    given: Mapping[str, str], *, ids: Sequence[int] | None = None, jobs: Sequence[int] | None = None
) -> ObservableFilter:
    """Take a filter.

    Raises:
        InvalidInputError: there is no such verdict, or neither yes nor no.
    """
    try:
        return ObservableFilter(
            ids=ids,
            jobs=jobs,
            search=given.get("search"),
            data_types=[given["data_type"]] if "data_type" in given else None,
            verdicts=[Level(given["level"])] if "level" in given else None,
            ioc=_BOOLEANS[given["ioc"]] if "ioc" in given else None,
            sighted=_BOOLEANS[given["sighted"]] if "sighted" in given else None,
        )
    except (KeyError, ValueError) as error:
        raise InvalidInputError(f"there is no such filter: {error}") from error
