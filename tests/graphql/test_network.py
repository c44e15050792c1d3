"""Registries, authorities, proxies and containers over GraphQL."""

from typing import Any

import httpx

from cortexql.principal import Role
from tests.conftest import World
from tests.parts.authorities import make_authority

SECRET = "hunter2hunter2"


async def ask(url: str, headers: dict[str, str], query: str, **variables: Any) -> Any:
    async with httpx.AsyncClient() as client:
        body = {"query": query, "variables": variables}
        answer = await client.post(f"{url}/graphql", json=body, headers=headers, timeout=30)
    return answer.json()


async def test_a_superadmin_sets_the_way_outside_and_no_secret_comes_back(url: str, world: World) -> None:
    root = {"Authorization": f"Bearer {world.superadmin_key}"}
    done = await ask(
        url,
        root,
        """mutation ($pem: String!, $proxy: String!, $password: String!) {
          setRegistry(input: {host: "own.example:5000", username: "me", password: $password}) {
            registry { host username hasPassword } errors { message } }
          addAuthority(input: {name: "own", certificates: $pem, organization: "alpha"}) {
            authority { id organization { name } certificates { subject } } errors { message } }
          setProxy(input: {https: $proxy}) { proxy { https organization { name } } errors { message } }
        }""",
        pem=make_authority("own").pem,
        proxy=f"http://me:{SECRET}@proxy.example:3128",
        password=SECRET,
    )
    data = done["data"]
    assert data["setRegistry"]["registry"] == {
        "host": "own.example:5000",
        "username": "me",
        "hasPassword": True,
    }
    assert data["addAuthority"]["authority"]["organization"] == {"name": "alpha"}
    assert data["addAuthority"]["authority"]["certificates"] == [{"subject": "CN=own"}]
    assert data["setProxy"]["proxy"] == {"https": "http://proxy.example:3128", "organization": None}
    assert SECRET not in str(done)
    admin = world.alpha.headers(Role.ORGADMIN)
    refused = await ask(url, admin, "{ registries { host } authorities { name } proxies { https } }")
    assert {error["extensions"]["code"] for error in refused["errors"]} == {"FORBIDDEN"}
    removed = await ask(
        url,
        root,
        """mutation ($id: ID!) {
          removeRegistry(input: {host: "own.example:5000"}) { errors { message } }
          removeAuthority(input: {id: $id}) { errors { message } }
          setProxy(input: {https: ""}) { proxy { https } errors { message } }
        }""",
        id=data["addAuthority"]["authority"]["id"],
    )
    assert removed["data"]["setProxy"]["proxy"] == {"https": None}
    assert not any(answer["errors"] for answer in removed["data"].values())


UPDATE = """mutation ($id: ID!, $container: ContainerInput!) {
  updateNeuron(input: {id: $id, container: $container}) {
    neuron { container { imagePolicy imageDigest memory network readOnly nonRoot } } errors { code field message } }
}"""


async def test_an_orgadmin_chooses_the_policy_and_a_superadmin_the_resources(url: str, world: World) -> None:
    admin, root = world.alpha.headers(Role.ORGADMIN), {"Authorization": f"Bearer {world.superadmin_key}"}
    found = await ask(url, admin, '{ analyzer(name: "Echo_1_0") { id } }')
    id_ = found["data"]["analyzer"]["id"]

    async def update(headers: dict[str, str], **container: Any) -> Any:
        return (await ask(url, headers, UPDATE, id=id_, container=container))["data"]["updateNeuron"]

    mine = await update(admin, imagePolicy="ALWAYS", network="none", readOnly=True, nonRoot=True)
    assert mine["neuron"]["container"] == {
        "imagePolicy": "ALWAYS",
        "imageDigest": None,
        "memory": None,
        "network": "none",
        "readOnly": True,
        "nonRoot": True,
    }
    for container in ({"memory": "2g"}, {"network": "bridge"}, {"pids": 9}):
        refused = await update(admin, **container)
        assert [error["code"] for error in refused["errors"]] == ["FORBIDDEN"]
    for container in (
        {"memory": "much"},
        {"memory": "1k"},
        {"cpus": 0},
        {"network": "host"},
        {"imageDigest": "x"},
    ):
        refused = await update(root, **container)
        assert [error["code"] for error in refused["errors"]] == ["INVALID_INPUT"], container
    pinned = await update(admin, imagePolicy="DIGEST")
    assert pinned["errors"][0]["field"] == ["container", "imageDigest"]
    theirs = await update(root, memory="2g", network=None)
    assert theirs["neuron"]["container"]["memory"] == "2g"
    assert theirs["neuron"]["container"]["network"] is None


async def test_a_pull_needs_an_image_and_an_engine(url: str, world: World) -> None:
    admin, reader = world.alpha.headers(Role.ORGADMIN), world.alpha.headers(Role.READ)
    found = await ask(
        url, admin, '{ analyzer(name: "Echo_1_0") { id definition { id image { reference } } } }'
    )
    analyzer = found["data"]["analyzer"]
    assert analyzer["definition"]["image"] is None
    pull = "mutation ($id: ID!) { pullImage(input: {id: $id}) { image { reference } errors { code } } }"
    for id_ in (analyzer["id"], analyzer["definition"]["id"]):
        refused = await ask(url, admin, pull, id=id_)
        assert refused["data"]["pullImage"] == {"image": None, "errors": [{"code": "NEURON_UNAVAILABLE"}]}
    refused = await ask(url, reader, pull, id=analyzer["id"])
    assert refused["data"]["pullImage"]["errors"] == [{"code": "FORBIDDEN"}]
