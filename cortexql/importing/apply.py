"""Do what a plan says through the services that everybody uses, a step a transaction: a stop leaves none half-done."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from cortexql.errors import CortexError
from cortexql.importing.keys import KeyFile
from cortexql.importing.plan import Fate, NewConfig, NewUser, NewWorker, Plan, Step
from cortexql.importing.source import Organization
from cortexql.models import OrganizationStatus, RateUnit, UserStatus
from cortexql.principal import Principal, Role, system
from cortexql.secrets import Cipher
from cortexql.services import api_keys, neurons, organizations, quotas, shared_configs, users
from cortexql.transaction import Transactions

IMPORT = system("import")


@dataclass(frozen=True, slots=True)
class Done:
    """What was done, and what was refused, with the reason."""

    applied: list[Step] = field(default_factory=list)
    refused: list[tuple[Step, str]] = field(default_factory=list)


# Values that the Cortex masked, by the keys of steps.
Typed = Mapping[tuple[str, str, str], Mapping[str, Any]]


async def apply(transactions: Transactions, cipher: Cipher, plan: Plan, typed: Typed, keys: KeyFile) -> Done:
    """Apply each step that comes.

    What the services refuse is left out with its reason, and comes with the next import once that is mended.
    """
    done = Done()
    for step in plan.steps:
        if step.fate is not Fate.COMES:
            continue
        try:
            await _apply(transactions, cipher, plan.source, step, typed.get(step.key, {}), keys)
        except CortexError as error:
            done.refused.append((step, error.message))
        else:
            done.applied.append(step)
    return done


async def _apply(
    transactions: Transactions,
    cipher: Cipher,
    source: str,
    step: Step,
    typed: Mapping[str, Any],
    keys: KeyFile,
) -> None:
    match step.new:
        case Organization() as new:
            await _organization(transactions, new, source)
        case NewUser() as new:
            await _user(transactions, new, keys)
        case NewConfig() as new:
            async with transactions(await _orgadmin(transactions, step.organization)) as tx:
                await shared_configs.update(tx, new.name, {**new.values, **typed}, cipher)
        case NewWorker() as new:
            new = replace(new, values={**new.values, **typed})
            await _worker(transactions, cipher, new)


async def _organization(transactions: Transactions, new: Organization, source: str) -> None:
    async with transactions(IMPORT) as tx:
        await organizations.create(tx, new.name, new.description, imported_from=source)
        if new.status == "Locked":
            change = organizations.OrganizationChange(status=OrganizationStatus.LOCKED)
            await organizations.update(tx, new.name, change)


async def _user(transactions: Transactions, new: NewUser, keys: KeyFile) -> None:
    user, is_locked = new.user, new.user.status == "Locked"
    async with transactions(IMPORT) as tx:
        created = users.NewUser(user.login, user.name or user.login, new.roles, user.organization)
        await users.create(tx, created)
        if is_locked:
            await users.update(tx, user.login, users.UserChange(status=UserStatus.LOCKED))
        elif user.has_key:
            issued = await api_keys.renew(tx, user.login)
            # Before the commit: a key of the file that counts nowhere is harmless, one that nobody knows is lost.
            keys.add(user.organization, issued.user.login, issued.key)


async def _worker(transactions: Transactions, cipher: Cipher, new: NewWorker) -> None:
    worker = new.worker
    wanted = neurons.NewNeuron(
        new.definition_id,
        worker.name,
        new.values,
        job_timeout=timedelta(minutes=worker.timeout_minutes) if worker.timeout_minutes else None,
        freshness=None if worker.cache_minutes is None else timedelta(minutes=worker.cache_minutes),
        data_types=new.data_types,
        worker_id=new.worker_id,
    )
    async with transactions(await _orgadmin(transactions, worker.organization)) as tx:
        neuron = await neurons.enable(tx, wanted, cipher)
        if worker.rate is not None and worker.rate_unit is not None:
            unit = RateUnit(worker.rate_unit.lower())
            await quotas.set_limit(tx, quotas.QuotaSetting(unit, worker.rate, neuron_id=neuron.id))


async def _orgadmin(transactions: Transactions, name: str) -> Principal:
    """Return who does what the organization's own admin could: limits that it may change later, and no more."""
    async with transactions(IMPORT) as tx:
        organization = await organizations.get(tx, name)
    return Principal("import", organization.id, roles=frozenset({Role.ORGADMIN}))
