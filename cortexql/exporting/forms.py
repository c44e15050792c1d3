"""The forms of an export: CSV, a STIX 2.1 bundle, a MISP event."""

import asyncio
import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from cortexql.errors import NotFoundError
from cortexql.principal import Principal
from cortexql.services import exports, text
from cortexql.services.exports import Export, Exported
from cortexql.services.observables import ObservableFilter
from cortexql.transaction import Transactions

# Writing is all processor: one at a time, for requests to be answered beside it.
turn = asyncio.Semaphore(1)


@dataclass(frozen=True, slots=True)
class Written:
    """An export as a file; `left_out` counts observables that the form has no word for."""

    content: bytes
    media_type: str
    left_out: int

    def headers(self, name: str) -> dict[str, str]:
        """Return the headers of an answer that sends it under a name."""
        return {
            "Content-Disposition": f"attachment; filename={name}",
            "Cache-Control": "no-store",
            "X-Left-Out": str(self.left_out),
        }


async def write(
    transactions: Transactions, principal: Principal, form: str, wanted: ObservableFilter
) -> Written:
    """Write what a filter selects.

    Raises:
        NotFoundError: there is no such form.
        TooLargeError: more than MAX_OBSERVABLES.
    """
    if form not in _FORMS:
        raise NotFoundError(f"there is no export as {form[:64]}; there are {', '.join(_FORMS)}")
    media_type, to_form = _FORMS[form]
    async with turn:
        async with transactions(principal) as tx:
            found = await exports.read(tx, wanted)
        content, left_out = await asyncio.to_thread(to_form, found, in_words(wanted))
    return Written(content, media_type, left_out)


def in_words(wanted: ObservableFilter) -> str:
    """Return a filter as the address of its export has it: the same filter, the same words."""
    given: dict[str, Sequence[object]] = {
        "id": wanted.ids or [],
        "job": wanted.jobs or [],
        "dataType": wanted.data_types or [],
        "data": [] if wanted.data is None else [wanted.data],
        "search": [wanted.search] if wanted.search else [],
        "verdict": [level.value for level in wanted.verdicts or []],
        "since": [wanted.since.isoformat()] if wanted.since else [],
        "ioc": [] if wanted.ioc is None else [str(wanted.ioc).lower()],
        "sighted": [] if wanted.sighted is None else [str(wanted.sighted).lower()],
    }
    return urlencode(given, doseq=True)


def _to_csv(found: Export, _: str) -> tuple[bytes, int]:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(
        [
            "data_type",
            "value",
            "name",
            "verdict",
            "tlp",
            "ioc",
            "sighted",
            "first_seen",
            "last_seen",
            "reports",
        ]
    )
    for row in found.rows:
        writer.writerow(map(text.no_formula, _cells(row)))
    return out.getvalue().encode(), 0


def _cells(row: Exported) -> list[str]:
    seen = row.observable
    said = [f"{one.neuron_name}={one.level.value if one.level else ''}" for one in row.reports]
    return [
        seen.data_type,
        row.value,
        row.file.name if row.file else "",
        row.verdict.value if row.verdict else "",
        str(row.tlp),
        "yes" if seen.ioc else "no",
        " ".join(sighting.at.isoformat() for sighting in row.sightings),
        seen.first_seen.isoformat(),
        seen.last_seen.isoformat(),
        " ".join(said),
    ]


def _to_stix(found: Export, _: str) -> tuple[bytes, int]:
    # A third of a second to load, which nobody else has to wait for.
    from cortexql.exporting import stix  # noqa: PLC0415

    return stix.bundle(found)


def _to_misp(found: Export, selection: str) -> tuple[bytes, int]:
    from cortexql.exporting import misp_event  # noqa: PLC0415 likewise

    return misp_event.to_file(found, selection), 0


_FORMS: dict[str, tuple[str, Callable[[Export, str], tuple[bytes, int]]]] = {
    "csv": ("text/csv; charset=utf-8", _to_csv),
    "stix.json": ("application/stix+json;version=2.1", _to_stix),
    "misp.json": ("application/json", _to_misp),
}
