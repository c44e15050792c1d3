"""What of the schema would break clients of the last release: `python -m tests.graphql.breaking`, part of `make check`.

A release replaces cortexql/schema/released.graphql with schema.graphql.
"""

import sys
from pathlib import Path

from graphql import build_schema
from graphql.utilities import find_breaking_changes

SCHEMA = Path(__file__).parents[2] / "cortexql" / "schema"


def changes(released: str, present: str) -> list[str]:
    """Return the breaking changes between two schemas, as sentences."""
    return [
        change.description for change in find_breaking_changes(build_schema(released), build_schema(present))
    ]


if __name__ == "__main__":
    found = changes((SCHEMA / "released.graphql").read_text(), (SCHEMA / "schema.graphql").read_text())
    sys.exit("\n".join(found) or 0)
