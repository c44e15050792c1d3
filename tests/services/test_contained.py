"""Execution on a real Docker engine: a job's cancel and timeout, and each way a container ends by its own message."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update

from cortexql.models import Artifact, Attachment, Definition, ImagePolicy, Job, JobStatus, Neuron, RunnerKind
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.runner import docker
from cortexql.runner.docker import DockerRunner
from cortexql.services import jobs, submission
from cortexql.services.execution import Executor
from cortexql.services.preparation import ExecutionContext
from cortexql.services.submission import JobRequest
from tests.conftest import World
from tests.graphql.execution import resident_bytes
from tests.parts.docker_engine import DockerEngine
from tests.parts.docker_images import make_images, make_worker
from tests.parts.fixtures import skipped_when_missing
from tests.runner.conformance import SCRIPTED, list_containers, make_scripted
from tests.services.steps import IP, TEST, events_of, get_job

# mypy: disable-error-code="arg-type,attr-defined"

pytestmark = pytest.mark.parts
DEAF = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
report()
print("up", flush=True)
time.sleep(600)
"""


class Instance:
    """An executor whose Echo runs as a program, in a container."""

    def __init__(self, resources: Resources, world: World, engine: DockerEngine, folder: Path) -> None:
        self.resources, self.world, self.engine, self.folder = resources, world, engine, folder
        self.runner = DockerRunner(engine.url, folder)
        settings = resources.settings.model_copy(update={"runners": ("docker",), "docker_network": "none"})
        runners = {RunnerKind.DOCKER: self.runner}
        self.context = ExecutionContext(
            resources.transactions, runners, resources.cipher, settings, self.runner.images
        )
        self.executor = Executor(self.context, "docker-worker")

    async def set_up(self, image: str = SCRIPTED) -> None:
        async with self.resources.transactions(TEST) as tx:
            echo = update(Definition).where(Definition.definition_id == "Echo_1_0")
            await tx.session.execute(echo.values(docker_image=image))

    def limit(self, **settings: Any) -> None:
        """Change the instance's settings."""
        changed = self.context.settings.model_copy(update=settings)
        self.context = replace(self.context, settings=changed)
        self.executor = Executor(self.context, "docker-worker")

    async def set(self, job_timeout: timedelta | None = None, **container: Any) -> None:
        async with self.resources.transactions(TEST) as tx:
            await tx.session.execute(update(Neuron).values(job_timeout=job_timeout, container=container))

    async def submit(self, code: str) -> int:
        request = JobRequest([IP], ["Echo_1_0"], parameters={"code": code})
        async with self.resources.transactions(self.world.alpha.principals[Role.ANALYZE]) as tx:
            (done,) = await submission.submit(tx, request, self.context.settings)
        assert done.job is not None, done.error
        return done.job.id

    async def end(self, code: str) -> Job:
        """Run a program to its end."""
        job_id = await self.submit(code)
        await asyncio.wait_for(self.executor.run_jobs(), 60)
        return await get_job(self.resources, job_id)

    @asynccontextmanager
    async def running(self, code: str) -> AsyncIterator[int]:
        """Run a program while the block does, once it has said `up`; the block's end waits for its end."""
        job_id = await self.submit(code)
        beating = asyncio.create_task(self.executor.heartbeat())
        running = asyncio.create_task(self.executor.run_jobs())
        try:
            async with asyncio.timeout(60):
                while "up" not in [event.message for event in await events_of(self.resources, job_id)]:
                    await asyncio.sleep(0.1)
                yield job_id
                await running
        finally:
            beating.cancel()
            running.cancel()
            await asyncio.gather(beating, running, return_exceptions=True)

    def list_left(self) -> list[str]:
        left = [str(path) for path in (self.folder / "docker").glob("*-*/*") if path.name != "lock"]
        return [*left, *list_containers(self.engine, self.folder)]


@asynccontextmanager
async def instance_on(
    resources: Resources, world: World, engine: DockerEngine, folder: Path
) -> AsyncIterator[Instance]:
    instance = Instance(resources, world, engine, folder)
    await instance.set_up()
    try:
        yield instance
    finally:
        instance.runner.close()
        async with resources.engine.begin() as connection:
            await connection.execute(text("TRUNCATE image"))
            await connection.execute(
                text("UPDATE definition SET docker_image = NULL WHERE definition_id = 'Echo_1_0'")
            )


