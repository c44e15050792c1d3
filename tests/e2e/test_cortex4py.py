"""The published cortex4py drives all of its surface against a running `cortexql up`: real processes throughout."""

import ast
import hashlib
import json
from pathlib import Path
from typing import Any

import cortex4py.query
import pytest
from cortex4py.api import Api
from cortex4py.exceptions import AuthenticationError, AuthorizationError, InvalidInputError, NotFoundError
from cortex4py.models import Organization, User
from cortex4py.query import (
    And,
    Between,
    Child,
    Contains,
    Eq,
    Gt,
    Gte,
    Id,
    In,
    Lt,
    Lte,
    Not,
    Or,
    Parent,
    ParentId,
    String,
    Type,
)

from cortexql.services.configuration import MASK
from tests.e2e.conftest import ROLES, Site
from tests.e2e.instances import ADMIN_KEY, eventually

pytestmark = pytest.mark.slow


def test_organizations_users_and_keys(site: Site) -> None:
    api = site.superadmin
    created = api.organizations.create({"name": "lab", "description": "experiments"})
    assert (created.id, created.name, created.status) == ("lab", "lab", "Active")
    assert api.organizations.update("lab", {"description": "changed"}).description == "changed"
    assert api.organizations.find_one_by(Eq("name", "lab")).description == "changed"
    assert [each.name for each in api.organizations.find_all({}, range="all", sort="-name")] == [
        "soc",
        "lab",
        "cortex",
    ]
    assert (api.organizations.count({}), api.organizations.count(Eq("name", "lab"))) == (3, 1)

    zoe = api.users.create({"login": "zoe", "name": "Zoe", "roles": ["read"], "organization": "lab"})
    assert (zoe.id, zoe.organization, zoe.roles, zoe.hasKey) == ("zoe", "lab", ["read"], False)
    key = api.users.set_key("zoe")
    own: Any = type(api)(site.url, key)
    assert own.users.get_by_id("zoe").hasKey
    assert own.organizations.get_analyzers() == []
    renewed = api.users.renew_key("zoe")
    with pytest.raises(AuthenticationError):
        own.analyzers.find_all({})
    own = type(api)(site.url, renewed)
    assert api.users.set_password("zoe", "correct horse battery")
    assert own.users.change_password("zoe", "correct horse battery", "another horse battery")
    with pytest.raises(AuthorizationError):
        own.users.change_password("zoe", "correct horse battery", "a third horse battery")
    with pytest.raises(AuthorizationError):
        api.users.get_key("zoe")
    changed = api.users.update("zoe", {"name": "Zoë", "roles": ["read", "analyze"]})
    assert (changed.name, sorted(changed.roles)) == ("Zoë", ["analyze", "read"])
    assert [user.id for user in api.organizations.get_users("lab", {})] == ["zoe"]
    assert sorted(user.id for user in site.api("ann").organizations.get_users("soc", {})) == sorted(ROLES)
    assert api.users.revoke_key("zoe")
    assert not api.users.get_by_id("zoe").hasKey
    assert api.users.lock("zoe").status == "Locked"
    assert [
        user.id for user in api.users.find_all(And(Eq("organization", "lab"), Eq("status", "Locked")))
    ] == ["zoe"]
    with pytest.raises(InvalidInputError):
        api.users.create({"login": "zoe", "name": "again", "roles": ["read"], "organization": "lab"})
    assert api.organizations.delete("lab")
    assert api.organizations.get_by_id("lab").status == "Locked"
    with pytest.raises(InvalidInputError):
        api.organizations.delete("cortex")


