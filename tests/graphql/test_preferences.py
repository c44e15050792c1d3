"""Preferences over GraphQL: the caller's own, the same as the console's."""

from sqlalchemy import func, select

from cortexql.models import Preferences
from cortexql.principal import Role
from cortexql.resources import Resources
from cortexql.schema.ids import encode
from tests.conftest import World
from tests.graphql.test_network import ask
from tests.services.steps import TEST, enable

SHOWN = "preferences { theme selections { name analyzers { name } } } errors { code message field }"


async def test_colours_and_selections_are_kept_on_the_account(
    url: str, world: World, resources: Resources
) -> None:
    await enable(resources, "alpha", "Yara_1_0")
    headers = world.alpha.headers(Role.ANALYZE)
    before = await ask(url, headers, "{ preferences { theme selections { name } } }")
    assert before["data"]["preferences"] == {"theme": "SYSTEM", "selections": []}
    echo = encode("Analyzer", world.alpha.neuron.id)
    done = await ask(
        url,
        headers,
        "mutation ($echo: String!) {"
        "  setTheme(input: {theme: DARK}) { preferences { theme } errors { message } }"
        f' keepSelection(input: {{name: "both", analyzers: [$echo, "Yara_1_0"]}}) {{ {SHOWN} }}'
        f' other: keepSelection(input: {{name: "A", analyzers: ["Yara_1_0"]}}) {{ {SHOWN} }}'
        f' gone: forgetSelection(input: {{name: "both"}}) {{ {SHOWN} }}'
        "}",
        echo=echo,
    )
    both = {"name": "both", "analyzers": [{"name": "Echo_1_0"}, {"name": "Yara_1_0"}]}
    yara = {"name": "A", "analyzers": [{"name": "Yara_1_0"}]}
    assert {name: payload["errors"] for name, payload in done["data"].items() if payload["errors"]} == {}
    shown = {name: payload["preferences"] for name, payload in done["data"].items()}
    assert shown == {
        "setTheme": {"theme": "DARK"},
        "keepSelection": {"theme": "DARK", "selections": [both]},
        "other": {"theme": "DARK", "selections": [yara, both]},
        "gone": {"theme": "DARK", "selections": [yara]},
    }
    other = await ask(url, world.beta.headers(Role.ANALYZE), "{ preferences { theme selections { name } } }")
    assert other["data"]["preferences"] == {"theme": "SYSTEM", "selections": []}


async def test_what_is_refused_keeps_nothing(url: str, world: World, resources: Resources) -> None:
    query = f"""mutation ($chosen: [String!]!) {{
      keepSelection(input: {{name: "x", analyzers: $chosen}}) {{ {SHOWN} }} }}"""
    headers = world.alpha.headers(Role.ANALYZE)
    for chosen, code in (
        (["Nothing_1_0"], "NOT_FOUND"),
        ([], "INVALID_INPUT"),
        ([encode("Job", 1)], "NOT_FOUND"),
    ):
        refused = (await ask(url, headers, query, chosen=chosen))["data"]["keepSelection"]
        assert (refused["preferences"], [one["code"] for one in refused["errors"]]) == (None, [code]), chosen
    read = (await ask(url, world.alpha.headers(Role.READ), query, chosen=["Echo_1_0"]))["data"]
    assert [one["code"] for one in read["keepSelection"]["errors"]] == ["FORBIDDEN"]
    async with resources.transactions(TEST) as tx:
        assert await tx.session.scalar(select(func.count()).select_from(Preferences)) == 0