@pytest.fixture
async def instance(
    resources: Resources, world: World, docker_engine: DockerEngine, tmp_path: Path
) -> AsyncIterator[Instance]:
    make_scripted(docker_engine)
    async with instance_on(resources, world, docker_engine, tmp_path) as made:
        yield made
        assert made.list_left() == []


async def test_cancel_ends_a_container_that_is_deaf_to_sigterm(instance: Instance) -> None:
    async with instance.running(DEAF) as job_id:
        analyst = instance.world.alpha.principals[Role.ANALYZE]
        async with instance.resources.transactions(analyst) as tx:
            await jobs.cancel(tx, job_id)
        began = asyncio.get_running_loop().time()
    # A beat, and no ten seconds of grace.
    assert asyncio.get_running_loop().time() - began < 8
    assert (await get_job(instance.resources, job_id)).status is JobStatus.CANCELLED
    assert instance.list_left() == []


async def test_timeout_ends_a_container_that_is_deaf_to_sigterm_and_tells_its_last_lines(
    instance: Instance,
) -> None:
    await instance.set(timedelta(seconds=3))
    began = asyncio.get_running_loop().time()
    job = await instance.end(DEAF)
    assert asyncio.get_running_loop().time() - began < 13
    message = "the neuron was stopped after its timeout of 3 s; it said last: up"
    assert (job.status, job.error_message) == (JobStatus.FAILURE, message)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("report(); print('eating', flush=True); x = bytearray(500_000_000)", "the neuron ran out of memory"),
        (
            "report(); print('eating', flush=True); import os; os.abort()",
            "the neuron was killed (exit code 1",
        ),
        (
            "print('eating', flush=True); (output / 'output.json').symlink_to('/etc/passwd')",
            "output.json is not a regular file",
        ),
        (
            "print('eating', flush=True); open(output / 'output.json', 'wb').truncate(10**9)",
            "output.json is larger than 1000 bytes",
        ),
        (
            "print('eating', flush=True); open(output / 'output.json', 'w').write('{')",
            "output.json is not JSON",
        ),
    ],
    ids=["memory", "abort", "link", "huge", "cut"],
)
async def test_each_end_has_its_own_message_and_the_last_lines(
    instance: Instance, code: str, message: str
) -> None:
    await instance.set(memory="64m", max_output_bytes=1000)
    job = await instance.end(code)
    assert job.status is JobStatus.FAILURE
    assert (job.error_message or "").startswith(message)
    assert "eating" in (job.error_message or "")


async def test_an_image_that_is_not_there_is_named_and_costs_nothing(instance: Instance) -> None:
    await instance.set_up("cortexql-test/none:1")
    await instance.set(image_policy=ImagePolicy.NEVER.value)
    job = await instance.end("report()")
    assert (job.status, job.error_message) == (
        JobStatus.FAILURE,
        "the image cortexql-test/none:1 is not on the Docker engine",
    )


async def test_an_engine_that_goes_away_or_restarts_is_named_with_the_last_lines(
    resources: Resources, world: World, tmp_path: Path
) -> None:
    with skipped_when_missing(), DockerEngine() as engine:
        make_images(engine.client)
        folder = Path(__file__).parents[1] / "runner" / "Scripted"
        # Else a restart waits ten seconds for what ignores SIGTERM.
        make_worker(engine.client, folder, "scripted.py", SCRIPTED, "STOPSIGNAL SIGKILL")
        async with instance_on(resources, world, engine, tmp_path) as instance:
            for disturb in (engine.kill, engine.restart):
                engine.start()
                async with instance.running(DEAF) as job_id:
                    await asyncio.to_thread(disturb)
                job = await get_job(resources, job_id)
                assert job.status is JobStatus.FAILURE
                assert (job.error_message or "").endswith("it said last: up")
                assert "engine went away" in (job.error_message or "") or "killed" in (
                    job.error_message or ""
                )
            engine.start()
            assert (await instance.end("report()")).status is JobStatus.SUCCESS


FORKS = """
import os, time
report()
print("up", flush=True)
while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.1)
"""
FLOOD = """
import os
report()
print("up", flush=True)
while True:
    os.write(1, b"noise\\n" * 10_000)
"""