def test_definitions_analyzers_and_responders(site: Site) -> None:
    admin, reader = site.api("ann"), site.api("eve")
    offered = {each.id: each for each in admin.analyzers.definitions()}
    assert {"Echo_1_0", "UrlAnatomy_1_0"} <= offered.keys()
    assert "api_key" in [item["name"] for item in offered["Echo_1_0"].configurationItems]
    assert "Webhook_1_0" in [each.id for each in admin.responders.definitions()]
    enabled = admin.analyzers.enable("UrlAnatomy_1_0", {"configuration": {}, "rate": 5, "rateUnit": "Hour"})
    assert (enabled.name, enabled.rate, enabled.rateUnit) == ("UrlAnatomy_1_0", 5, "Hour")
    with pytest.raises(InvalidInputError):
        admin.analyzers.enable("UrlAnatomy_1_0", {"configuration": {}})
    with pytest.raises(NotFoundError):
        admin.analyzers.enable("Nothing_1_0", {"configuration": {}})
    changed = admin.analyzers.update(
        enabled.id, {"configuration": {"max_tlp": 1, "check_tlp": True}, "jobCache": 5}
    )
    assert (changed.maxTlp, changed.jobCache) == (1, 5)
    assert {each.name for each in reader.analyzers.find_all({}, range="all")} == {
        "Echo_1_0",
        "UrlAnatomy_1_0",
    }
    assert [each.name for each in reader.analyzers.get_by_type("url")] == ["Echo_1_0", "UrlAnatomy_1_0"]
    assert reader.analyzers.get_by_name("UrlAnatomy_1_0").id == reader.analyzers.get_by_id(enabled.id).id
    assert not hasattr(reader.analyzers.get_by_id(enabled.id), "configuration")
    (webhook,) = reader.responders.get_by_type("thehive:case")
    assert reader.responders.find_one_by(Eq("name", "Webhook_1_0")).id == webhook.id
    secret = admin.responders.update(webhook.id, {"configuration": {"secret": "a webhook's secret"}})
    assert secret.configuration["secret"] == MASK
    with pytest.raises(AuthorizationError):
        reader.analyzers.disable(enabled.id)
    assert admin.analyzers.disable(enabled.id)
    with pytest.raises(NotFoundError):
        reader.analyzers.get_by_id(enabled.id)


def test_jobs_files_and_artifacts(site: Site, tmp_path: Path) -> None:
    api = site.api("bob")
    given = [
        {"dataType": "domain", "data": "evil.example", "tags": ["c2"]},
        {"dataType": "file", "filename": "drop.txt", "content": "dropped", "contentType": "text/plain"},
    ]
    observable = {
        "data": "192.0.2.1",
        "dataType": "ip",
        "tlp": 1,
        "message": "7",
        "parameters": {"artifacts": given},
    }
    job = api.analyzers.run_by_name("Echo_1_0", observable, force=1)
    assert (job.status, job.organization, job.message) == ("Waiting", "soc", "7")
    done = api.jobs.get_report_async(job.id)
    assert (done.id, done.status, done.report["success"]) == (job.id, "Success", True)
    assert done.report["full"]["data"] == "192.0.2.1"
    assert done.report["summary"]["taxonomies"][0]["namespace"] == "Echo"
    found = {each.dataType: each for each in api.jobs.get_artifacts(job.id)}
    assert (found["domain"].data, found["domain"].tags) == ("evil.example", ["c2"])
    sha256 = hashlib.sha256(b"dropped").hexdigest()
    assert found["file"].attachment["id"] == sha256
    assert api.do_get(f"datastore/{sha256}").content == b"dropped"
    assert api.jobs.get_report(job.id).report == done.report

    again = api.analyzers.run_by_name("Echo_1_0", observable)
    assert (again.id, again.fromCache) == (job.id, True)
    path = tmp_path / "報告.eml"
    path.write_text("From: a\n\nhello")
    by_file = api.analyzers.run_by_name("Echo_1_0", {"data": str(path), "dataType": "file"})
    told = api.jobs.get_report_async(by_file.id, "1minute").report["full"]["file"]
    assert told == {"name": path.name, "size": 14, "sha256": by_file.attachment["id"]}
    red = api.analyzers.run_by_name("Echo_1_0", {"data": "192.0.2.1", "dataType": "ip", "tlp": 3})
    assert api.jobs.get_report_async(red.id).errorMessage == "TLP is higher than allowed."
    with pytest.raises(InvalidInputError):
        api.analyzers.run_by_name("Echo_1_0", {"data": "x", "dataType": "ip", "tlp": 9})
    with pytest.raises(AuthorizationError):
        site.api("eve").analyzers.run_by_name("Echo_1_0", observable)


