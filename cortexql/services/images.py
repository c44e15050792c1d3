"""Images: made ready for a run, pulled on request and with the catalogue, and what the workers' engine has."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert

from cortexql.errors import NeuronUnavailableError, NotFoundError
from cortexql.log import get_logger
from cortexql.models import Definition, Image, ImagePolicy, Neuron, Registry, RunnerKind
from cortexql.principal import Permission, system
from cortexql.runner.base import RunnerError
from cortexql.runner.images import Image as EngineImage
from cortexql.runner.images import Images, PullError
from cortexql.secrets import Cipher
from cortexql.services import audit, containers, network, registries, workers
from cortexql.services.registries import Source
from cortexql.settings import Settings
from cortexql.transaction import Transaction, Transactions

log = get_logger(__name__)
_ABANDONED = timedelta(minutes=10)
_STEP_PERCENT = 5.0
_WRITE_SECONDS = 0.5
_PULLS = ThreadPoolExecutor(16, "image")
_WORKER = system("images")
Tell = Callable[[str, float | None], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The image of a run: as the definition names it, where it comes from, and when to pull it."""

    name: str
    source: Source
    policy: ImagePolicy


@dataclass(frozen=True, slots=True)
class ImageContext:
    """What pulling needs of the process."""

    transactions: Transactions
    images: Images
    cipher: Cipher
    settings: Settings


def wanted(neuron: Neuron, known: Sequence[Registry], settings: Settings, cipher: Cipher) -> Wanted | None:
    """Return the image that a run of a neuron needs, or None for one that has none. Raises SecretLostError."""
    if neuron.definition.docker_image is None:
        return None
    container = containers.of(neuron)
    name = containers.image(container, neuron.definition.docker_image)
    source = registries.source_of(name, known, cipher)
    return Wanted(name, source, containers.policy(container, settings))


async def make_ready(context: ImageContext, image: Wanted, tell: Tell) -> str:
    """Have the image on the engine as its policy says; return the reference to run.

    A pull that fails falls back to the image that is there, and tells so, unless its digest is pinned.

    Raises:
        RunnerError: it is not there and cannot be pulled.
    """
    present = await _find_present(context.images, image)
    if image.policy is not ImagePolicy.ALWAYS and (present or image.policy is ImagePolicy.NEVER):
        return present or image.source.reference
    try:
        await _pull(context, image.source, tell)
    except PullError as error:
        await _record(context.transactions, image.source.reference, pull_error=str(error))
        if present is None:
            raise
        tell(f"{error}; the image that is present runs", None)
        return present
    return image.source.reference


async def request_pull(tx: Transaction, definition: Definition) -> Image:
    """Have a worker pull a definition's image; return the image as it is.

    Raises:
        NeuronUnavailableError: it has no image, or no worker has a Docker engine.
    """
    tx.principal.require(Permission.NEURON_MANAGE)
    if definition.docker_image is None:
        raise NeuronUnavailableError(f"{definition.definition_id} runs as a process only", field=("id",))
    alive = await workers.list_alive(tx)
    if not any(RunnerKind.DOCKER.value in worker.runners for worker in alive):
        raise NeuronUnavailableError("no worker has a Docker engine", field=("id",))
    reference = registries.place(definition.docker_image, await registries.known(tx))
    await _request(tx, [reference], pull=True)
    return await tx.session.get_one(Image, reference, populate_existing=True)


async def request_updates(tx: Transaction, settings: Settings) -> None:
    """With a refresh of the catalogue: pull the images whose policy says so, and look for newer ones of the rest."""
    query = select(Neuron, Definition).join(Definition, Definition.id == Neuron.definition_pk)
    known = await registries.known(tx)
    pulls: set[str] = set()
    looks: set[str] = set()
    for neuron, definition in (await tx.session.execute(query)).all():
        policy = containers.policy(containers.of(neuron), settings)
        if definition.docker_image is None or policy in (ImagePolicy.NEVER, ImagePolicy.DIGEST):
            continue
        reference = registries.place(definition.docker_image, known)
        (pulls if policy is ImagePolicy.REFRESH else looks).add(reference)
    await _request(tx, pulls, pull=True)
    await _request(tx, looks - pulls, pull=False)


