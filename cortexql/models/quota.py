"""Budgets of submissions, and what was spent of them."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, Index
from sqlmodel import Field, SQLModel

from cortexql.models import columns


class RateUnit(StrEnum):
    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class QuotaPacing(StrEnum):
    REJECT = "reject"  # a submission over the limit is refused, with the time to try again
    QUEUE = "queue"  # it waits for its window


class Quota(SQLModel, table=True):
    """A limit on a neuron, or on everything of one baseConfig, for an organization or the whole instance.

    `by_superadmin` tells the two hands apart: a superadmin's budget and an orgadmin's own, tighter limit stand
    beside each other and must both agree.
    """

    __table_args__ = (
        CheckConstraint("(neuron_id IS NULL) <> (base_config IS NULL)", name="quota_covers_one"),
        CheckConstraint(
            "neuron_id IS NULL OR organization_id IS NOT NULL", name="quota_neuron_has_organization"
        ),
        CheckConstraint("max_jobs >= 0", name="quota_limit_not_negative"),
        Index(
            "quota_one_each",
            "organization_id",
            "neuron_id",
            "base_config",
            "unit",
            "by_superadmin",
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
    )

    id: int = columns.primary_key()
    organization_id: int | None = columns.optional_reference("organization.id", on_delete="CASCADE")
    neuron_id: int | None = columns.optional_reference("neuron.id", on_delete="CASCADE")
    base_config: str | None = columns.text(256, default=None, index=True)
    max_jobs: int
    unit: RateUnit = columns.enum(RateUnit)
    pacing: QuotaPacing = columns.enum(QuotaPacing, default=QuotaPacing.REJECT)
    by_superadmin: bool = Field(default=True)
    # It binds nobody and counts on: set again, it must not hand out a second month.
    lifted: bool = Field(default=False, sa_column_kwargs={"server_default": "false"})


class QuotaUse(SQLModel, table=True):
    """What was taken of one quota in one calendar window.

    `pooled`: the part of organizations without a budget of their own, which live off what an instance budget leaves.
    """

    __tablename__ = "quota_use"
    __table_args__ = (Index("quota_use_window", "quota_id", "window_start", unique=True),)

    id: int = columns.primary_key()
    quota_id: int = Field(sa_type=BigInteger, foreign_key="quota.id", ondelete="CASCADE")
    window_start: datetime = columns.created_now()
    used: int = Field(default=0)
    pooled: int = Field(default=0)


class QuotaCharge(SQLModel, table=True):
    """One submission counted in a sliding window, at the time when it may run."""

    __tablename__ = "quota_charge"
    __table_args__ = (Index("quota_charge_newest", "quota_id", "at", "id"),)

    id: int = columns.primary_key()
    quota_id: int = Field(sa_type=BigInteger, foreign_key="quota.id", ondelete="CASCADE")
    at: datetime = columns.created_now()
    pooled: bool = Field(default=False)