def test_responders_run(site: Site) -> None:
    api = site.api("bob")
    data = {"data": {"title": "a case", "tags": ["x"]}, "dataType": "thehive:case"}
    job = api.responders.run_by_name("Webhook_1_0", data)
    assert (job.type, job.data) == ("responder", data["data"])
    done = api.jobs.get_report_async(job.id)
    assert (done.status, done.report["full"]["status"]) == ("Success", 200), done.report
    assert done.report["operations"] == [{"type": "AddTagToCase", "tag": "webhook:sent"}]
    assert b'"a case"' in site.received[-1]


def test_queries_and_deletion(site: Site) -> None:
    api = site.api("bob")
    names = ["q1.example", "q2.example", "q3.example"]
    ids = [
        api.analyzers.run_by_name("Echo_1_0", {"data": n, "dataType": "domain"}, force=1).id for n in names
    ]
    for id_ in ids:
        assert api.jobs.get_report_async(id_).status == "Success"
    mine = In("data", names)

    def found(query: object, **more: object) -> list[str]:
        return [job.id for job in api.jobs.find_all(query, **more)]

    assert found(mine) == ids[::-1]
    assert found(mine, sort="+data", range="1-2") == [ids[1]]
    assert found(And(mine, Eq("status", "Success"), Eq("workerName", "Echo_1_0"), Type("job"))) == ids[::-1]
    assert found(And(mine, Not(Eq("data", names[0])))) == ids[:0:-1]
    assert found(Or(Id(ids[0]), Eq("data", names[2]))) == [ids[2], ids[0]]
    assert found(And(mine, Gte("tlp", 2), Lte("tlp", 2), Contains("createdAt"))) == ids[::-1]
    assert found(And(mine, Between("createdAt", 0, 1))) == []
    assert found(String("q2.example")) == [ids[1]]
    assert found(And(mine, Gt("createdAt", 0), Lt("createdAt", 1))) == []
    assert api.jobs.find_one_by(Eq("data", names[0])).id == ids[0]
    for unknown in (Child("report", {}), Parent("worker", {}), ParentId("organization", "soc")):
        with pytest.raises(InvalidInputError):
            found(unknown)
    assert api.jobs.delete(ids[0])
    assert found(mine) == ids[:0:-1]
    assert api.jobs.get_by_id(ids[0]).status == "Deleted"
    with pytest.raises(NotFoundError):
        api.jobs.get_by_id("999999999")
    running = api.analyzers.run_by_name(
        "Echo_1_0", {"data": "slow.example", "dataType": "domain", "parameters": {"sleep": 60}}
    )
    eventually(lambda: api.jobs.get_by_id(running.id).status == "InProgress")
    assert api.jobs.get_report_async(running.id, "100ms").report == "Running"
    assert api.jobs.delete(running.id)
    assert api.jobs.get_report_async(running.id).report == "Deleted"


def test_what_scripts_use_seldom(site: Site) -> None:
    """Entities in the place of dictionaries, chosen fields, sorted single finds, a slash behind the address."""
    api: Any = Api(f"{site.url}/", ADMIN_KEY)
    assert api.status().json()["versions"]["Cortex"]
    new: Any = Organization(None)
    new.name, new.description = "branch", "far away"
    made = api.organizations.create(new)
    assert (made.name, made.status) == ("branch", "Active")
    made.description, made.status = "nearer", "Locked"
    changed = api.organizations.update("branch", made.json(), ["description"])
    assert (changed.description, changed.status) == ("nearer", "Active")
    assert api.organizations.update("branch", made).status == "Locked"
    assert api.organizations.find_one_by({}, sort="-name").name == "soc"
    assert api.organizations.find_one_by(Eq("name", "nowhere")) is None

    user: Any = User(None)
    user.login, user.name, user.organization = "yan", "Yan", "soc"
    made = api.users.create(user)
    assert (made.id, made.roles) == ("yan", ["read"])
    made.name = "Ян"
    assert api.users.update("yan", made.json(), ["name"]).name == "Ян"
    assert api.users.find_one_by(Eq("name", "Ян")).id == "yan"
    assert api.users.find_one_by(In("login", ["bob", "yan"]), sort=["-login"]).id == "yan"
    with pytest.raises(InvalidInputError):
        api.do_delete("user/yan")
    with pytest.raises(AuthenticationError):
        Api(site.url, "x").users.find_all({})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_considered_deprecated_works_on(site: Site) -> None:
    api = site.api("bob")
    assert "Echo_1_0" in [each.name for each in api.get_analyzers()]
    assert [each.name for each in api.get_analyzers("ip")] == ["Echo_1_0"]
    job = api.run_analyzer("Echo_1_0", "ip", 1, "192.0.2.77")
    assert (job.tlp, job.data) == (1, "192.0.2.77")
    assert api.get_job_report(job.id, "1minute").status == "Success"
    assert api.delete_job(job.id)


