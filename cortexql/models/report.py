"""Reports and artifacts: what a run gave."""

from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, JSON, BigInteger, ForeignKey, Index, SmallInteger, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from cortexql.models import columns
from cortexql.models.job import Level


class Report(SQLModel, table=True):
    """A successful run's result.

    `output` is the neuron's whole output.json, scrubbed of secrets, as `json` and not `jsonb`: that keeps NUL
    characters. Neuron, observable and time are copied from the job for the indexes of history and verdicts.
    """

    __table_args__ = (
        Index("report_words", text("report_words(searchable)"), postgresql_using="gin"),
        Index("report_newest", "organization_id", "created_at", "id"),
        Index("report_history", "observable_id", "neuron_name", "id"),
        Index("report_level", "organization_id", "level", "created_at", "id"),
        Index("report_analyzer", "organization_id", "neuron_name", "created_at", "id"),
        Index(
            "report_taxonomies",
            "taxonomies",
            postgresql_using="gin",
            postgresql_ops={"taxonomies": "jsonb_path_ops"},
        ),
        Index(
            "report_searchable",
            "searchable",
            postgresql_using="gin",
            postgresql_ops={"searchable": "jsonb_path_ops"},
        ),
    )

    id: int = columns.primary_key()
    organization_id: int = columns.reference("organization.id", index=False)
    job_id: int = Field(
        sa_type=BigInteger, sa_column_args=(ForeignKey("job.id", ondelete="CASCADE"),), unique=True
    )
    observable_id: int | None = columns.optional_reference("observable.id", index=False)
    neuron_name: str = columns.text(256)
    data_type: str = columns.text(128)
    level: Level | None = columns.enum(Level, default=None, nullable=True)
    taxonomies: list[dict[str, Any]] = Field(sa_type=JSONB)
    operations: list[dict[str, Any]] = Field(sa_type=JSON)
    output: dict[str, Any] = Field(sa_type=JSON)
    # The full result once more, for conditions on its values; None: it is too large for that.
    searchable: Any = Field(default=None, sa_type=JSONB(none_as_null=True), nullable=True)
    created_at: datetime = columns.created_now()


class Artifact(SQLModel, table=True):
    """An observable that a report names, or a file that a run left."""

    # By hash: a value may be longer than what an ordered index takes.
    __table_args__ = (Index("artifact_data", "data", postgresql_using="hash"),)

    id: int = columns.primary_key()
    organization_id: int = columns.reference("organization.id", index=False)
    report_id: int = columns.reference("report.id")
    data_type: str = columns.text(128)
    data: str | None = Field(default=None)
    attachment_id: int | None = columns.optional_reference("attachment.id")
    # The name under which this run left the file; equal content may have another elsewhere.
    filename: str | None = Field(default=None)
    tags: list[str] = Field(default_factory=list, sa_type=ARRAY(String))
    tlp: int = Field(default=2, sa_type=SmallInteger)
    message: str | None = Field(default=None)