async def serve_requests(context: ImageContext) -> int:
    """Do what was requested, one after another until there is nothing; return how many there were."""
    count = 0
    while (row := await _claim(context.transactions)) is not None:
        count += 1
        try:
            async with context.transactions(_WORKER) as tx:
                source = registries.source_of(row.reference, await registries.known(tx), context.cipher)
            if row.pull_requested:
                await _pull_recorded(context, source)
            else:
                await _look(context, source)
        except RunnerError as error:
            await _record(context.transactions, row.reference, pull_error=str(error), **_DONE)
        except asyncio.CancelledError:
            await asyncio.shield(_record(context.transactions, row.reference, claimed_at=None))
            raise
        except Exception as error:
            said = f"it could not be pulled ({type(error).__name__})"
            await _record(context.transactions, row.reference, pull_error=said, **_DONE)
            raise
    return count


async def check_present(context: ImageContext) -> None:
    """Compare what the engine has with what is known of the catalogue's images."""
    async with context.transactions(_WORKER) as tx:
        query = select(Definition.docker_image).where(Definition.docker_image.is_not(None)).distinct()
        names = (await tx.session.scalars(query)).all()
        hosts = await registries.known(tx)
        references = {registries.place(name, hosts) for name in names}
        known = {row.reference: row for row in (await tx.session.scalars(select(Image))).all()}
    found = await _in_thread(context.images.list_all)
    for reference in references | known.keys():
        image, row = found.get(reference), known.get(reference)
        if image is None and row is not None and row.present:
            await _record(context.transactions, reference, present=False, digest=None, size_bytes=None)
        elif image is not None and (row is None or (row.present, row.digest) != (True, image.digest)):
            await _record(context.transactions, reference, **_facts(image))


async def by_definition(
    tx: Transaction, definition_pks: Sequence[int]
) -> dict[int, tuple[str, Image | None]]:
    """Return, for each definition with an image, its reference as it is pulled, and what is known of it."""
    query = select(Definition.id, Definition.docker_image).where(
        Definition.id.in_(definition_pks), Definition.docker_image.is_not(None)
    )
    hosts = await registries.known(tx)
    references = {pk: registries.place(name, hosts) for pk, name in (await tx.session.execute(query)).all()}
    rows = (await tx.session.scalars(select(Image).where(Image.reference.in_(references.values())))).all()
    known = {row.reference: row for row in rows}
    return {pk: (reference, known.get(reference)) for pk, reference in references.items()}


async def definition_of(tx: Transaction, type_name: str, number: int) -> Definition:
    """Return the definition with a number, or that of the neuron with it, or raise NotFoundError."""
    query = select(Definition).where(Definition.id == number)
    if type_name != "NeuronDefinition":
        query = select(Definition).join(Neuron, Neuron.definition_pk == Definition.id)
        query = query.where(Neuron.id == number)
    found = (await tx.session.scalars(query)).one_or_none()
    if found is None:
        raise NotFoundError("there is no such neuron or definition", field=("id",))
    return found


_DONE: dict[str, Any] = {
    "requested_at": None,
    "claimed_at": None,
    "pull_requested": False,
    "pull_percent": None,
}


def _facts(image: EngineImage) -> dict[str, Any]:
    return {"present": True, "digest": image.digest, "size_bytes": image.size_bytes}


async def _find_present(images: Images, image: Wanted) -> str | None:
    """Return the reference by which the image is on the engine: as it is pulled, else as it is named."""
    for reference in dict.fromkeys((image.source.reference, image.name)):
        if await _in_thread(images.find, reference) is not None:
            return reference
    return None


