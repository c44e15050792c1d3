"""Loaders: what many fields of one query ask for is read in one statement."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol, TypeVar

from sqlmodel import SQLModel, select
from strawberry.dataloader import DataLoader

from cortexql import models
from cortexql.errors import CortexError, TooLargeError
from cortexql.resources import Resources
from cortexql.services import (
    api_keys,
    definitions,
    difference,
    images,
    jobs,
    log,
    neurons,
    page,
    reports,
    scheduling,
    sessions,
    shared_configs,
    sightings,
    usage,
    users,
    workers,
)
from cortexql.services.rows import by_id
from cortexql.transaction import Transaction

Row = TypeVar("Row", bound=SQLModel)
Value = TypeVar("Value")
Positions = tuple[int, datetime | None]


class Opener(Protocol):
    """Opens what reads, with the caller's eyes."""

    resources: Resources

    def reading(self) -> AbstractAsyncContextManager[Transaction]:
        """Open it."""
        ...


class Loaders:
    """All loaders of one request."""

    def __init__(self, opener: Opener) -> None:
        """Make them; nothing is read yet."""
        self._opener = opener
        self.organization = self._by_id(models.Organization)
        self.user = self._by_id(models.User)
        self.attachment = self._by_id(models.Attachment)
        self.observable = self._by_id(models.Observable)
        self.job = self._by_id(models.Job)
        self.definition = self._by_id(models.Definition)
        self.report = self._of(_reports)
        self.quota = self._of(_usages)
        self.has_key = self._of(_has_keys)
        self.api_keys = self._of(api_keys.of_users)
        self.sessions = self._of(self._sessions)
        self.neuron = self._of(_neurons)
        self.configured = self._of(_configured)
        self.secrecy = self._of(shared_configs.secrecy)
        self.enabled_as = self._of(_enabled_as)
        self.newer = self._of(definitions.newer)
        self.quotas = self._of(_quotas)
        self.report_of_job = self._of(reports.by_job)
        self.output = self._of(reports.outputs)
        self.artifacts = self._of(_artifacts)
        self.sightings = self._of(sightings.of_observables)
        self.latest = self._of(reports.latest)
        self.previous = self._of(reports.previous)
        self.changes = DataLoader(load_fn=self._changes, cache=False)
        self.position = self._of(_positions)
        self.runners = self._of(self._runners)
        self.image = self._of(self._images)
        self.total = self._of(page.totals)
        self.quotas_of_organization = self._of(usage.of_organizations)
        self.users_of_organization = self._lists(users.of_organizations)
        self.neurons_of_organization = self._lists(neurons.of_organizations)
        self.jobs_of_neuron = self._lists(jobs.of_neurons)
        self.reports_of_observable = self._lists(reports.of_observables)
        self.events_of_job = self._lists(log.of_jobs)

    async def _sessions(self, tx: Transaction, user_ids: Sequence[int]) -> dict[int, list[models.Session]]:
        return await sessions.of_users(tx, user_ids, self._opener.resources.settings)

    async def _runners(self, tx: Transaction, keys: Sequence[int]) -> dict[int, list[models.RunnerKind]]:
        found = await workers.available_runners(tx, self._opener.resources.settings)
        return dict.fromkeys(keys, found)

    async def _changes(self, report_ids: list[int]) -> list[difference.Patch | TooLargeError | None]:
        async with self._opener.reading() as tx:
            pairs = await reports.pairs(tx, report_ids)
        changes = await reports.changes(pairs)
        return [changes.get(report_id) for report_id in report_ids]

    async def _images(
        self, tx: Transaction, definition_pks: Sequence[int]
    ) -> dict[int, tuple[str, models.Image | None]]:
        return await images.by_definition(tx, definition_pks)

    def _of(
        self, read: Callable[[Transaction, Sequence[Any]], Awaitable[dict[Any, Value]]]
    ) -> DataLoader[Any, Value | None]:
        async def load(keys: list[Any]) -> list[Value | None]:
            async with self._opener.reading() as tx:
                found = await read(tx, keys)
            return [found.get(key) for key in keys]

        # Without a cache: on a WebSocket a context lives long, and what a job has changes meanwhile.
        return DataLoader(load_fn=load, cache=False)

    def _lists(self, read: Callable[..., Awaitable[dict[int, Value]]]) -> DataLoader[tuple[Any, ...], Value]:
        """Make a loader of a list of each of many owners; its keys are an owner and what is asked of the list."""

        async def load(keys: list[tuple[Any, ...]]) -> list[Value | BaseException]:
            found: list[tuple[list[Any], dict[int, Value] | CortexError]] = []
            async with self._opener.reading() as tx:
                # A key's `asked` may be unhashable; a query asks few different ones.
                for _, *asked in keys:
                    if any(asked == known for known, _ in found):
                        continue
                    owners = list(dict.fromkeys(owner for owner, *same in keys if same == asked))
                    try:
                        found.append((asked, await read(tx, owners, *asked)))
                    except CortexError as error:
                        found.append((asked, error))
            answers = [next(lists for known, lists in found if known == asked) for _, *asked in keys]
            return [
                lists if isinstance(lists, CortexError) else lists[owner]
                for lists, (owner, *_) in zip(answers, keys, strict=True)
            ]

        return DataLoader(load_fn=load, cache=False)

    def _by_id(self, table: type[Row]) -> DataLoader[Any, Row | None]:
        async def read(tx: Transaction, ids: Sequence[Any]) -> dict[Any, Row]:
            return await by_id(tx, table, ids)

        return self._of(read)


async def _has_keys(tx: Transaction, user_ids: Sequence[int]) -> dict[int, bool]:
    query = select(models.ApiKey.user_id).where(models.ApiKey.user_id.in_(user_ids))  # type: ignore[attr-defined]
    return dict.fromkeys((await tx.session.scalars(query)).all(), True)


async def _neurons(tx: Transaction, ids: Sequence[int]) -> dict[int, models.Neuron]:
    return {neuron.id: neuron for neuron in await neurons.list_by_id(tx, ids)}


async def _configured(tx: Transaction, ids: Sequence[int]) -> dict[int, neurons.Configured]:
    found = await neurons.list_configured(tx, models.Neuron.id.in_(ids))  # type: ignore[attr-defined]
    return {item.neuron.id: item for item in found}


async def _enabled_as(tx: Transaction, definition_pks: Sequence[int]) -> dict[int, list[models.Neuron]]:
    found: dict[int, list[models.Neuron]] = {pk: [] for pk in definition_pks}
    for neuron in await neurons.list_by_definition(tx, definition_pks):
        found[neuron.definition_pk].append(neuron)
    return found


async def _quotas(tx: Transaction, neuron_ids: Sequence[int]) -> dict[int, list[usage.Usage]]:
    return await usage.of_neurons(tx, await neurons.list_by_id(tx, neuron_ids))


async def _usages(tx: Transaction, quota_ids: Sequence[int]) -> dict[int, usage.Usage]:
    return {one.quota.id: one for one in await usage.of_organization(tx) if one.quota.id in quota_ids}


async def _reports(tx: Transaction, ids: Sequence[int]) -> dict[int, models.Report]:
    return {report.id: report for report in await reports.list_by_id(tx, ids)}


async def _artifacts(tx: Transaction, report_ids: Sequence[int]) -> dict[int, list[models.Artifact]]:
    return await reports.artifacts(tx, report_ids)


async def _positions(tx: Transaction, job_ids: Sequence[int]) -> dict[int, Positions]:
    return await scheduling.positions(tx, job_ids)
