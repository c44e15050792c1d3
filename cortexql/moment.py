"""Moments as people and programs write them: RFC 3339 times, and days."""

from datetime import UTC, datetime, time


def parse(text: str) -> datetime:
    """Read a time, in UTC where it names no zone.

    Raises:
        ValueError: it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
        # In UTC at once: at the calendar's ends not every offset can be.
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{str(text)[:64]!r} is not an RFC 3339 time") from error


def day(text: str) -> datetime:
    """Read a day, and return its first moment in UTC.

    Raises:
        ValueError: it is none.
    """
    return datetime.combine(datetime.fromisoformat(text).date(), time(), UTC)
