"""Relay's global object identification."""

import strawberry


@strawberry.interface(description="Anything with a global id.")
class Node:
    id: strawberry.ID = strawberry.field(description="Opaque, and unique over all types.")
