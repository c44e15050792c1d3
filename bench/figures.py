"""Samples, and the table that sets them against their floor and the targets."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from rich.console import Console
from rich.table import Table


@dataclass(slots=True)
class Series:
    """Measurements of one way to run a neuron; rates are jobs a second, a figure a round, latencies seconds."""

    rates: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Return the median round's rate."""
        return median(self.rates)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One runner beside its floor. `alone` is the runner without database, queue and web server."""

    name: str
    target_ratio: float
    floor: Series
    alone: Series
    engine: Series


# Added to the floor's latency at the median, on an idle machine.
TARGET_ADDED_SECONDS = 0.06


def percentile(samples: Sequence[float], percent: int) -> float:
    """Return the sample below which so many percent lie (nearest rank)."""
    ordered = sorted(samples)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def show(console: Console, comparisons: Sequence[Comparison]) -> None:
    """Print throughput and latency, and whether the targets are met."""
    table = Table("", "jobs/s", "rounds", "of floor", "median", "p95", "added", box=None, header_style="bold")
    verdicts: list[str] = []
    for compared in comparisons:
        for kind, series in (
            ("floor", compared.floor),
            ("runner alone", compared.alone),
            ("CortexQL", compared.engine),
        ):
            table.add_row(f"{compared.name}: {kind}", *_cells(series, compared.floor))
        verdicts += _verdicts(compared)
    console.print(table)
    for verdict in verdicts:
        console.print(verdict, markup=False, highlight=False)


def _cells(series: Series, floor: Series) -> tuple[str, ...]:
    added = median(series.latencies) - median(floor.latencies)
    return (
        f"{series.rate:.1f}",
        " ".join(f"{rate:.1f}" for rate in series.rates),
        f"{series.rate / floor.rate:.2f}",
        _milliseconds(median(series.latencies)),
        _milliseconds(percentile(series.latencies, 95)),
        "" if series is floor else _milliseconds(added),
    )


def _verdicts(compared: Comparison) -> list[str]:
    ratio = compared.engine.rate / compared.floor.rate
    added = median(compared.engine.latencies) - median(compared.floor.latencies)
    return [
        (
            f"{compared.name}: throughput {ratio:.2f} of the floor's, target at least {compared.target_ratio:.2f}: "
            f"{_met(met=ratio >= compared.target_ratio)}"
        ),
        (
            f"{compared.name}: added latency {_milliseconds(added)} at the median, target at most "
            f"{_milliseconds(TARGET_ADDED_SECONDS)}: {_met(met=added <= TARGET_ADDED_SECONDS)}"
        ),
    ]


def _met(*, met: bool) -> str:
    return "met" if met else "MISSED"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