def test_responders_come_and_go(site: Site) -> None:
    admin, reader = site.api("ann"), site.api("eve")
    mail = {"configuration": {"smtp_host": "192.0.2.1", "from": "soc@example.org", "to": ["a@example.org"]}}
    mailer = admin.responders.enable("Mailer_1_0", mail)
    assert reader.responders.get_by_id(mailer.id).name == reader.responders.get_by_name("Mailer_1_0").name
    found = reader.responders.find_all({}, range="all", sort=["-name"])
    assert [each.name for each in found] == ["Webhook_1_0", "Mailer_1_0"]
    assert admin.analyzers.find_one_by(Eq("name", "Mailer_1_0")) is None
    with pytest.raises(NotFoundError):
        admin.analyzers.get_by_id(mailer.id)
    assert admin.responders.disable(mailer.id)


def test_more_artifacts_than_a_page_holds_come_all(site: Site) -> None:
    api = site.api("bob")
    many = [{"dataType": "domain", "data": f"a{n}.example"} for n in range(25)]
    observable = {"data": "192.0.2.25", "dataType": "ip", "parameters": {"artifacts": many}}
    job = api.analyzers.run_by_id(api.analyzers.get_by_name("Echo_1_0").id, observable)
    assert api.jobs.get_report_async(job.id).status == "Success"
    assert [each.data for each in api.jobs.get_artifacts(job.id)] == [each["data"] for each in many]
    page = api.do_get(f"job/{job.id}/artifacts", {"range": "20-30"})
    assert (len(page.json()), page.headers["x-total"]) == (5, "25")


@pytest.mark.parametrize("name", ["報告書.docx", "отчёт.pdf", "تقرير.eml", "naïve 🦠.bin", "%41;x='y'.txt"])
def test_files_of_any_name_in_both_forms(site: Site, tmp_path: Path, name: str) -> None:
    api = site.api("bob")
    path = tmp_path / name
    path.write_text(name)
    worker = api.analyzers.get_by_name("Echo_1_0").id
    flat = api.analyzers.run_by_id(worker, {"data": str(path), "dataType": "file"}, force=1)
    described = {"_json": json.dumps({"attributes": {"dataType": "file", "tlp": 1}})}
    legacy = api.do_file_post(
        f"analyzer/{worker}/run?force=1", described, files={"data": (name, path.read_bytes())}
    ).json()
    for id_ in (flat.id, legacy["id"]):
        done = api.jobs.get_report_async(id_)
        assert (done.status, done.attachment["name"]) == ("Success", name)
        assert done.report["full"]["file"]["name"] == name
        assert api.do_get(f"datastore/{done.attachment['id']}").text == name
    assert legacy["tlp"] == 1


def test_every_method_and_every_operator_is_driven_here() -> None:
    used = {
        node.attr
        for node in ast.walk(ast.parse(Path(__file__).read_text()))
        if isinstance(node, ast.Attribute)
    }
    client: Any = Api("http://192.0.2.1", "k")
    of_client = {name for name in vars(Api) if not name.startswith("_")} - {"do_post", "do_patch"}
    controllers = [value for name, value in vars(client).items() if not name.startswith("_")]
    methods = {name for each in controllers for name in vars(type(each)) if not name.startswith("_")}
    assert len(controllers) == 5
    assert methods | of_client <= used
    operators = {name for name in vars(cortex4py.query) if name[0].isupper()}
    assert operators <= set(globals())
