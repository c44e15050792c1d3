"""The published cortex4py drives all of its surface against a running `cortexql up`: real processes throughout."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from cortex4py.exceptions import AuthenticationError, AuthorizationError, InvalidInputError, NotFoundError
from cortex4py.query import (
    And,
    Between,
    Child,
    Contains,
    Eq,
    Gte,
    Id,
    In,
    Lte,
    Not,
    Or,
    ParentId,
    String,
    Type,
)

from cortexql.services.configuration import MASK
from tests.e2e.conftest import ROLES, Site
from tests.e2e.instances import eventually

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
    assert found(And(mine, ParentId("organization", "soc"))) == ids[::-1]
    assert found(String("q2.example")) == [ids[1]]
    assert api.jobs.find_one_by(Eq("data", names[0])).id == ids[0]
    with pytest.raises(InvalidInputError):
        found(Child("report", {}))
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
