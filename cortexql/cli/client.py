"""A client of a running server: submit over GraphQL, follow through the subscription, fetch the reports."""

import mimetypes
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gql import Client, FileVar, GraphQLRequest
from gql.transport.exceptions import TransportError, TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport
from gql.transport.websockets import WebsocketsTransport

from cortexql import guess
from cortexql.cli.running import CommandError

_ANALYZE = """
mutation Analyze($input: AnalyzeInput!) {
  analyze(input: $input) {
    errors { message }
    submissions { observable analyzer outcome error { code message } job { id status } }
  }
}"""
_EVENTS = """
subscription Events($after: String!, $ids: [ID!]!) {
  jobEvents(after: $after, filter: {ids: $ids}) {
    cursor status stage percent message job { id neuronName status }
  }
}"""
_JOBS = """
query Jobs($ids: [ID!]!) {
  nodes(ids: $ids) {
    ... on Job {
      id neuronName dataType status errorMessage startedAt endedAt
      observable { data attachment { name } }
      report {
        level full
        taxonomies { level namespace predicate value }
        artifacts { dataType data attachment { name } }
      }
    }
  }
}"""
_ENDED = {"SUCCESS", "FAILURE", "CANCELLED", "DELETED"}
_BATCH = 100


@dataclass(frozen=True, slots=True)
class Target:
    """Where the server is and who asks."""

    url: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        """Return what every request carries."""
        return {"Authorization": f"Bearer {self.key}", "GraphQL-Require-Preflight": "1"}


@dataclass(frozen=True, slots=True)
class Question:
    """An observable to submit: a value or a file."""

    data_type: str
    data: str | None = None
    path: Path | None = None

    @property
    def label(self) -> str:
        """Return what to show."""
        return self.data if self.data is not None else str(self.path and self.path.name)


@dataclass(slots=True)
class Following:
    """Jobs under way, as they are known."""

    submissions: list[dict[str, Any]]
    cursor: str
    statuses: dict[str, str] = field(default_factory=dict)

    @property
    def open_ids(self) -> list[str]:
        """Return the jobs that have not ended."""
        return [id_ for id_, status in self.statuses.items() if status not in _ENDED]


def read_question(text: str, data_type: str | None) -> Question:
    """Take an argument of the command line: a file that exists, or a value, defanged or not."""
    path = Path(text)
    if data_type in (None, "file") and len(text) < 4096 and path.is_file():
        return Question("file", path=path)
    if data_type == "file":
        raise CommandError(f"there is no file {text}")
    value = guess.refang(text)
    return Question(data_type or guess.data_type(value), data=value)


async def execute(
    target: Target, document: str, variables: dict[str, Any], *, upload: bool = False
) -> dict[str, Any]:
    """Run a query or mutation.

    Raises:
        CommandError: the server does not answer, or refuses.
    """
    transport = HTTPXAsyncTransport(url=f"{target.url}/graphql", headers=target.headers, timeout=60)
    try:
        async with Client(transport=transport, execute_timeout=120) as session:
            request = GraphQLRequest(document, variable_values=variables)
            result: dict[str, Any] = await session.execute(request, upload_files=upload)
            return result
    except TransportQueryError as error:
        raise CommandError(str(error.errors[0]["message"]) if error.errors else str(error)) from error
    except (TransportError, OSError) as error:
        raise CommandError(f"{target.url} does not answer: {error}") from error
    except Exception as error:
        # httpx's own errors: gql does not wrap them.
        if type(error).__module__.startswith("httpx"):
            raise CommandError(f"{target.url} does not answer: {error or type(error).__name__}") from error
        raise


async def submit(target: Target, questions: Sequence[Question], options: dict[str, Any]) -> Following:
    """Submit observables; what is refused stands in `submissions` with its error."""
    cursor = (await execute(target, "{ eventCursor }", {}))["eventCursor"]
    submissions: list[dict[str, Any]] = []
    for start in range(0, len(questions), _BATCH):
        part = questions[start : start + _BATCH]
        variables = {"input": {**options, "observables": [_observable(q, options) for q in part]}}
        upload = any(q.path is not None for q in part)
        variables["input"] = {k: v for k, v in variables["input"].items() if k not in ("tlp", "pap")}
        answer = (await execute(target, _ANALYZE, variables, upload=upload))["analyze"]
        if answer["errors"]:
            raise CommandError(answer["errors"][0]["message"])
        submissions += [{**s, "observable": s["observable"] + start} for s in answer["submissions"]]
    statuses = {s["job"]["id"]: s["job"]["status"] for s in submissions if s["job"]}
    return Following(submissions, cursor, statuses)


async def follow(target: Target, following: Following) -> AsyncIterator[dict[str, Any]]:
    """Yield events of the jobs until all have ended; a lost connection is taken up at the last cursor."""
    url = f"{target.url.replace('http', 'ws', 1)}/graphql"
    while following.open_ids:
        payload = {"Authorization": f"Bearer {target.key}"}
        transport = WebsocketsTransport(url=url, init_payload=payload)
        try:
            async with Client(transport=transport) as session:
                variables = {"after": following.cursor, "ids": following.open_ids}
                async for result in session.subscribe(GraphQLRequest(_EVENTS, variable_values=variables)):
                    event = result["jobEvents"]
                    following.cursor = event["cursor"]
                    following.statuses[event["job"]["id"]] = event["status"]
                    yield event
                    if not following.open_ids:
                        return
        except TransportQueryError as error:
            raise CommandError(str(error)) from error
        except (TransportError, OSError) as error:
            raise CommandError(f"the connection was lost: {error}") from error


async def fetch(target: Target, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return jobs with their reports."""
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(ids), _BATCH):
        answer = await execute(target, _JOBS, {"ids": list(ids[start : start + _BATCH])})
        found |= {job["id"]: job for job in answer["nodes"] if job}
    return found


def _observable(question: Question, options: dict[str, Any]) -> dict[str, Any]:
    common = {"dataType": question.data_type, "tlp": options.get("tlp", 2), "pap": options.get("pap", 2)}
    if question.path is None:
        return {**common, "data": question.data}
    kind = mimetypes.guess_type(question.path.name)[0] or "application/octet-stream"
    return {**common, "file": FileVar(str(question.path), filename=question.path.name, content_type=kind)}