async def _pull(context: ImageContext, source: Source, tell: Tell) -> EngineImage:
    """Pull, and record what came."""
    loop = asyncio.get_running_loop()
    told = -_STEP_PERCENT

    def progress(percent: float) -> None:
        nonlocal told
        if percent >= told + _STEP_PERCENT:
            told = percent
            loop.call_soon_threadsafe(tell, f"pulling {source.reference}", round(percent, 1))

    await _trust(context, source)
    image = await _in_thread(context.images.pull, source.reference, source.credentials, progress)
    values = {**_facts(image), "pulled_at": func.now(), "update_available": False, "pull_error": None}
    await _record(context.transactions, source.reference, **values)
    return image


async def _pull_recorded(context: ImageContext, source: Source) -> None:
    """Pull on request: progress goes to the image's row."""
    percent = 0.0

    def tell(_: str, value: float | None) -> None:
        nonlocal percent
        percent = value or percent

    pulling = asyncio.create_task(_pull(context, source, tell))
    try:
        while not pulling.done():
            await asyncio.wait({pulling}, timeout=_WRITE_SECONDS)
            if not pulling.done():
                # The claim is renewed with it.
                values = {"pull_percent": percent, "claimed_at": func.now()}
                await _record(context.transactions, source.reference, **values)
        await pulling
    finally:
        pulling.cancel()
    await _record(context.transactions, source.reference, **_DONE)


async def _look(context: ImageContext, source: Source) -> None:
    """Ask the registry for the digest that a reference has now."""
    await _trust(context, source)
    present = await _in_thread(context.images.find, source.reference)
    values: dict[str, Any] = {"checked_at": func.now(), "pull_error": None, **_DONE}
    if present is not None:
        digest = await _in_thread(context.images.find_remote_digest, source.reference, source.credentials)
        values |= {**_facts(present), "update_available": not present.digest.endswith(digest)}
    await _record(context.transactions, source.reference, **values)


async def _trust(context: ImageContext, source: Source) -> None:
    """Have the engine trust the instance's authorities for a registry; an organization's own are for its runs."""
    async with context.transactions(_WORKER) as tx:
        authorities = await network.instance_authorities(tx)
    await _in_thread(context.images.trust, source.host, authorities)


async def _request(tx: Transaction, references: Iterable[str], *, pull: bool) -> None:
    rows = [
        {"reference": reference, "requested_at": func.now(), "pull_requested": pull}
        for reference in references
    ]
    for row in rows:
        statement = insert(Image).values(present=False, **row)
        asked = {"requested_at": func.now(), "pull_requested": Image.pull_requested | pull}
        await tx.session.execute(statement.on_conflict_do_update(index_elements=["reference"], set_=asked))


async def _claim(transactions: Transactions) -> Image | None:
    """Claim one request; one whose worker died is claimed again."""
    free = Image.claimed_at.is_(None) | (Image.claimed_at < func.now() - _ABANDONED)
    first = (
        select(Image.reference)
        .where(Image.requested_at.is_not(None), free)
        .order_by(Image.requested_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    statement = (
        update(Image)
        .where(Image.reference == first.scalar_subquery())
        .values(claimed_at=func.now())
        .returning(Image)
        .execution_options(synchronize_session=False)
    )
    async with transactions(_WORKER) as tx:
        return (await tx.session.scalars(statement)).one_or_none()


async def _record(transactions: Transactions, reference: str, **values: Any) -> None:
    """Write what is known of an image; a digest that follows another one goes into the audit log."""
    async with transactions(_WORKER) as tx:
        after = values.get("digest")
        known = select(Image.digest).where(Image.reference == reference).with_for_update()
        before = await tx.session.scalar(known) if after else None
        if before is not None and before != after:
            values["previous_digest"] = before
            await audit.note_image(tx, reference, before, str(after))
            log.info("image.updated", reference=reference, before=before, after=after)
        new = {"reference": reference, "present": False, "pull_requested": False, **values}
        statement = insert(Image).values(new)
        await tx.session.execute(statement.on_conflict_do_update(index_elements=["reference"], set_=values))


async def _in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(_PULLS, partial(function, *arguments))
