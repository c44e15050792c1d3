"""Reports, their artifacts and files."""

from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from cortexql import models
from cortexql.schema.context import Info
from cortexql.schema.enums import Level
from cortexql.schema.node import Node, OfRow, column, global_id
from cortexql.schema.scalars import JSON

if TYPE_CHECKING:
    from cortexql.schema.jobs import Job

JobType = Annotated["Job", strawberry.lazy("cortexql.schema.jobs")]


@strawberry.type(description="A file by its content.")
class Attachment:
    name: str = strawberry.field(description="Its name as it was submitted, or left by a neuron.")
    size: float = strawberry.field(description="Bytes.")
    content_type: str = strawberry.field(description="Its type, as its giver said.")
    sha256: str = strawberry.field(description="SHA-256 of the content; `attachment` in a submission.")
    sha1: str = strawberry.field(description="SHA-1 of the content.")
    md5: str = strawberry.field(description="MD5 of the content.")
    url: str = strawberry.field(description="Where to download it, always as a file.")

    @classmethod
    def of(cls, row: models.Attachment, name: str | None = None) -> "Attachment":
        """Convert a row; `name` where this use of the file has its own."""
        return cls(
            name=name or row.name,
            size=row.size,
            content_type=row.content_type,
            sha256=row.sha256,
            sha1=row.sha1,
            md5=row.md5,
            url=f"/files/{row.sha256}",
        )


@strawberry.type(description="A verdict in a word.")
class Taxonomy:
    level: Level = strawberry.field(description="How bad it is.")
    namespace: str = strawberry.field(description="Who says it.")
    predicate: str = strawberry.field(description="About what.")
    value: str = strawberry.field(description="What is said.")


@strawberry.type(description="An observable in a report, or a file that a run left.")
class Artifact:
    data_type: str = strawberry.field(description="Its data type.")
    data: str | None = strawberry.field(description="Its value; null for a file.")
    tags: list[str] = strawberry.field(description="Tags that the neuron gave it.")
    tlp: int = strawberry.field(description="Its TLP.")
    message: str | None = strawberry.field(description="What the neuron says of it.")
    row: strawberry.Private[Any]

    @classmethod
    def of(cls, row: models.Artifact) -> "Artifact":
        """Convert a row."""
        return cls(
            data_type=row.data_type, data=row.data, tags=row.tags, tlp=row.tlp, message=row.message, row=row
        )

    @strawberry.field(description="Its file; null for a value.")
    async def attachment(self, info: Info) -> Attachment | None:
        return await load_attachment(info, self.row.attachment_id, self.row.filename)


def _taxonomies(row: models.Report) -> list[Taxonomy]:
    return [Taxonomy(**{**taxonomy, "level": Level(taxonomy["level"])}) for taxonomy in row.taxonomies]


@strawberry.type(description="What a neuron found.")
class Report(Node, OfRow):
    id: strawberry.ID = global_id()
    created_at: datetime = column("When it was stored.")
    level: Level | None = column("The worst level of its taxonomies.")
    taxonomies: list[Taxonomy] = column("Its verdicts.")
    operations: list[JSON] = column("What a responder asks its caller to do.")
    row: strawberry.Private[Any]
    made = MappingProxyType({"taxonomies": _taxonomies})

    @classmethod
    def of(cls, row: models.Report) -> "Report":
        """Convert a row."""
        return cls(row=row)

    @strawberry.field(description="The job that gave it.")
    async def job(self, info: Info) -> JobType:
        from cortexql.schema.jobs import load_job

        return await load_job(info, self.row.job_id)

    @strawberry.field(description="The whole result, as the neuron gave it, scrubbed of configured secrets.")
    async def full(self, info: Info) -> JSON:
        output = await info.context.loaders.output.load(self.row.id) or {}
        return JSON(output.get("full", {}))

    @strawberry.field(description="Observables and files that it names.")
    async def artifacts(self, info: Info) -> list[Artifact]:
        return [Artifact.of(row) for row in await info.context.loaders.artifacts.load(self.row.id) or ()]

    @strawberry.field(description="The same analyzer's report of the same observable before this one.")
    async def previous(self, info: Info) -> "Report | None":
        row = await info.context.loaders.previous.load(self.row.id)
        return Report.of(row) if row else None

    @strawberry.field(
        description="RFC 6902 patch from `previous` to this report's full result; null where there is none."
    )
    async def changes(self, info: Info) -> list[JSON] | None:
        found = await info.context.loaders.changes.load(self.row.id)
        return None if found is None else [JSON(change) for change in found]


async def load_attachment(info: Info, number: int | None, name: str | None = None) -> Attachment | None:
    """Load a file by number, or None."""
    row = await info.context.loaders.attachment.load(number) if number is not None else None
    return Attachment.of(row, name) if row else None
