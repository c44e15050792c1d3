"""Files and streams to take away, for everybody of the matrix: with a key, and with another organization's session."""

import hashlib
import json
from io import BytesIO

import httpx
import pytest

from cortexql.attachments import from_file
from cortexql.models import Job
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.schema.ids import encode
from cortexql.services import submission
from cortexql.services.submission import JobRequest, ObservableRequest
from tests.admin.test_console import signed_in
from tests.auth.callers import NOBODIES, callers_of, nobodies
from tests.conftest import World

CONTENT = b"<script>a sample</script>"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PATHS = [
    f"/files/{DIGEST}",
    f"/files/{DIGEST}?zip",
    f"/api/datastore/{DIGEST}",
    f"/api/datastorezip/{DIGEST}",
]
PROGRESS = "subscription($id: ID!) { jobProgress(id: $id) { cursor } }"


@pytest.fixture
async def job(resources: Resources, world: World) -> Job:
    """Submit a file of alpha's."""
    file = from_file(BytesIO(CONTENT), "a.html", "text/html")
    async with resources.transactions(world.alpha.principals[Role.ANALYZE]) as tx:
        request = JobRequest([ObservableRequest("file", file=file)], ["Echo_1_0"])
        found = (await submission.submit_one(tx, request, resources.settings)).job
    assert found is not None
    return found


@pytest.mark.parametrize("path", PATHS)
async def test_a_file_is_its_organizations_and_never_shown(
    url: str, resources: Resources, world: World, job: Job, path: str
) -> None:
    others = {"other": world.beta.headers(Role.ORGADMIN)} | await nobodies(resources)
    async with httpx.AsyncClient(base_url=url) as http:
        answers = {
            who: await http.get(path, headers=headers)
            for who, headers in (callers_of(world) | others).items()
        }
        absent = await http.get(path.replace(DIGEST, "0" * 64), headers=world.beta.headers(Role.ORGADMIN))
    outside = dict.fromkeys(NOBODIES, 401)
    own = dict.fromkeys((Role.READ, Role.ANALYZE, Role.ORGADMIN), 200)
    expected = own | {Role.SUPERADMIN: 404, "other": 404} | outside
    assert {who: answer.status_code for who, answer in answers.items()} == expected
    for role in own:
        told = answers[role].headers
        assert told["content-disposition"].startswith("attachment")
        assert (told["x-content-type-options"], "sandbox" in told["content-security-policy"]) == (
            "nosniff",
            True,
        )
        assert not told["content-type"].startswith("text/html")
    # What another organization has is told as what nobody has.
    assert answers["other"].text.replace(DIGEST, "0" * 64) == absent.text


@pytest.mark.parametrize("by_get", [False, True])
async def test_another_organizations_session_follows_nothing_of_ours(
    url: str, resources: Resources, world: World, job: Job, *, by_get: bool
) -> None:
    variables = {"id": encode("Job", job.id)}
    told = {}
    for login in ("orgadmin@beta", "root", "read@alpha"):
        async with signed_in(url, resources, login) as browser:
            asked = (
                {"params": {"query": PROGRESS, "variables": json.dumps(variables)}}
                if by_get
                else {"json": {"query": PROGRESS, "variables": variables}}
            )
            async with browser.stream("GET" if by_get else "POST", "/graphql/stream", **asked) as answer:
                async for line in answer.aiter_lines():
                    if line.startswith("data:"):
                        told[login] = line
                        break
            pages = [f"/admin/jobs/{job.id}", f"/admin/jobs/{job.id}/changes", f"/files/{DIGEST}"]
            seen = {(await browser.get(page)).status_code for page in pages}
            assert (404 in seen) is (login != "read@alpha")
    assert "NOT_FOUND" in told["orgadmin@beta"]
    assert told["root"] == told["orgadmin@beta"]
    assert '"cursor"' in told["read@alpha"]
