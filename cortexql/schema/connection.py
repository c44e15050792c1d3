"""Relay connections: every list that can grow has this shape."""

from collections.abc import Callable
from typing import Annotated, Any, Generic, TypeVar

import strawberry

from cortexql.schema.context import Info
from cortexql.services.page import Page, PageRequest

NodeType = TypeVar("NodeType")
Row = TypeVar("Row")
First = Annotated[int | None, strawberry.argument(description="So many from the start, at most 100.")]
After = Annotated[str | None, strawberry.argument(description="Behind this cursor.")]
Last = Annotated[int | None, strawberry.argument(description="So many from the end, at most 100.")]
Before = Annotated[str | None, strawberry.argument(description="Before this cursor.")]


@strawberry.type(description="Where a page lies in its list.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether something follows.")
    has_previous_page: bool = strawberry.field(description="Whether something comes before.")
    start_cursor: str | None = strawberry.field(description="Cursor of the page's first node.")
    end_cursor: str | None = strawberry.field(description="Cursor of the page's last node.")


@strawberry.type(description="A node and its place in the list.")
class Edge(Generic[NodeType]):
    cursor: str = strawberry.field(description="The node's place; give it back as `after` or `before`.")
    node: NodeType = strawberry.field(description="The node.")


@strawberry.type(description="A page of a list.")
class Connection(Generic[NodeType]):
    nodes: list[NodeType] = strawberry.field(description="The nodes alone.")
    page: strawberry.Private[Any] = None

    @strawberry.field(description="Nodes with their cursors.")
    def edges(self) -> list[Edge[NodeType]]:
        cursors = self.page.cursors()
        return [Edge(cursor=cursor, node=node) for cursor, node in zip(cursors, self.nodes, strict=True)]

    @strawberry.field(description="Where the page lies.")
    def page_info(self) -> PageInfo:
        page = self.page
        return PageInfo(
            has_next_page=page.has_next,
            has_previous_page=page.has_previous,
            start_cursor=page.first_cursor,
            end_cursor=page.last_cursor,
        )

    @strawberry.field(description="How many there are in all; counted only when asked for.")
    async def total_count(self, info: Info) -> int:
        return await info.context.loaders.total.load(self.page) or 0


def to_connection(page: Page[Row], convert: Callable[[Row], Any]) -> Any:
    """Convert a page of rows; the field's annotation says of what."""
    return Connection(nodes=[convert(row) for row in page.rows], page=page)


def page_request(
    first: int | None = None, after: str | None = None, last: int | None = None, before: str | None = None
) -> PageRequest:
    """Take Relay's arguments."""
    return PageRequest(first, after, last, before)
