"""A private authority, given once: what programs in a neuron's container make of a server with its certificate."""

import io
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select, text

from cortexql.models import JobStatus, Report
from cortexql.resources import Resources
from cortexql.services import network
from tests.conftest import World
from tests.parts.authorities import make_authority
from tests.parts.docker_engine import DockerEngine
from tests.parts.fixtures import PullingEngine
from tests.parts.tls_server import tls_server
from tests.runner.conformance import SCRIPTED, make_scripted
from tests.services.steps import TEST
from tests.services.test_contained import Instance, instance_on

# mypy: disable-error-code="arg-type,call-overload,index"

pytestmark = [pytest.mark.parts, pytest.mark.slow, pytest.mark.timeout(600)]
IMAGE = "cortexql-test/programs:1"
PROGRAMS = """
import subprocess
HOST = {host!r}
ASK = "https.get(process.argv[1], a => process.exit(a.statusCode === 200 ? 0 : 2)).on('error', e => {{throw e}})"
commands = {{
    "requests": ["python3", "-c", f"import requests; requests.get('https://{{HOST}}').raise_for_status()"],
    "urllib": ["python3", "-c", f"from urllib.request import urlopen; urlopen('https://{{HOST}}')"],
    "curl": ["curl", "--silent", "--show-error", "--fail", f"https://{{HOST}}"],
    "openssl": ["openssl", "s_client", "-verify_return_error", "-connect", HOST],
    "node": ["node", "-e", ASK, f"https://{{HOST}}"],
}}
ended = {{name: subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
         for name, command in commands.items()}}
report(codes={{name: one.returncode for name, one in ended.items()}},
       said={{name: (one.stdout + one.stderr)[-2000:] for name, one in ended.items()}})
"""


def make_image(engine: DockerEngine) -> None:
    """Add the programs, from Debian's packages, to the scripted neuron."""
    make_scripted(engine)
    packages = "curl nodejs openssl python3-requests"
    install = f"apt-get install -qq --yes --no-install-recommends {packages}"
    recipe = f"FROM {SCRIPTED}\nRUN apt-get update -qq && {install} && apt-get clean\n"
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        member = tarfile.TarInfo("Dockerfile")
        member.size = len(recipe)
        tar.addfile(member, io.BytesIO(recipe.encode()))
    context.seek(0)
    # The tests' bridge leads nowhere: packages come over the machine's own network.
    engine.client.images.build(fileobj=context, custom_context=True, tag=IMAGE, rm=True, network_mode="host")


@pytest.fixture
async def instance(
    resources: Resources, world: World, pulling_engine: PullingEngine, tmp_path: Path
) -> AsyncIterator[Instance]:
    make_image(pulling_engine.engine)
    async with instance_on(resources, world, pulling_engine.engine, tmp_path) as made:
        await made.set_up(IMAGE)
        await made.set(network="bridge", memory="1g")
        yield made
    async with resources.engine.begin() as connection:
        await connection.execute(text("TRUNCATE authority"))


@pytest.mark.parametrize("read_only", [False, True], ids=["writable", "read-only"])
async def test_python_openssl_curl_and_node_trust_an_authority_that_is_given_once(
    instance: Instance, pulling_engine: PullingEngine, tmp_path: Path, *, read_only: bool
) -> None:
    authority = make_authority()
    await instance.set(network="bridge", memory="1g", read_only=read_only)
    (tmp_path / "tls").mkdir()
    with tls_server(authority, tmp_path / "tls", pulling_engine.engine.gateway) as host:
        unknown = await ask(instance, host, "unknown")
        assert set(unknown) == {"requests", "urllib", "curl", "openssl", "node"}
        assert [name for name, (code, said) in unknown.items() if code == 0 or "verif" not in said] == []
        async with instance.resources.transactions(TEST) as tx:
            await network.add_authority(tx, "private", authority.pem, "alpha")
        known = await ask(instance, host, "known")
    assert {name: code for name, (code, _) in known.items()} == dict.fromkeys(unknown, 0), known


async def ask(instance: Instance, host: str, about: str) -> dict[str, tuple[int, str]]:
    """Have each program ask a server; return their exit codes and what they said."""
    # Another program than the one whose report may still be fresh.
    job = await instance.end(f"{PROGRAMS.format(host=host)}# {about}")
    assert (job.status, job.error_message) == (JobStatus.SUCCESS, None)
    async with instance.resources.transactions(TEST) as tx:
        output = await tx.session.scalar(select(Report.output).where(Report.job_id == job.id))
    full = output["full"]
    return {name: (code, full["said"][name]) for name, code in full["codes"].items()}
