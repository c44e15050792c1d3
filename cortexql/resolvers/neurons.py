"""Neurons, the catalogue, budgets."""

from typing import Annotated

import strawberry

from cortexql.errors import NotFoundError
from cortexql.models import NeuronType
from cortexql.schema import arguments, payloads
from cortexql.schema.arguments import given
from cortexql.schema.connection import After, Connection, First, page_request, to_connection
from cortexql.schema.context import Info
from cortexql.schema.enums import QuotaPacing
from cortexql.schema.errors import expected
from cortexql.schema.ids import NEURONS, decode, number_of
from cortexql.schema.inputs import (
    EnableNeuronInput,
    NeuronIdInput,
    PullImageInput,
    RefreshCatalogInput,
    SetQuotaInput,
    SetSecrecyInput,
    UpdateNeuronInput,
    UpdateSharedConfigInput,
    container_settings,
    levels_to_configuration,
    to_object,
)
from cortexql.schema.neurons import Analyzer, NeuronDefinition, NeuronImage, Responder, to_neuron
from cortexql.schema.quotas import Quota
from cortexql.services import definitions, images, neurons, quotas, shared_configs, usage


@strawberry.type
class NeuronQueries:
    @strawberry.field(description="Analyzers enabled for the viewer's organization.")
    async def analyzers(
        self,
        info: Info,
        data_type: arguments.DataType = None,
        name: arguments.NamedSo = None,
        first: First = None,
        after: After = None,
    ) -> Connection[Analyzer]:
        return await _list(info, NeuronType.ANALYZER, data_type, name, first, after)  # type: ignore[no-any-return]

    @strawberry.field(description="An analyzer of the viewer's organization by name.")
    async def analyzer(self, info: Info, name: arguments.Name) -> Analyzer | None:
        return await _get(info, NeuronType.ANALYZER, name)  # type: ignore[no-any-return]

    @strawberry.field(description="Responders enabled for the viewer's organization.")
    async def responders(
        self,
        info: Info,
        data_type: arguments.DataType = None,
        name: arguments.NamedSo = None,
        first: First = None,
        after: After = None,
    ) -> Connection[Responder]:
        return await _list(info, NeuronType.RESPONDER, data_type, name, first, after)  # type: ignore[no-any-return]

    @strawberry.field(description="A responder of the viewer's organization by name.")
    async def responder(self, info: Info, name: arguments.Name) -> Responder | None:
        return await _get(info, NeuronType.RESPONDER, name)  # type: ignore[no-any-return]

    @strawberry.field(description="Everything the catalogues offer, enabled or not.")
    async def catalog(
        self,
        info: Info,
        type: arguments.Kind = None,
        search: arguments.Search = None,
        first: First = None,
        after: After = None,
    ) -> Connection[NeuronDefinition]:
        async with info.context.reading() as tx:
            page = await definitions.list_page(tx, type, search, page_request(first, after))
        return to_connection(page, NeuronDefinition.of)  # type: ignore[no-any-return]

    @strawberry.field(
        description="The budgets that bind the viewer's organization; a superadmin sees all. Never another "
        "organization's figures."
    )
    async def quotas(self, info: Info, organization: arguments.OrganizationName = None) -> list[Quota]:
        async with info.context.reading() as tx:
            found = await usage.of_organization(tx, organization)
        return [Quota.of(one) for one in found]


