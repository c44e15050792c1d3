"""Images from a real registry, with TLS from a private authority and a password, on a real engine."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from docker.errors import ImageNotFound
from sqlalchemy import select, text, update

from cortexql.models import (
    Audit,
    AuditAction,
    Definition,
    Image,
    ImagePolicy,
    JobStage,
    JobStatus,
    Neuron,
    RunnerKind,
)
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.runner import images as engine_images
from cortexql.runner.docker import DockerRunner
from cortexql.services import images, network, registries, workers
from cortexql.services.execution import Executor
from cortexql.services.preparation import ExecutionContext
from cortexql.services.registries import RegistrySetting
from tests.conftest import World
from tests.parts.docker_images import ECHO, make_worker
from tests.parts.fixtures import PullingEngine
from tests.parts.registry import PASSWORD, USERNAME
from tests.services.steps import TEST, events_of, get_job, submit_echo

# mypy: disable-error-code="arg-type,attr-defined"

pytestmark = pytest.mark.parts
ECHO_FOLDER = Path(__file__).parents[2] / "neurons/analyzers/Echo"


class Instance:
    """An executor whose Echo runs from an image of the registry."""

    def __init__(
        self, resources: Resources, world: World, parts: PullingEngine, runner: DockerRunner
    ) -> None:
        self.resources, self.world, self.parts = resources, world, parts
        self.client: Any = parts.engine.client
        self.reference = f"{parts.registry.host}/vendor/echo:1"
        settings = resources.settings.model_copy(update={"runners": ("docker",)})
        self.context = ExecutionContext(
            resources.transactions, {RunnerKind.DOCKER: runner}, resources.cipher, settings, runner.images
        )
        self.executor = Executor(self.context, "docker-worker")
        found = self.context.image_context()
        assert found is not None
        self.images = found

    async def set_up(self) -> None:
        async with self.resources.transactions(TEST) as tx:
            await tx.session.execute(
                update(Definition)
                .where(Definition.definition_id == "Echo_1_0")
                .values(docker_image=self.reference)
            )

    async def know_registry(self, password: str = PASSWORD, host: str = "", **more: str) -> None:
        setting = RegistrySetting(host or self.parts.registry.host, USERNAME, password, **more)
        async with self.resources.transactions(TEST) as tx:
            await registries.put(tx, setting, self.resources.cipher)

    async def trust_registry(self) -> None:
        async with self.resources.transactions(TEST) as tx:
            await network.add_authority(tx, "registry", self.parts.registry.authority.pem)

    async def set_policy(self, policy: ImagePolicy, digest: str | None = None) -> None:
        container = {"image_policy": policy.value} | ({"image_digest": digest} if digest else {})
        async with self.resources.transactions(TEST) as tx:
            await tx.session.execute(update(Neuron).values(container=container))

    async def run(self, **parameters: Any) -> Any:
        job_id = await submit_echo(self.resources, self.world.alpha, **parameters)
        await self.executor.run_jobs()
        return await get_job(self.resources, job_id)

    async def row(self) -> Image:
        async with self.resources.transactions(TEST) as tx:
            return await tx.session.get_one(Image, self.reference)

    def push(self, image: str = ECHO) -> str:
        return self.parts.registry.push(self.client, image, "vendor/echo:1")

    def forget(self) -> None:
        for image in self.client.images.list():
            for tag in [*image.attrs["RepoTags"], *image.attrs["RepoDigests"]]:
                # The last tag of an image takes its digests along.
                with suppress(ImageNotFound):
                    if "/vendor/" in tag:
                        self.client.images.remove(tag, force=True)


@pytest.fixture
async def instance(
    resources: Resources, world: World, pulling_engine: PullingEngine, tmp_path: Path
) -> AsyncIterator[Instance]:
    runner = DockerRunner(pulling_engine.engine.url, tmp_path)
    made = Instance(resources, world, pulling_engine, runner)
    await made.set_up()
    try:
        yield made
    finally:
        made.forget()
        runner.images.trust(pulling_engine.registry.host, "")
        runner.close()
        async with resources.engine.begin() as connection:
            await connection.execute(text("TRUNCATE image, registry, authority, proxy"))
            await connection.execute(
                text("UPDATE definition SET docker_image = NULL WHERE definition_id = 'Echo_1_0'")
            )


async def test_a_missing_image_is_pulled_with_progress_and_its_digest_recorded(instance: Instance) -> None:
    digest = instance.push()
    await instance.know_registry()
    await instance.trust_registry()
    job = await instance.run()
    assert (job.status, job.error_message) == (JobStatus.SUCCESS, None)
    assert job.image_digest == f"{instance.reference.removesuffix(':1')}@{digest}"
    events = [e for e in await events_of(instance.resources, job.id) if e.stage is JobStage.PULLING_IMAGE]
    percents = [event.percent for event in events]
    assert percents == sorted(percents)  # type: ignore[type-var]
    assert {event.message for event in events} == {f"pulling {instance.reference}"}
    row = await instance.row()
    assert (row.present, row.digest, row.pull_error) == (True, job.image_digest, None)
    assert row.pulled_at is not None
    again = await instance.run(n=2)
    assert JobStage.PULLING_IMAGE not in {e.stage for e in await events_of(instance.resources, again.id)}


async def test_a_registry_without_authority_or_password_is_named(instance: Instance) -> None:
    instance.push()
    unknown = await instance.run()
    assert unknown.status is JobStatus.FAILURE
    assert "x509: certificate signed by unknown authority" in unknown.error_message
    await instance.trust_registry()
    anonymous = await instance.run(n=2)
    assert "no basic auth credentials" in anonymous.error_message
    await instance.know_registry("wrong password")
    wrong = await instance.run(n=3)
    assert "unauthorized" in wrong.error_message
    assert "wrong password" not in wrong.error_message
    await instance.know_registry()
    assert (await instance.run(n=4)).status is JobStatus.SUCCESS
    missing = instance.reference.replace("echo:1", "echo:2")
    async with instance.resources.transactions(TEST) as tx:
        await tx.session.execute(
            update(Definition).where(Definition.definition_id == "Echo_1_0").values(docker_image=missing)
        )
    assert "manifest unknown" in (await instance.run(n=5)).error_message


async def test_policies_decide_what_runs(instance: Instance, tmp_path: Path) -> None:
    first = instance.push()
    await instance.know_registry()
    await instance.trust_registry()
    await instance.set_policy(ImagePolicy.NEVER)
    absent = await instance.run()
    assert absent.error_message == f"the image {instance.reference} is not on the Docker engine"
    await instance.set_policy(ImagePolicy.MISSING)
    assert (await instance.run(n=2)).image_digest.endswith(first)
    make_worker(instance.client, ECHO_FOLDER, "echo.py", "cortexql-test/newer:1", "LABEL newer=1")
    second = instance.push("cortexql-test/newer:1")
    assert second != first
    assert (await instance.run(n=3)).image_digest.endswith(first)
    await instance.set_policy(ImagePolicy.ALWAYS)
    assert (await instance.run(n=4)).image_digest.endswith(second)
    row = await instance.row()
    assert (row.previous_digest or "").endswith(first)
    async with instance.resources.transactions(TEST) as tx:
        query = select(Audit).where(Audit.subject == instance.reference).order_by(Audit.id.desc()).limit(1)
        told = (await tx.session.scalars(query)).one()
    assert (told.actor, told.action, told.organization_id) == ("images", AuditAction.CHANGED, None)
    assert (told.before, told.after) == ({"digest": row.previous_digest}, {"digest": row.digest})
    await instance.set_policy(ImagePolicy.DIGEST, first)
    pinned = await instance.run(n=5)
    assert (pinned.status, pinned.image_digest.endswith(first)) == (JobStatus.SUCCESS, True)


async def test_what_cannot_be_pulled_falls_back_to_what_is_there(instance: Instance) -> None:
    digest = instance.push()
    await instance.know_registry()
    await instance.trust_registry()
    await instance.set_policy(ImagePolicy.ALWAYS)
    assert (await instance.run()).status is JobStatus.SUCCESS
    await instance.know_registry("wrong password")
    job = await instance.run(n=2)
    assert (job.status, job.image_digest.endswith(digest)) == (JobStatus.SUCCESS, True)
    told = [e.message or "" for e in await events_of(instance.resources, job.id)]
    assert [line for line in told if line.endswith("; the image that is present runs")] != []
    assert "unauthorized" in ((await instance.row()).pull_error or "")


async def test_an_image_comes_from_the_mirror(instance: Instance) -> None:
    instance.push()
    await instance.know_registry(mirror_of="ghcr.io/upstream", path="vendor")
    await instance.trust_registry()
    async with instance.resources.transactions(TEST) as tx:
        await tx.session.execute(
            update(Definition)
            .where(Definition.definition_id == "Echo_1_0")
            .values(docker_image="ghcr.io/upstream/echo:1")
        )
    job = await instance.run()
    assert (job.status, job.image_digest.partition("@")[0]) == (
        JobStatus.SUCCESS,
        instance.reference.removesuffix(":1"),
    )


async def test_a_requested_pull_is_done_by_a_worker_and_a_refresh_looks_for_newer(instance: Instance) -> None:
    first = instance.push()
    await instance.know_registry()
    await instance.trust_registry()
    async with instance.resources.transactions(instance.world.alpha.principals[Role.ORGADMIN]) as tx:
        await workers.beat(tx, workers.Presence("docker-worker", 1, 0, ("docker",)))
        definition = await images.definition_of(tx, "Analyzer", instance.world.alpha.neuron.id)
        requested = await images.request_pull(tx, definition)
    assert (requested.present, requested.pull_requested) == (False, True)
    assert await images.serve_requests(instance.images) == 1
    row = await instance.row()
    assert (row.present, row.pull_requested, row.claimed_at, row.pull_error) == (True, False, None, None)
    assert (row.digest or "").endswith(first)
    make_worker(instance.client, ECHO_FOLDER, "echo.py", "cortexql-test/newer:1", "LABEL newer=2")
    second = instance.push("cortexql-test/newer:1")
    await _request_updates(instance)
    assert await images.serve_requests(instance.images) == 1
    row = await instance.row()
    assert (row.update_available, (row.digest or "").endswith(first)) == (True, True)
    await instance.set_policy(ImagePolicy.REFRESH)
    await _request_updates(instance)
    assert await images.serve_requests(instance.images) == 1
    row = await instance.row()
    assert (row.update_available, (row.digest or "").endswith(second)) == (False, True)
    instance.forget()
    await images.check_present(instance.images)
    assert ((await instance.row()).present, (await instance.row()).digest) == (False, None)


async def _request_updates(instance: Instance) -> None:
    async with instance.resources.transactions(TEST) as tx:
        await images.request_updates(tx, instance.resources.settings)


async def test_a_registry_that_hangs_is_left(
    instance: Instance, pulling_engine: PullingEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_images, "SILENCE_SECONDS", 1.0)
    with silent(pulling_engine.engine.gateway) as host:
        async with instance.resources.transactions(TEST) as tx:
            await tx.session.execute(
                update(Definition)
                .where(Definition.definition_id == "Echo_1_0")
                .values(docker_image=f"{host}/vendor/echo:1")
            )
        job = await asyncio.wait_for(instance.run(), 20)
    assert job.status is JobStatus.FAILURE
    assert "could not be pulled" in job.error_message


@contextmanager
def silent(address: str) -> Iterator[str]:
    """Listen, take connections, and never answer."""
    taken: list[socket.socket] = []
    with socket.create_server((address, 0)) as server:

        def accept() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"{address}:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in taken:
                connection.close()
