"""Builds the schema."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import strawberry
import structlog
from graphql import GraphQLError
from strawberry.extensions import (
    AddValidationRules,
    MaxAliasesLimiter,
    MaxTokensLimiter,
    ParserCache,
    QueryDepthLimiter,
    ValidationCache,
)
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.exceptions import CannotGetOperationTypeError, InvalidOperationTypeError
from strawberry.types import ExecutionContext
from strawberry.types.execution import PreExecutionError

from cortexql.errors import CortexError, ErrorCode
from cortexql.log import get_logger
from cortexql.resolvers.audit import AuditQueries
from cortexql.resolvers.cost import CostLimiter
from cortexql.resolvers.dashboards import DashboardMutations, DashboardQueries
from cortexql.resolvers.execution import Execution
from cortexql.resolvers.identities import IdentityQueries
from cortexql.resolvers.jobs import JobMutations, JobQueries
from cortexql.resolvers.limits import FieldsLimiter, IntrospectionSwitch
from cortexql.resolvers.network import NetworkMutations, NetworkQueries
from cortexql.resolvers.neurons import NeuronMutations, NeuronQueries
from cortexql.resolvers.nodes import NodeQueries
from cortexql.resolvers.organizations import OrganizationMutations, OrganizationQueries
from cortexql.resolvers.preferences import PreferencesMutations, PreferencesQueries
from cortexql.resolvers.servers import ServerMutations
from cortexql.resolvers.sightings import SightingMutations
from cortexql.resolvers.statistics import StatisticsQueries
from cortexql.resolvers.subscriptions import Subscription
from cortexql.schema.neurons import Analyzer, Responder
from cortexql.schema.scalars import SCALARS

log = get_logger(__name__)
# Two operations without a name, or one that the transport does not take.
_NO_OPERATION = (CannotGetOperationTypeError, InvalidOperationTypeError)
# A busy dashboard's largest queries take a tenth of these.
MAX_DEPTH = 15
MAX_TOKENS = 5000
MAX_ALIASES = 100
CACHED_DOCUMENTS = 500
# Made once: the cache of validations goes by the rules' identity.
_RULES = [
    *QueryDepthLimiter(max_depth=MAX_DEPTH).validation_rules,
    *MaxAliasesLimiter(max_alias_count=MAX_ALIASES).validation_rules,
]


@strawberry.type(description="What can be read.")
class Query(
    OrganizationQueries,
    IdentityQueries,
    NeuronQueries,
    NetworkQueries,
    AuditQueries,
    JobQueries,
    StatisticsQueries,
    DashboardQueries,
    PreferencesQueries,
    NodeQueries,
):
    pass


@strawberry.type(description="What can be done.")
class Mutation(
    JobMutations,
    OrganizationMutations,
    NeuronMutations,
    NetworkMutations,
    ServerMutations,
    SightingMutations,
    DashboardMutations,
    PreferencesMutations,
):
    pass


class Schema(strawberry.Schema):
    """Strawberry's schema, in which every error has a code."""

    async def stream(self, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """Execute over a socket or a stream; what an extension refuses is told, and does not fly."""
        return self._told(await super().stream(*args, **kwargs))

    async def _told(self, results: Any) -> AsyncGenerator[Any, None]:
        async with aclosing(results):
            try:
                async for result in results:
                    yield result
            except GraphQLError as error:
                self.process_errors([error])
                yield PreExecutionError(data=None, errors=[error])

    def process_errors(
        self, errors: Sequence[GraphQLError], execution_context: ExecutionContext | None = None
    ) -> None:
        """Log what nobody raised on purpose; its caller learns only by which request it is found in the log."""
        for error in errors:
            if _is_unexpected(error):
                log.error("graphql.unexpected", path=error.path, exc_info=error.original_error)
                request_id = structlog.contextvars.get_contextvars().get("request_id", "")
                error.message = "internal error"
                error.extensions = {"code": "INTERNAL", "requestId": request_id}
            else:
                # Without a code: of the parser, or of the rules that a document and its variables must keep.
                error.extensions = {"code": ErrorCode.INVALID_INPUT.value, **(error.extensions or {})}


def _is_unexpected(error: GraphQLError) -> bool:
    original = error.original_error
    return original is not None and not isinstance(original, (CortexError, GraphQLError, *_NO_OPERATION))


def _build() -> Schema:
    return Schema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        execution_context_class=Execution,
        types=[Analyzer, Responder],
        config=StrawberryConfig(scalar_map=SCALARS),
        extensions=[
            lambda: ParserCache(maxsize=CACHED_DOCUMENTS),
            IntrospectionSwitch,
            lambda: ValidationCache(maxsize=CACHED_DOCUMENTS),
            FieldsLimiter,
            CostLimiter,
            lambda: MaxTokensLimiter(max_token_count=MAX_TOKENS),
            lambda: AddValidationRules(_RULES),
        ],
    )


schema = _build()