@pytest.mark.parametrize(("code", "last"), [(FORKS, "up"), (FLOOD, "noise")], ids=["forks", "log"])
async def test_a_neuron_without_end_is_stopped_at_its_timeout_and_little_is_kept_of_it(
    instance: Instance, code: str, last: str
) -> None:
    await instance.set(timedelta(seconds=6), pids=64, memory="128m", max_log_lines=10)
    cpu, memory = time.process_time(), resident_bytes()
    async with instance.running(code) as job_id:
        pass
    job = await get_job(instance.resources, job_id)
    message = "the neuron was stopped after its timeout of 6 s; it said last: "
    assert job.status is JobStatus.FAILURE
    assert (job.error_message or "").startswith(message + last)
    # It may have been killed in the middle of a line.
    assert last.startswith((job.error_message or "").removeprefix(message).splitlines()[-1])
    # Less than the worker's own time, of which others' jobs need some; and the log is not in its memory.
    assert time.process_time() - cpu < 6
    assert resident_bytes() - memory < 100_000_000
    messages = [event.message for event in await events_of(instance.resources, job_id) if event.message]
    assert len(messages) < 20


async def test_a_neuron_that_fills_the_disk_is_killed_and_named(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker, "_WAIT_SECONDS", 0.5)
    instance.limit(docker_disk="1m")
    code = """
import time
print("filling", flush=True)
report()
for number in range(200):
    Path(f"/tmp/{number}").write_bytes(bytes(900_000))
time.sleep(60)
"""
    job = await instance.end(code)
    message = "the neuron wrote more than 1048576 bytes to its disk; it said last: filling"
    assert (job.status, job.error_message) == (JobStatus.FAILURE, message)


async def test_a_neurons_own_limits_are_those_of_its_containers(instance: Instance) -> None:
    instance.limit(docker_memory="512m", docker_cpus=1.0, docker_pids=99)
    client = instance.engine.client
    code = "import time\nprint('up', flush=True)\ntime.sleep({})\nreport(much='x' * 5000)"
    for own, expected in (
        ({}, (512 * 2**20, 1_000_000_000, 99)),
        ({"memory": "64m", "cpus": 0.5, "pids": 17}, (64 * 2**20, 500_000_000, 17)),
    ):
        await instance.set(**own, network="none", max_output_bytes=4000)
        async with instance.running(code.format(1 + len(own) / 10)) as job_id:
            (container,) = list_containers(instance.engine, instance.folder)
            host = client.api.inspect_container(container)["HostConfig"]
        assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == expected
        assert host["NetworkMode"] == "none"
        job = await get_job(instance.resources, job_id)
        assert (job.status, "larger than 4000 bytes" in (job.error_message or "")) == (
            JobStatus.FAILURE,
            True,
        )


@pytest.mark.parametrize("read_only", [False, True], ids=["writable", "read-only"])
async def test_a_neuron_runs_as_nobody_where_that_is_set(instance: Instance, *, read_only: bool) -> None:
    code = """
import os
(output / "made").write_text("")
writable = [path for path in ("/", "/etc", "/worker") if os.access(path, os.W_OK)]
raise SystemExit(f"{os.getuid()} {os.getgid()} {os.getgroups()} {writable}")
"""
    for non_root, told in ((True, "65534 65534 [65534] []"), (False, "0 0 ")):
        await instance.set(read_only=read_only, non_root=non_root)
        job = await instance.end(f"{code}# {non_root}")
        assert told in (job.error_message or "")
    await instance.set(read_only=read_only, non_root=True)
    assert (await instance.end("report()")).status is JobStatus.SUCCESS


async def test_artifacts_that_lead_elsewhere_are_left_out_of_the_report(instance: Instance) -> None:
    """Nothing of the worker's host or of the container's own system comes out by a name or a link."""
    code = """
import json, os
(output / "link").symlink_to("/etc/passwd")
(output / "there").symlink_to("/etc")
os.mkfifo(output / "pipe")
(output / "good").write_text("good")
(output / "folder").mkdir()
(output / "folder" / "below").write_text("below")
names = ["../../x", "/etc/passwd", "link", "there/passwd", "pipe", "folder", "folder/below", "../input/input.json",
         "good\\0", "", ".", "..", "absent", "good"]
artifacts = [{"dataType": "file", "file": name, "filename": "../../" + name} for name in names]
(output / "output.json").write_text(json.dumps({"success": True, "full": {}, "artifacts": artifacts}))
"""
    job = await instance.end(code)
    assert (job.status, job.error_message) == (JobStatus.SUCCESS, None)
    async with instance.resources.transactions(TEST) as tx:
        stored = (await tx.session.scalars(select(Attachment).order_by(Attachment.id))).all()
        kept = (await tx.session.scalars(select(Artifact))).all()
    assert [row.sha256 for row in stored] == [hashlib.sha256(b"good").hexdigest()]
    assert [row.attachment_id for row in kept if row.attachment_id] == [stored[0].id]
