"""What only the Docker runner does: how containers are made, and how they end."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cortexql.runner.base import Ending, Limits, RunnerError
from cortexql.runner.images import digest_of
from tests.parts.docker_engine import DockerEngine
from tests.parts.docker_images import ECHO, make_worker
from tests.runner.conformance import (
    Candidate,
    collect,
    finished,
    report_of,
    started,
    with_file,
)

pytestmark = pytest.mark.parts

PROJECT = Path(__file__).parents[2]


NON_ROOT = "cortexql-test/non-root:1"


async def test_hardening_is_seen_from_inside(candidate: Candidate) -> None:
    code = """
import os, socket
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
report(
    **{name: status[name].strip() for name in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")},
    interfaces=[name for _, name in socket.if_nameindex() if name == "lo" or name.startswith("eth")],
    user=os.getuid(),
    folder=os.getcwd(),
    arguments=sys.argv,
    stdin=sys.stdin.read(),
)
"""
    async with finished(candidate.runner, candidate.script(code)) as (outcome, _):
        assert report_of(outcome) == {
            "CapEff": "0000000000000000",
            "CapBnd": "0000000000000000",
            "NoNewPrivs": "1",
            "Seccomp": "2",
            "interfaces": ["lo"],
            "user": 0,
            "folder": "/worker",
            "arguments": ["Scripted/scripted.py"],
            "stdin": "",
        }


async def test_container_is_made_as_configured(candidate: Candidate, docker_engine: DockerEngine) -> None:
    limits = Limits(memory="64m", cpus=0.5, pids=17)
    spec = replace(candidate.spec(limits), labels={"cortexql.job": "5"})
    run = await candidate.runner.prepare(spec)
    seen = docker_engine.client.api.inspect_container(run.container)
    await candidate.runner.destroy(run)
    host, labels = seen["HostConfig"], seen["Config"]["Labels"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (64 * 2**20, 64 * 2**20, 500_000_000)
    assert (host["PidsLimit"], host["IpcMode"], host["NetworkMode"]) == (17, "private", "none")
    assert (host["LogConfig"]["Type"], host["RestartPolicy"]["Name"]) == ("none", "")
    assert (host["Privileged"], host["Binds"], seen["Config"]["Healthcheck"]) == (
        False,
        None,
        {"Test": ["NONE"]},
    )
    assert seen["Mounts"] == []
    assert (labels["cortexql.job"], labels["cortexql.run"]) == ("5", spec.run_id)
    assert labels["cortexql.image"] == ECHO


async def test_run_names_the_image_that_ran(candidate: Candidate, docker_engine: DockerEngine) -> None:
    async with started(candidate.runner, candidate.spec()) as run:
        assert run.image_digest == docker_engine.client.images.get(ECHO).id


async def test_worker_of_another_user_runs(candidate: Candidate, docker_engine: DockerEngine) -> None:
    make_worker(docker_engine.client, PROJECT / "neurons/analyzers/Echo", "echo.py", NON_ROOT, "USER 1000")
    artifact = {"dataType": "file", "filename": "a.txt", "content": "a"}
    spec = replace(with_file(candidate.spec(artifacts=[artifact]), "attachment", b"abc"), image=NON_ROOT)
    async with finished(candidate.runner, spec) as (outcome, _):
        assert report_of(outcome)["file"]["size"] == 3
        assert outcome.folder is not None
        assert len(list(outcome.folder.iterdir())) == 2


async def test_planted_report_of_a_killed_neuron_is_none(
    candidate: Candidate, docker_engine: DockerEngine
) -> None:
    code = "report(); print('planted', flush=True); import time; time.sleep(600)"
    async with started(candidate.runner, candidate.script(code)) as run:
        await anext(candidate.runner.follow(run))
        docker_engine.client.api.kill(run.container)
        outcome = await candidate.runner.wait(run)
    assert (outcome.ending, outcome.exit_code, outcome.output) == (Ending.KILLED, 137, None)


async def test_crashed_interpreter_is_killed(candidate: Candidate) -> None:
    async with finished(candidate.runner, candidate.script("report(); import os; os.abort()")) as (
        outcome,
        _,
    ):
        assert (outcome.ending, outcome.output) == (Ending.KILLED, None)


async def test_missing_image_is_named(candidate: Candidate) -> None:
    with pytest.raises(RunnerError, match=r"the image cortexql-test/none:1 is not on the Docker engine"):
        await candidate.runner.prepare(replace(candidate.spec(), image="cortexql-test/none:1"))
    assert candidate.list_left() == []


@pytest.mark.parametrize("image", ["", "A B", "../x", "x" * 500])
async def test_name_that_is_no_image_is_refused(candidate: Candidate, image: str) -> None:
    with pytest.raises(RunnerError):
        await candidate.runner.prepare(replace(candidate.spec(), image=image))


async def test_neuron_that_nobody_follows_waits_and_is_destroyed(candidate: Candidate) -> None:
    async with started(candidate.runner, candidate.spec(flood=50_000_000)) as run:
        waiting = asyncio.ensure_future(candidate.runner.wait(run))
        await asyncio.sleep(1)
        assert not waiting.done()
        await asyncio.wait_for(candidate.runner.destroy(run), 5)
        assert (await asyncio.wait_for(waiting, 5)).ending is Ending.KILLED


async def test_container_removed_by_another_is_a_kill(
    candidate: Candidate, docker_engine: DockerEngine
) -> None:
    async with started(candidate.runner, candidate.spec(hang=True)) as run:
        waiting = asyncio.ensure_future(candidate.runner.wait(run))
        await asyncio.sleep(0.2)
        docker_engine.client.api.remove_container(run.container, v=True, force=True)
        assert (await asyncio.wait_for(waiting, 5)).ending is Ending.KILLED


async def test_more_runs_than_connections_are_destroyed(candidate: Candidate) -> None:
    runs = [await candidate.runner.prepare(candidate.spec(hang=True)) for _ in range(15)]
    await asyncio.gather(*map(candidate.runner.start, runs))
    waits = [asyncio.ensure_future(candidate.runner.wait(run)) for run in runs]
    logs = [asyncio.ensure_future(collect(candidate.runner.follow(run))) for run in runs]
    await asyncio.sleep(0.2)
    await asyncio.gather(*map(candidate.runner.destroy, runs))
    assert {(await asyncio.wait_for(wait, 5)).ending for wait in waits} == {Ending.KILLED}
    assert await asyncio.wait_for(asyncio.gather(*logs), 5) == [[]] * 15


def test_digest_is_that_of_the_images_own_repository() -> None:
    found: dict[str, Any] = {"Id": "sha256:1", "RepoDigests": ["other/x@sha256:2", "h:5000/x/y@sha256:3"]}
    assert digest_of("h:5000/x/y:1", found) == "h:5000/x/y@sha256:3"
    assert digest_of("h:5000/x/y", found) == "h:5000/x/y@sha256:3"
    assert digest_of("h:5000/x/y@sha256:9", found) == "h:5000/x/y@sha256:3"
    assert digest_of("z", found) == "other/x@sha256:2"
    assert digest_of("z", {"Id": "sha256:1", "RepoDigests": []}) == "sha256:1"


async def test_read_only_root_leaves_the_job_folder(candidate: Candidate) -> None:
    code = """
try:
    open("/etc/written", "w")
except OSError as error:
    report(refused=error.strerror)
"""
    async with finished(candidate.runner, replace(candidate.script(code), read_only=True)) as (outcome, _):
        assert report_of(outcome) == {"refused": "Read-only file system"}


async def test_named_network_and_environment_reach_the_container(
    candidate: Candidate, docker_engine: DockerEngine
) -> None:
    spec = replace(candidate.spec(), network="cortexql-none", environment={"http_proxy": "http://p:1"})
    with pytest.raises(RunnerError):
        async with started(candidate.runner, spec):
            pass
    run = await candidate.runner.prepare(replace(candidate.spec(), network="none", environment={"A": "b"}))
    seen = docker_engine.client.api.inspect_container(run.container)
    await candidate.runner.destroy(run)
    assert seen["HostConfig"]["NetworkMode"] == "none"
    assert "A=b" in seen["Config"]["Env"]


async def test_neuron_that_ignores_sigterm_is_destroyed_at_once(candidate: Candidate) -> None:
    code = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(600)
"""
    async with started(candidate.runner, candidate.script(code)) as run:
        await anext(candidate.runner.follow(run))
        began = time.monotonic()
        await candidate.runner.destroy(run)
        assert time.monotonic() - began < 5
    assert candidate.list_left() == []
