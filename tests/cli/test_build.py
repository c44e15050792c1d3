"""`cortexql build` with a real engine, git repositories and a registry."""

import asyncio
import io
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pip
import pytest
from docker.errors import ImageNotFound
from sqlalchemy import text

from cortexql.catalog import source
from cortexql.cli import main
from cortexql.resources import Resources
from cortexql.services import network, registries
from tests.parts import debian
from tests.parts.docker_engine import DockerEngine
from tests.parts.docker_images import BASE
from tests.parts.fixtures import PullingEngine
from tests.parts.registry import PASSWORD, USERNAME
from tests.parts.test_docker_engine import HARDENED, run_job, to_job
from tests.services.steps import TEST

pytestmark = pytest.mark.parts
ECHO_FOLDER = Path(__file__).parents[2] / "neurons/analyzers/Echo"
PATIENCE_SECONDS = 60


class Repository:
    """A folder laid out as the public repository, with the Echo analyzer in two flavours, and a command to build it."""

    def __init__(self, folder: Path, engine: DockerEngine) -> None:
        self.folder, self.output, self.engine = folder / "neurons", folder / "catalogues", engine
        self.echo = self.folder / "analyzers/Echo"
        shutil.copytree(ECHO_FOLDER, self.echo, ignore=shutil.ignore_patterns("test_*", "__pycache__"))
        # The base has cortexutils, and no pip.
        (self.echo / "requirements.txt").unlink()
        self.define("Echo", "Echo.Two", "echo-two.json", version="2.1.3")

    def define(self, folder: str, name: str, file: str, kind: str = "analyzers", **changes: Any) -> None:
        entry = json.loads((ECHO_FOLDER / "Echo.json").read_text()) | {"name": name} | changes
        path = self.folder / kind / folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(entry))

    def command(self, *arguments: str, source: str | None = None) -> list[str]:
        command = [sys.executable, "-m", "cortexql", "build", source or str(self.folder)]
        return [*command, "--base", BASE, "--output", str(self.output), *arguments]

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        own = {"CORTEXQL_DOCKER_HOST": self.engine.url, "CORTEXQL_DATA_DIR": str(self.folder.parent / "data")}
        return {**os.environ, **own, **more}

    def build(
        self, *arguments: str, source: str | None = None, code: int = 0, **environment: str
    ) -> tuple[list[str], str]:
        """Run the command in this process; return its lines on stdout, without the output's folder, and its stderr."""
        said, errors = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), redirect_stderr(errors):
            patch.setattr(sys, "argv", ["cortexql", *self.command(*arguments, source=source)[3:]])
            # The logs of this process stay where they are.
            patch.setattr("cortexql.log.configure", lambda _: None)
            patch.chdir(self.folder.parent)
            for name, value in self.environment(environment).items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        assert ended.value.code == code, said.getvalue() + errors.getvalue()
        return said.getvalue().replace(f"{self.output}/", "").splitlines(), errors.getvalue()

    def catalogue(self, kind: str = "analyzers") -> dict[str, Any]:
        entries = json.loads((self.output / f"{kind}.json").read_text())
        return {entry["name"]: entry for entry in entries}

    def image(self, reference: str) -> Any:
        return self.engine.client.images.get(reference)


@pytest.fixture
def repository(docker_engine: DockerEngine, tmp_path: Path) -> Iterator[Repository]:
    debian.install("git")
    with cleaned(docker_engine):
        yield Repository(tmp_path, docker_engine)