@strawberry.type
class NeuronMutations:
    @strawberry.mutation(
        description="Reads every catalogue source again; reports what was added, changed, removed, invalid. "
        "Orgadmins too."
    )
    @expected(payloads.RefreshCatalogPayload)
    async def refresh_catalog(
        self, info: Info, input: Annotated[RefreshCatalogInput | None, given] = None
    ) -> payloads.RefreshCatalogPayload:
        resources = info.context.resources
        done = await definitions.refresh_all(
            resources.transactions, resources.settings, info.context.principal, input.type if input else None
        )
        return payloads.RefreshCatalogPayload.of(done)

    @strawberry.mutation(
        description="Enables a definition. Needs no runner or image yet: NEURON_UNAVAILABLE is for submissions."
    )
    @expected(payloads.NeuronPayload)
    async def enable_neuron(
        self, info: Info, input: Annotated[EnableNeuronInput, given]
    ) -> payloads.NeuronPayload:
        levels = levels_to_configuration(
            strawberry.UNSET if input.max_tlp is None else input.max_tlp,
            strawberry.UNSET if input.max_pap is None else input.max_pap,
        )
        new = neurons.NewNeuron(
            definition_id=input.definition,
            name=input.name,
            configuration={**to_object(input.configuration, "configuration"), **levels},
            job_timeout=input.job_timeout,
            freshness=input.freshness,
            max_concurrent_jobs=input.max_concurrent_jobs,
            organization=input.organization,
            container=container_settings(input.container),
            granted_to=input.granted_to,
        )
        async with info.context.open() as tx:
            row = await neurons.enable(tx, new, info.context.resources.cipher)
        return payloads.NeuronPayload(neuron=to_neuron(row))

    @strawberry.mutation(description="Changes a neuron's settings, or upgrades it.")
    @expected(payloads.NeuronPayload)
    async def update_neuron(
        self, info: Info, input: Annotated[UpdateNeuronInput, given]
    ) -> payloads.NeuronPayload:
        levels = levels_to_configuration(input.max_tlp, input.max_pap)
        change = neurons.NeuronChange(
            name=input.name,
            definition_id=input.definition,
            configuration={**to_object(input.configuration, "configuration"), **levels},
            clear_secrets=input.clear_secrets or (),
            data_types=input.data_types,
            job_timeout=input.job_timeout,
            freshness=input.freshness,
            max_concurrent_jobs=input.max_concurrent_jobs,
            container=container_settings(input.container),
            granted_to=input.granted_to,
        )
        async with info.context.open() as tx:
            row = await neurons.update(
                tx, number_of(input.id, *NEURONS), change, info.context.resources.cipher
            )
        return payloads.NeuronPayload(neuron=to_neuron(row))

    @strawberry.mutation(
        description="Disables a neuron: its configuration is gone, its jobs and reports stay."
    )
    @expected(payloads.NeuronPayload)
    async def disable_neuron(
        self, info: Info, input: Annotated[NeuronIdInput, given]
    ) -> payloads.NeuronPayload:
        async with info.context.open() as tx:
            row = await neurons.disable(tx, number_of(input.id, *NEURONS))
        return payloads.NeuronPayload(neuron=to_neuron(row))

    @strawberry.mutation(
        description="Has a worker pull an image. Returns at once; progress is in `NeuronImage` and in the health page."
    )
    @expected(payloads.PullImagePayload)
    async def pull_image(
        self, info: Info, input: Annotated[PullImageInput, given]
    ) -> payloads.PullImagePayload:
        name, number = decode(input.id)
        if name not in ("NeuronDefinition", *NEURONS):
            raise NotFoundError("this is not the id of a neuron or a definition", field=("id",))
        async with info.context.open() as tx:
            definition = await images.definition_of(tx, name, number)
            row = await images.request_pull(tx, definition)
        return payloads.PullImagePayload(image=NeuronImage.of(row.reference, row))

    @strawberry.mutation(
        description="Sets shared credentials and settings of all analyzers and responders with one baseConfig, for "
        "the viewer's organization."
    )
    @expected(payloads.SharedConfigPayload, "base_config")
    async def update_shared_config(
        self, info: Info, input: Annotated[UpdateSharedConfigInput, given]
    ) -> payloads.SharedConfigPayload:
        values = to_object(input.configuration, "configuration")
        async with info.context.open() as tx:
            found = await shared_configs.update(
                tx, input.base_config, values, info.context.resources.cipher, input.organization
            )
        return payloads.SharedConfigPayload.of(found)

    @strawberry.mutation(
        description="Says which configuration items of a baseConfig are secret in the viewer's organization. What is "
        "stored in clear of them is encrypted at once; what stands in reports and in the audit log already stays. "
        "What is stored as a secret stays one until another value is given."
    )
    @expected(payloads.SharedConfigPayload, "base_config")
    async def set_secrecy(
        self, info: Info, input: Annotated[SetSecrecyInput, given]
    ) -> payloads.SharedConfigPayload:
        secrecy = {item.name: item.secret for item in input.items}
        async with info.context.open() as tx:
            found = await shared_configs.set_secrecy(
                tx, input.base_config, secrecy, info.context.resources.cipher, input.organization
            )
        return payloads.SharedConfigPayload.of(found)

    @strawberry.mutation(description="Sets or lifts a budget.")
    @expected(payloads.QuotaPayload)
    async def set_quota(self, info: Info, input: Annotated[SetQuotaInput, given]) -> payloads.QuotaPayload:
        setting = quotas.QuotaSetting(
            unit=input.unit,
            max_jobs=input.limit,
            organization=input.organization,
            neuron_id=number_of(input.neuron, *NEURONS) if input.neuron is not None else None,
            base_config=input.base_config,
            pacing=input.pacing or QuotaPacing.REJECT,
        )
        async with info.context.open() as tx:
            row = await quotas.set_limit(tx, setting)
            stands = await usage.of_quota(tx, row) if row else None
        return payloads.QuotaPayload(quota=Quota.of(stands) if stands else None)


async def _list(  # type: ignore[no-untyped-def] # noqa: ANN202
    info: Info,
    kind: NeuronType,
    data_type: str | None,
    name: str | None,
    first: int | None,
    after: str | None,
):
    async with info.context.reading() as tx:
        request = page_request(first, after)
        page = await neurons.list_page(tx, kind, request, data_type=data_type, name=name)
    return to_connection(page, to_neuron)


async def _get(info: Info, kind: NeuronType, name: str):  # type: ignore[no-untyped-def] # noqa: ANN202
    async with info.context.reading() as tx:
        row = await neurons.find_own(tx, kind, name)
    return to_neuron(row) if row else None
