"""What was seen in the own network, and what is an indicator of compromise: people say so, no analyzer does."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from cortexql.errors import InvalidInputError, NotFoundError
from cortexql.models import Observable, Sighting
from cortexql.principal import Permission
from cortexql.services import observables, text
from cortexql.transaction import Transaction

# Of one observable, the newest ones are shown.
SHOWN = 100


@dataclass(frozen=True, slots=True)
class NewSighting:
    """When and where it was seen; `at` None: now."""

    place: str
    at: datetime | None = None
    note: str = ""


async def flag(tx: Transaction, observable_id: int, *, ioc: bool) -> Observable:
    """Say whether an observable is an indicator of compromise."""
    tx.principal.require(Permission.JOB_SUBMIT)
    observable = await observables.get(tx, observable_id)
    observable.ioc = ioc
    await tx.flush()
    return observable


async def sight(tx: Transaction, observable_id: int, new: NewSighting) -> Sighting:
    """Say that an observable was seen.

    Raises:
        InvalidInputError: without a place, or in the future.
    """
    tx.principal.require(Permission.JOB_SUBMIT)
    observable = await observables.get(tx, observable_id)
    now = (await tx.session.scalars(select(func.now()))).one()
    if new.at is not None and new.at > now:
        raise InvalidInputError("nothing was seen in the future yet", field=("at",))
    sighting = Sighting(
        organization_id=observable.organization_id,
        observable_id=observable.id,
        at=new.at or now,
        place=text.check(new.place, "place", longest=256),
        note=text.check(new.note, "note", longest=4096, empty=True),
        created_by=tx.principal.login,
    )
    tx.session.add(sighting)
    await tx.flush()
    return sighting


async def remove(tx: Transaction, sighting_id: int) -> Sighting:
    """Take back a sighting."""
    tx.principal.require(Permission.JOB_SUBMIT)
    found = (await tx.session.scalars(select(Sighting).where(Sighting.id == sighting_id))).one_or_none()
    if found is None:
        raise NotFoundError("there is no such sighting")
    await tx.session.delete(found)
    return found


async def of_observables(tx: Transaction, observable_ids: Sequence[int]) -> dict[int, list[Sighting]]:
    """Return the newest sightings of some observables, the newest first."""
    number = func.row_number().over(
        partition_by=Sighting.observable_id, order_by=(Sighting.at.desc(), Sighting.id.desc())
    )
    ranked = select(Sighting.id, number.label("number")).where(Sighting.observable_id.in_(observable_ids))
    newest = ranked.subquery()
    query = select(Sighting).join(newest, newest.c.id == Sighting.id).where(newest.c.number <= SHOWN)
    found: dict[int, list[Sighting]] = {id_: [] for id_ in observable_ids}
    for sighting in (await tx.session.scalars(query.order_by(newest.c.number))).all():
        found[sighting.observable_id].append(sighting)
    return found
