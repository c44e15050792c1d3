"""What every runner promises: the life cycle of `Runner`, seen from its caller."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cortexql.runner.base import LAST_LINES, MAX_LINE_BYTES, Ending, InputFile, Limits, RunnerError, RunSpec
from tests.runner.conformance import (
    Candidate,
    collect,
    describe,
    docker_candidate,
    fake_candidate,
    finished,
    make,
    process_candidate,
    report_of,
    started,
    with_file,
)

DOCKER = pytest.param("docker", marks=pytest.mark.parts)
ODD_NAMES = ["attachment8123", "-rf", "két fájl", "a\nb", ".hidden", "x" * 200, "日" * 80]


@pytest.fixture(params=["process", DOCKER, "fake"])
def candidate(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Candidate]:
    yield from make_candidate(request, tmp_path)


@pytest.fixture(params=["process", DOCKER])
def real(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Candidate]:
    """Return a runner that runs programs."""
    yield from make_candidate(request, tmp_path)


def make_candidate(request: pytest.FixtureRequest, folder: Path) -> Iterator[Candidate]:
    """Make a runner, and see that its test left nothing behind."""
    if request.param == "docker":
        making = docker_candidate(folder, request.getfixturevalue("docker_engine"))
    else:
        making = {"process": process_candidate, "fake": fake_candidate}[request.param](folder)
    with making as candidate:
        yield candidate
        assert candidate.list_left() == []


async def test_neuron_that_ends_gives_its_report(candidate: Candidate) -> None:
    async with finished(candidate.runner, candidate.spec()) as (outcome, lines):
        assert (outcome.ending, outcome.exit_code, outcome.problem) == (Ending.EXITED, 0, None)
        assert report_of(outcome)["data"] == "1.1.1.1"
        assert outcome.folder is not None
        assert outcome.folder.is_dir()
        assert lines == []
    assert not outcome.folder.exists()


async def test_job_folder_is_what_cortexutils_expects(candidate: Candidate) -> None:
    spec = with_file(replace(candidate.spec(), cacerts="-----BEGIN…"), "attachment1", b"content", "kép.png")
    run = await candidate.runner.prepare(spec)
    given = {path.name: path.read_bytes() for path in run.workspace.input.iterdir()}
    assert json.loads(given.pop("input.json").decode()) == spec.input
    assert given == {"attachment1": b"content", "cacerts": "-----BEGIN…".encode()}
    assert list(run.workspace.output.iterdir()) == []
    assert run.workspace.folder.stat().st_mode & 0o777 == 0o700
    await candidate.runner.destroy(run)


async def test_lines_come_whole_and_in_order(candidate: Candidate) -> None:
    said = [f"line {number} é" for number in range(2000)]
    async with finished(candidate.runner, candidate.spec(print=said)) as (_, lines):
        assert lines == said


async def test_lines_come_while_the_neuron_runs(candidate: Candidate) -> None:
    async with started(candidate.runner, candidate.spec(print=["first"], **candidate.hang)) as run:
        waiting = asyncio.ensure_future(candidate.runner.wait(run))
        lines = candidate.runner.follow(run)
        assert await asyncio.wait_for(anext(lines), 10) == "first"
        assert not waiting.done()
        await candidate.runner.destroy(run)
        assert (await waiting).ending is Ending.KILLED


async def test_destroy_after_prepare_leaves_nothing(candidate: Candidate) -> None:
    run = await candidate.runner.prepare(candidate.spec())
    await candidate.runner.destroy(run)
    assert candidate.list_left() == []


async def test_destroy_while_starting_leaves_nothing(candidate: Candidate) -> None:
    run = await candidate.runner.prepare(candidate.spec(**candidate.hang))
    starting = asyncio.create_task(candidate.runner.start(run))
    await asyncio.sleep(0)
    await candidate.runner.destroy(run)
    await asyncio.gather(starting, return_exceptions=True)
    assert starting.exception() is None or isinstance(starting.exception(), RunnerError)
    await candidate.runner.destroy(run)
    assert candidate.list_left() == []


async def test_destroy_ends_what_is_deaf_to_sigterm(candidate: Candidate) -> None:
    async with started(candidate.runner, candidate.spec(**candidate.hang)) as run:
        waiting = asyncio.ensure_future(candidate.runner.wait(run))
        following = asyncio.ensure_future(collect(candidate.runner.follow(run)))
        await asyncio.sleep(0.5)
        await candidate.runner.destroy(run)
        outcome = await asyncio.wait_for(waiting, 3)
        assert (outcome.ending, outcome.output) == (Ending.KILLED, None)
        assert await asyncio.wait_for(following, 3) == []
        assert candidate.list_left() == []


async def test_destroy_comes_as_often_as_it_likes(candidate: Candidate) -> None:
    async with started(candidate.runner, candidate.spec(**candidate.hang)) as run:
        waiting = asyncio.ensure_future(candidate.runner.wait(run))
        await asyncio.sleep(0.1)
        await asyncio.gather(*(candidate.runner.destroy(run) for _ in range(3)))
        assert (await asyncio.wait_for(waiting, 3)).ending is Ending.KILLED
        await candidate.runner.destroy(run)


@pytest.mark.parametrize("seconds", [0, 0.003, 0.03, 0.1])
async def test_cancelled_prepare_leaves_nothing(candidate: Candidate, seconds: float) -> None:
    preparing = asyncio.create_task(candidate.runner.prepare(candidate.spec()))
    await asyncio.sleep(seconds)
    was_under_way = preparing.cancel()
    await asyncio.gather(preparing, return_exceptions=True)
    if not was_under_way:
        await candidate.runner.destroy(preparing.result())
    for _ in range(100):
        if candidate.list_left():
            await asyncio.sleep(0.05)
    assert candidate.list_left() == []


async def test_runs_at_once_are_independent(candidate: Candidate) -> None:
    async def run(number: int) -> None:
        said = f"run {number}"
        async with finished(candidate.runner, candidate.spec(print=[said], sleep=0.2)) as (outcome, lines):
            assert (outcome.ending, lines) == (Ending.EXITED, [said])

    async with started(candidate.runner, candidate.spec(**candidate.hang)) as hanging:
        waiting = asyncio.ensure_future(candidate.runner.wait(hanging))
        await asyncio.gather(*map(run, range(6)))
        assert not waiting.done()
        await candidate.runner.destroy(hanging)
        await waiting


async def test_start_that_fails_is_named_and_leaves_nothing(candidate: Candidate) -> None:
    run = await candidate.runner.prepare(make(candidate.unstartable, {"refuse": "no"}))
    with pytest.raises(RunnerError):
        await candidate.runner.start(run)
    await candidate.runner.destroy(run)
    assert candidate.list_left() == []


@pytest.mark.parametrize(
    "name", ["", "..", "../x", "/etc/x", "a/b", "input.json", "cacerts", "a\0b", "x" * 300]
)
async def test_file_with_a_name_of_another_place_is_refused(candidate: Candidate, name: str) -> None:
    with pytest.raises(RunnerError):
        await candidate.runner.prepare(with_file(candidate.spec(), name, b"content"))
    assert candidate.list_left() == []


async def test_file_that_cannot_be_read_leaves_nothing(candidate: Candidate) -> None:
    async def read() -> AsyncIterator[bytes]:
        yield b"content"
        raise LookupError("gone")

    with pytest.raises(LookupError):
        await candidate.runner.prepare(replace(candidate.spec(), file=InputFile("attachment", read)))
    assert candidate.list_left() == []


async def test_no_neuron_for_this_runner_is_refused(real: Candidate) -> None:
    with pytest.raises(RunnerError):
        await real.runner.prepare(make(RunSpec("", {}), {}))
    assert real.list_left() == []


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_file_arrives_byte_by_byte(real: Candidate, name: str) -> None:
    content = bytes(range(256)) * 20_000 + b"\r\n\0"
    spec = with_file(real.spec(), name, content, filename="../../kép\0\n.png")
    async with finished(real.runner, spec) as (outcome, _):
        assert report_of(outcome)["file"] == describe("../../kép\0\n.png", content)


async def test_empty_file_arrives(real: Candidate) -> None:
    async with finished(real.runner, with_file(real.spec(), "attachment", b"")) as (outcome, _):
        assert report_of(outcome)["file"] == describe("mail.eml", b"")


async def test_files_of_the_report_are_in_the_folder(real: Candidate) -> None:
    artifact = {"dataType": "file", "filename": "é.txt", "content": "tartalom é"}
    async with finished(real.runner, real.spec(artifacts=[artifact])) as (outcome, _):
        assert outcome.output is not None
        assert outcome.folder is not None
        [made] = json.loads(outcome.output)["artifacts"]
        assert (outcome.folder / made["file"]).read_text() == "tartalom é"


async def test_error_report_comes_with_its_exit_code(real: Candidate) -> None:
    async with finished(real.runner, real.spec(fail="no such thing")) as (outcome, _):
        assert (outcome.ending, outcome.exit_code) == (Ending.EXITED, 1)
        assert outcome.output is not None
        assert json.loads(outcome.output)["errorMessage"] == "no such thing"


async def test_crash_gives_no_output_and_its_last_words(real: Candidate) -> None:
    async with finished(real.runner, real.spec(crash="what now")) as (outcome, lines):
        assert (outcome.ending, outcome.exit_code, outcome.output) == (Ending.EXITED, 1, None)
        assert outcome.problem is None
        assert lines[-1] == "RuntimeError: what now"


async def test_exit_without_report_gives_no_output(real: Candidate) -> None:
    async with finished(real.runner, real.spec(exit=3)) as (outcome, lines):
        assert (outcome.ending, outcome.exit_code, outcome.output) == (Ending.EXITED, 3, None)
        assert lines == []


async def test_children_left_behind_hold_nothing_up(real: Candidate) -> None:
    async with finished(real.runner, real.spec(spawn=3)) as (outcome, _):
        assert (outcome.ending, outcome.exit_code) == (Ending.EXITED, 0)
        assert report_of(outcome)["data"] == "1.1.1.1"


async def test_stderr_is_in_the_log(real: Candidate) -> None:
    async with finished(real.runner, real.spec(print=["one"], stderr=["two"])) as (_, lines):
        assert sorted(lines) == ["one", "two"]


async def test_report_of_14_mb_is_taken(real: Candidate) -> None:
    size = 14 * 2**20
    async with finished(real.runner, real.spec(huge=size)) as (outcome, _):
        assert outcome.output is not None
        assert len(json.dumps(report_of(outcome))) == size


async def test_report_over_the_limit_is_named(real: Candidate) -> None:
    limits = Limits(max_output_bytes=10_000)
    async with finished(real.runner, real.spec(limits, huge=20_000)) as (outcome, _):
        assert (outcome.ending, outcome.output) == (Ending.EXITED, None)
        assert outcome.problem == "output.json is larger than 10000 bytes"


@pytest.mark.parametrize(
    "code",
    [
        "(output / 'output.json').symlink_to('/etc/passwd')",
        "(output / 'output.json').mkdir()",
        "import os; os.mkfifo(output / 'output.json')",
        "report(); (output / 'output.json').rename(folder / 'x'); (output / 'output.json').symlink_to('../x')",
        (
            "import os, socket\n"
            "socket.socket(socket.AF_UNIX).bind(f'/proc/self/fd/{os.open(output, 0)}/output.json')"
        ),
    ],
)
async def test_output_that_is_no_file_is_refused(real: Candidate, code: str) -> None:
    async with finished(real.runner, real.script(code)) as (outcome, _):
        assert (outcome.ending, outcome.output) == (Ending.EXITED, None)


@pytest.mark.parametrize("code", ["output.rmdir()", "output.rename(folder / 'input' / 'x')"])
async def test_output_folder_removed_is_no_output(real: Candidate, code: str) -> None:
    async with finished(real.runner, real.script(code)) as (outcome, _):
        assert (outcome.ending, outcome.output, outcome.problem) == (Ending.EXITED, None, None)


async def test_folder_that_the_neuron_closed_is_removed(real: Candidate) -> None:
    code = "report(); (output / 'a').mkdir(); (output / 'a' / 'b').mkdir(); (output / 'a').chmod(0)"
    async with finished(real.runner, real.script(code)) as (outcome, _):
        assert report_of(outcome) == {}


async def test_of_a_log_that_is_too_long_the_last_lines_come_at_the_end(real: Candidate) -> None:
    for count, end in ((5, ""), (50, ""), (50_000, ""), (50_000, "rest")):
        code = f"report(); print('\\n'.join(map(str, range({count}))))\nprint('{end}', end='')"
        async with finished(real.runner, real.script(code, Limits(max_log_lines=3))) as (outcome, lines):
            assert report_of(outcome) == {}
        last = [*map(str, range(4, count)), *([end] if end else [])][-LAST_LINES:]
        assert lines == ["0", "1", "2", "3", *last]


async def test_line_without_end_is_cut_and_nul_replaced(real: Candidate) -> None:
    code = "sys.stdout.write('é' * 10_000 + 'a\\0b\\r\\nlast'); report()"
    async with finished(real.runner, real.script(code)) as (_, lines):
        assert "".join(lines) == "é" * 10_000 + "a\ufffdblast"
        assert lines[-1] == "last"
        assert all(len(line.encode()) <= MAX_LINE_BYTES for line in lines)


async def test_flood_is_followed_to_its_end(real: Candidate) -> None:
    async with finished(real.runner, real.spec(flood=10_000_000)) as (outcome, lines):
        assert outcome.ending is Ending.EXITED
        assert sum(len(line) + 1 for line in lines) >= 10_000_000


async def test_cacerts_are_named_to_the_usual_libraries(real: Candidate) -> None:
    async with finished(real.runner, replace(real.spec(environment=True), cacerts="PEM")) as (outcome, _):
        environment: dict[str, Any] = report_of(outcome)["environment"]
    names = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
    assert {environment[name].endswith("/input/cacerts") for name in names} == {True}


async def test_environment_is_not_ours(real: Candidate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORTEXQL_SECRET_KEY", "x" * 40)
    async with finished(real.runner, real.spec(environment=True)) as (outcome, _):
        names = set(report_of(outcome)["environment"])
    assert names <= {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "HOME", "HOSTNAME"}
    assert "CORTEXQL_SECRET_KEY" in os.environ