@contextmanager
def cleaned(engine: DockerEngine) -> Iterator[None]:
    """Leave the engine with the images that it had."""
    before = {tag for image in engine.client.images.list() for tag in image.tags}
    yield
    for image in engine.client.images.list():
        for tag in set(image.tags) - before:
            engine.client.images.remove(tag)
    # What a build that failed had made.
    engine.client.images.prune()


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=tests", "-c", "user.email=tests@localhost")
    done = subprocess.run(
        ["git", *who, "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit(repository: Repository) -> str:
    """Commit all, and return the commit's name."""
    git(repository.folder, "add", "--all")
    git(repository.folder, "commit", "--quiet", "--message", "change")
    return git(repository.folder, "rev-parse", "HEAD")


def test_a_folder_is_built_whole_then_what_changed_and_its_images_run(repository: Repository) -> None:
    repository.define("Own", "Own", "Own.json", kind="responders", requirements="packages.txt")
    own = repository.folder / "responders/Own"
    (own / "Dockerfile").write_text(f"FROM {BASE}\nARG REQUIREMENTS\nCOPY . Own\nENV TOOK=$REQUIREMENTS\n")
    lines, _ = repository.build()
    assert lines == [
        "built localhost/echo:1",
        "built localhost/echo.two:2",
        "built localhost/own:1",
        "wrote analyzers.json",
        "wrote responders.json",
        "3 built, 0 unchanged, 0 failed",
    ]
    published = repository.catalogue()["Echo"]
    assert (published["dockerImage"], "command" in published) == ("localhost/echo:1", False)
    assert repository.catalogue("responders")["Own"]["dockerImage"] == "localhost/own:1"
    echo, two = repository.image("localhost/echo:1.0"), repository.image("localhost/echo.two:2.1.3")
    assert echo.id == repository.image("localhost/echo:1").id
    assert two.labels["org.opencontainers.image.version"] == "2.1.3"
    assert "TOOK=packages.txt" in repository.image("localhost/own:1").attrs["Config"]["Env"]
    for user in ("", "1000"):
        container = repository.engine.client.containers.create("localhost/echo.two:2", user=user, **HARDENED)
        code, files = run_job(container, to_job())
        container.remove(v=True)
        assert (code, json.loads(files["output/output.json"])["success"]) == (0, True)

    assert repository.build()[0] == ["0 built, 3 unchanged, 0 failed"]
    (own / "more.txt").write_text("more")
    assert repository.build()[0] == ["built localhost/own:1", "1 built, 2 unchanged, 0 failed"]
    (repository.echo / "__pycache__").mkdir()
    (repository.echo / "__pycache__/echo.pyc").touch()
    (own / ".dockerignore").write_text("# none of these\nmore.txt\n")
    assert repository.build()[0][-1] == "1 built, 2 unchanged, 0 failed"
    assert repository.engine.client.images.list(filters={"dangling": True}) == []
    (own / "more.txt").write_text("even more")
    assert repository.build()[0] == ["0 built, 3 unchanged, 0 failed"]


def test_requirements_are_installed_for_every_user(repository: Repository, tmp_path: Path) -> None:
    make_base_with_pip(repository.engine, tmp_path / "context")
    (repository.echo / "echo-two.json").unlink()
    (repository.echo / "requirements.txt").write_text("tiny==1\n")
    options = ["--base", "localhost/with-pip", "--build-arg", "PIP_FIND_LINKS=/wheels"]
    options += ["--build-arg", "PIP_NO_INDEX=1", "--build-arg", "PIP_BREAK_SYSTEM_PACKAGES=1"]
    assert repository.build(*options)[0][-1] == "1 built, 0 unchanged, 0 failed"
    said = repository.engine.client.containers.run(
        "localhost/echo:1",
        ["-c", "import tiny; print(tiny.__file__)"],
        entrypoint="python",
        user="1000",
        remove=True,
    )
    assert said.endswith(b"/tiny.py\n")
    (repository.echo / "requirements.txt").write_text("tiny==2\n")
    lines, _ = repository.build(*options, code=1)
    assert "No matching distribution found for tiny==2" in "\n".join(lines)


def make_base_with_pip(engine: DockerEngine, folder: Path) -> None:
    """Add this environment's pip to the base, and a wheel of a module `tiny`."""
    shutil.copytree(Path(pip.__file__).parent, folder / "pip", ignore=shutil.ignore_patterns("__pycache__"))
    about = "tiny-1.dist-info"
    with zipfile.ZipFile(folder / "tiny-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny.py", "")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    (folder / "start").write_text('#!/bin/sh\nexec python3 -m pip "$@"\n')
    (folder / "start").chmod(0o755)
    packages = "/usr/local/lib/python3.11/dist-packages"
    (folder / "Dockerfile").write_text(
        f"FROM {BASE}\nCOPY pip {packages}/pip\nCOPY start /usr/local/bin/pip\nCOPY *.whl /wheels/\n"
    )
    engine.client.images.build(path=str(folder), tag="localhost/with-pip", rm=True)


async def test_what_cannot_be_built_is_told_and_keeps_its_last_entry(repository: Repository) -> None:
    repository.build()
    repository.define("Echo", "Echo", "Echo.json", description="changed")
    noise = "echo the reason >&2; printf 'a\\033]0;title\\n'; exit 3"
    (repository.echo / "Dockerfile").write_text(f"FROM {BASE}\nRUN {noise}\n")
    repository.define("Broken", "Broken", "Broken.json")
    (repository.folder / "analyzers/Broken/bad.json").write_text("{")
    outside = repository.folder.parent / "outside"
    shutil.copytree(ECHO_FOLDER, outside / "Echo")
    (repository.folder / "analyzers/Linked").symlink_to(outside / "Echo")
    repository.define("Good", "Good", "Good.json", command="Good/good.py")
    (repository.folder / "analyzers/Good/good.py").touch()
    repository.define("Good", "good", "Again.json", command="Good/good.py")
    repository.define("NoBase", "NoBase", "NoBase.json")
    (repository.folder / "analyzers/NoBase/Dockerfile").write_text("FROM cortexql-test/none:1\n")
    lines, error = repository.build(code=1)
    assert (lines[-1], error) == ("1 built, 0 unchanged, 7 failed", "cortexql: 7 of 8 could not be built\n")
    assert {"built localhost/good:1", "wrote analyzers.json"} <= set(lines)
    errors = "\n".join(lines)
    assert (
        "failed analyzers/Broken/Broken.json: it has no Dockerfile, and its command 'Echo/echo.py'" in errors
    )
    assert "failed analyzers/Broken/bad.json: it is not JSON" in errors
    assert "failed analyzers/Linked/Echo.json: it, its folder or its Dockerfile is a symbolic link" in errors
    assert "failed analyzers/Good/Good.json: another definition makes the image localhost/good:1" in errors
    assert f"failed localhost/echo:1: The command '/bin/sh -c {noise}'" in errors
    assert ("\n    the reason\n" in errors, "a\ufffd]0;title" in errors, "\033" in errors) == (
        True,
        True,
        False,
    )
    assert "failed localhost/nobase:1: its base image cortexql-test/none:1 could not be pulled: " in errors
    catalogue = repository.catalogue()
    assert list(catalogue) == ["good", "Echo", "Echo.Two"]
    assert catalogue["Echo"]["description"] != "changed"
    read = await source.read(str(repository.output / "analyzers.json"), "analyzer")
    assert (len(read.definitions), read.invalid) == (3, ())


def test_a_definition_that_cannot_be_read_keeps_its_last_entry(repository: Repository) -> None:
    repository.define("Good", "Good", "Good.json", command="Good/good.py")
    (repository.folder / "analyzers/Good/good.py").touch()
    repository.build()
    (repository.echo / "echo-two.json").write_text("{")
    repository.define("Echo", "Echo", "Echo.json", version="1.1")
    repository.define("Good", "Good", "Good.json", command="Good/none.py")
    repository.build(code=1)
    kept = json.loads((repository.output / "analyzers.json").read_text())
    assert sorted((entry["name"], entry["version"]) for entry in kept) == [
        ("Echo", "1.1"),
        ("Echo.Two", "2.1.3"),
        ("Good", "1.0"),
    ]
    # What is gone, and not broken, is gone from the catalogue.
    (repository.echo / "echo-two.json").unlink()
    repository.build(code=1)
    assert sorted(repository.catalogue()) == ["Echo", "Good"]


def test_where_every_build_fails_the_catalogue_stays_as_it_is(repository: Repository) -> None:
    (repository.echo / "Dockerfile").write_text("FROM cortexql-test/none:1\n")
    lines, error = repository.build(code=1)
    assert lines[-1] == "0 built, 0 unchanged, 2 failed"
    assert not repository.output.exists()
    (repository.echo / "Dockerfile").unlink()
    repository.build()
    before = (repository.output / "analyzers.json").read_bytes()
    (repository.echo / "Dockerfile").write_text(f"FROM {BASE}\nRUN exit 1\n")
    (repository.echo / "echo-two.json").rename(repository.echo / "renamed.json")
    repository.define("Echo", "Renamed", "renamed.json")
    lines, error = repository.build(code=1)
    assert (lines[-1], error) == (
        "0 built, 0 unchanged, 2 failed",
        "cortexql: 2 of 2 could not be built\n",
    )
    assert (repository.output / "analyzers.json").read_bytes() == before


def test_a_git_repository_is_built_and_watched(repository: Repository) -> None:
    git(repository.folder.parent, "init", "--quiet", "--initial-branch=main", "neurons")
    first = commit(repository)
    bare = repository.folder.parent / "neurons.git"
    git(repository.folder.parent, "clone", "--quiet", "--bare", "neurons", str(bare))
    assert repository.build(source=str(bare))[0][-1] == "2 built, 0 unchanged, 0 failed"
    assert revision(repository) == first
    watching = subprocess.Popen(
        repository.command("--watch", "--interval", "0.1s", source=str(bare)),
        env=repository.environment({}),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        repository.define("Echo", "Echo", "Echo.json", description="changed")
        second = commit(repository)
        git(repository.folder, "push", "--quiet", str(bare), "main")
        wait_until(lambda: revision(repository) == second and "Echo" in repository.catalogue())
        wait_until(lambda: repository.catalogue()["Echo"]["description"] == "changed")
        assert watching.poll() is None
    finally:
        watching.terminate()
        said, _ = watching.communicate()
    assert said.splitlines()[0] == "built localhost/echo:1"
    git(repository.folder, "branch", "side", first)
    git(repository.folder, "push", "--quiet", str(bare), "side")
    repository.build("--branch", "side", source=str(bare))
    assert revision(repository) == first


def revision(repository: Repository) -> str:
    try:
        label: str = repository.image("localhost/echo:1").labels["org.opencontainers.image.revision"]
    except ImageNotFound:
        return ""
    return label


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_faults_of_the_source_are_one_line(repository: Repository) -> None:
    secret = "https://user:hidden-password@localhost:1/neurons.git"
    _, errors = repository.build(source=secret, code=1)
    assert errors.startswith("cortexql: git cannot fetch https://localhost:1/neurons.git: ")
    assert ("hidden-password" in errors, errors.count("\n")) == (False, 1)
    empty = repository.folder.parent / "empty"
    empty.mkdir()
    assert "git cannot fetch" in repository.build(source=str(empty), code=1)[1]
    python_only = repository.folder.parent / "bin"
    python_only.mkdir()
    _, errors = repository.build(source="/no/such", code=1, PATH=str(python_only))
    assert errors == "cortexql: a git repository needs the program git, which is not here\n"
    _, errors = repository.build(code=1, CORTEXQL_DOCKER_HOST="tcp://127.0.0.1:1")
    assert errors.startswith("cortexql: the Docker engine does not answer")


async def test_images_and_their_bases_are_in_a_registry_with_a_password(
    resources: Resources, pulling_engine: PullingEngine, tmp_path: Path, clean: None
) -> None:
    engine, host = pulling_engine.engine, pulling_engine.registry.host
    reference = f"{host}/team/echo:1"
    credentials = {"auth_config": {"username": USERNAME, "password": PASSWORD}}
    settings = resources.settings
    instance: dict[str, Any] = {
        "CORTEXQL_DATABASE_URL": settings.database_url,
        "CORTEXQL_REDIS_URL": settings.redis_url,
        "CORTEXQL_SECRET_KEY": settings.key,
    }
    async with forgotten(resources, engine):
        repository = Repository(tmp_path, engine)
        options = ("--prefix", f"{host}/team", "--push")
        lines, _ = await asyncio.to_thread(repository.build, *options, code=1, **instance)
        assert "the image could not be pushed: " in lines[0]
        assert not repository.output.exists()
        async with resources.transactions(TEST) as tx:
            await network.add_authority(tx, "registry", pulling_engine.registry.authority.pem)
            setting = registries.RegistrySetting(host, USERNAME, PASSWORD)
            await registries.put(tx, setting, resources.cipher)
        # The push that failed is made up for, though nothing is built.
        lines, _ = await asyncio.to_thread(repository.build, *options, **instance)
        assert lines[-1] == "0 built, 2 unchanged, 0 failed"
        assert repository.catalogue()["Echo"]["dockerImage"] == reference
        id_ = repository.image(reference).id
        for tag in ("1", "1.0"):
            engine.client.images.remove(f"{host}/team/echo:{tag}")
        with pulling_engine.registry.trusted():
            assert engine.client.images.pull(f"{host}/team/echo", "1.0", **credentials).id == id_
            _, errors = repository.build(
                *options, "--username", USERNAME, code=1, CORTEXQL_REGISTRY_PASSWORD="wrong-password"
            )
            assert ("401 Unauthorized" in errors, "wrong-password" in errors) == (True, False)
            repository.build(*options, "--username", USERNAME, CORTEXQL_REGISTRY_PASSWORD=PASSWORD)
        # A base in a registry with a password.
        pulling_engine.registry.push(engine.client, BASE, "team/base:1")
        lines, _ = await asyncio.to_thread(repository.build, "--base", f"{host}/team/base:1", **instance)
        assert lines[-1] == "2 built, 0 unchanged, 0 failed"
        # A base of Docker Hub's, by the rule that another registry stands in for it.
        async with resources.transactions(TEST) as tx:
            mirror = registries.RegistrySetting(host, USERNAME, mirror_of="docker.io/library", path="team")
            await registries.put(tx, mirror, resources.cipher)
        lines, _ = await asyncio.to_thread(repository.build, "--base", "base:1", **instance)
        assert lines[-1] == "0 built, 2 unchanged, 0 failed"
        lines, _ = await asyncio.to_thread(repository.build, "--base", "none:1", code=1, **instance)
        told = f"failed localhost/echo:1: its base image {host}/team/none:1 could not be pulled: "
        assert lines[0].startswith(told)


@asynccontextmanager
async def forgotten(resources: Resources, engine: DockerEngine) -> AsyncIterator[None]:
    """Leave neither images nor registries."""
    try:
        with cleaned(engine):
            yield
    finally:
        async with resources.engine.begin() as connection:
            await connection.execute(text("TRUNCATE registry, authority"))
