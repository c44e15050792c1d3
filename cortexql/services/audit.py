"""The audit log: who changed what, and who came in. Triggers write the changes; see the table's migration."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, or_, select

from cortexql.models import Audit, AuditAction, User
from cortexql.principal import Permission, Principal
from cortexql.services import organizations, page, text
from cortexql.transaction import Transaction, Transactions

_NEWEST_FIRST = page.Keyset("audit", (Audit.id,), descending=True)
_BATCH = 1000
# What an operator does not see of a tenant, the log does not tell either.
_CONFIDENTIAL = ("job", "dashboard")


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries; None does not narrow. `since` is within, `until` is not."""

    organization: str | None = None
    actor: str | None = None
    action: AuditAction | None = None
    subject_type: str | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def list_page(tx: Transaction, wanted: AuditFilter, request: page.PageRequest) -> page.Page[Audit]:
    """Page through the entries of the own organization, the newest first; a superadmin's are everybody's."""
    return await page.read(tx, await _select(tx, wanted), _NEWEST_FIRST, request)


async def check(transactions: Transactions, principal: Principal, wanted: AuditFilter) -> None:
    """Raise what refuses an export, before any of it is sent."""
    async with transactions(principal) as tx:
        await _select(tx, wanted)


async def export(
    transactions: Transactions, principal: Principal, wanted: AuditFilter
) -> AsyncIterator[Sequence[Audit]]:
    """Give all entries in batches, the oldest first; each batch is read in a transaction of its own."""
    last = 0
    while True:
        async with transactions(principal) as tx:
            query = (await _select(tx, wanted)).where(Audit.id > last).order_by(Audit.id).limit(_BATCH)
            batch = (await tx.session.scalars(query)).all()
        if not batch:
            return
        yield batch
        last = batch[-1].id


async def note_sign_in(tx: Transaction, principal: Principal) -> None:
    """Write that somebody has come in by password."""
    tx.session.add(
        Audit(
            organization_id=principal.organization_id,
            actor=principal.login,
            credential=principal.credential,
            address=principal.address,
            action=AuditAction.SIGNED_IN,
            subject_type="user",
            subject_id=principal.user_id,
            subject=principal.login,
        )
    )


async def note_sent(tx: Transaction, server: str, event: str, observables: int) -> None:
    """Write that observables went to another server."""
    principal = tx.principal
    tx.session.add(
        Audit(
            organization_id=principal.organization_id,
            actor=principal.login,
            credential=principal.credential,
            address=principal.address,
            action=AuditAction.CREATED,
            subject_type="misp_event",
            subject=event,
            after={"server": server, "observables": observables},
        )
    )


async def note_failed_sign_in(
    tx: Transaction, login: str, address: str, credential: str = "password"
) -> None:
    """Write that a credential did not do; of an unknown login only a fingerprint: people type passwords there."""
    known = None
    if text.is_storable(login):
        known = (await tx.session.scalars(select(User).where(User.login == login))).one_or_none()
    digest = hashlib.sha256(login.encode("utf-8", "replace")).hexdigest()
    tx.session.add(
        Audit(
            organization_id=known.organization_id if known else None,
            credential=credential,
            address=address,
            action=AuditAction.SIGN_IN_FAILED,
            subject_type="user",
            subject_id=known.id if known else None,
            subject=known.login if known else f"sha256:{digest[:16]}",
        )
    )


async def note_image(tx: Transaction, reference: str, before: str, after: str) -> None:
    """Write that an image has another digest: it was pulled anew, or built."""
    tx.session.add(
        Audit(
            actor=tx.principal.login,
            action=AuditAction.CHANGED,
            subject_type="image",
            subject=reference,
            before={"digest": before},
            after={"digest": after},
        )
    )


def visible_to(principal: Principal) -> Sequence[ColumnElement[bool]]:
    """Return what narrows entries beyond the tenant gate: a superadmin sees no job of another organization.

    Nor its dashboards, which are its own business as well.
    """
    if principal.is_system:
        return ()
    own = Audit.organization_id == principal.organization_id
    return (or_(Audit.subject_type.not_in(_CONFIDENTIAL), own),)


async def _select(tx: Transaction, wanted: AuditFilter) -> Select[Any]:
    tx.principal.require(Permission.AUDIT_READ)
    query = select(Audit)
    if wanted.organization is not None:
        organization = await organizations.named_or_own(tx, wanted.organization)
        query = query.where(Audit.organization_id == organization.id)
    query = query.where(*visible_to(tx.principal))
    for column in ("actor", "action", "subject_type", "subject"):
        if (value := getattr(wanted, column)) is not None:
            query = query.where(getattr(Audit, column) == value)
    if wanted.since is not None:
        query = query.where(Audit.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(Audit.at < wanted.until)
    return query
