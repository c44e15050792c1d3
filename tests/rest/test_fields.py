"""How a request says its fields (contract, 1.2): by four kinds of body, and by the query string over all of them."""

from typing import Any

import pytest
from starlette.requests import Request

from cortexql.errors import InvalidInputError
from cortexql.rest.fields import Fields, read

JSON, FORM = "application/json", "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=XX"


async def _read(kind: str = "", body: str = "", query: str = "", method: str = "POST") -> Fields:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body.encode()}

    headers = [(b"content-type", kind.encode())] if kind else []
    scope = {"type": "http", "method": method, "headers": headers, "query_string": query.encode()}
    return await read(Request(scope, receive))


def _part(head: str, content: str) -> str:
    return f"--XX\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n"


async def test_a_json_value_keeps_its_type() -> None:
    body = '{"s": "2", "n": 2.9, "t": true, "one": 1, "l": ["a"], "mixed": ["a", 1], "o": {}, "null": null}'
    for kind in (JSON, "text/json", "application/json; charset=utf-8"):
        fields = await _read(kind, body)
        assert (fields.string("s"), fields.number("s"), fields.number("n")) == ("2", None, 2)
        assert (fields.boolean("t"), fields.boolean("one"), fields.number("t")) == (True, False, None)
        assert (fields.strings("l"), fields.strings("s"), fields.strings("mixed")) == (["a"], None, None)
        assert (fields.object("o"), fields.object("l"), fields.value("null")) == ({}, None, None)
        assert "null" in fields
        assert "nothing" not in fields


async def test_a_text_is_what_it_reads_as() -> None:
    for given in (
        {"kind": FORM, "body": "n=2&t=TRUE&one=1&no=0&l=a&l=b"},
        {"query": "n=2&t=TRUE&one=1&no=0&l=a&l=b"},
    ):
        fields = await _read(**given)
        assert (fields.string("n"), fields.number("n"), fields.value("n")) == ("2", 2, "2")
        assert [fields.boolean(name) for name in ("t", "one", "no", "n")] == [True, True, False, False]
        assert (fields.strings("l"), fields.string("l"), fields.number("l")) == (["a", "b"], None, None)
        assert fields.strings("n") == ["2"]


async def test_the_query_string_counts_more_than_files_and_these_more_than_json() -> None:
    body = _part('name="_json"', '{"a": "json", "b": "json", "c": "json"}')
    body += _part('name="b"; filename="C:\\\\dir\\\\b.txt"', "content")
    body += _part('name="c"; filename="d/c.txt"', "content") + _part('name="ignored"', "x") + "--XX--\r\n"
    fields = await _read(MULTIPART, body, "c=query")
    assert [fields.string(name) for name in "abc"] == ["json", None, "query"]
    assert {name: file.name for name, file in fields.files.items()} == {"b": "b.txt", "c": "c.txt"}
    assert fields.files["b"].content_type == "application/octet-stream"
    assert "ignored" not in fields


async def test_other_bodies_are_ignored() -> None:
    for kind in ("", "text/plain", "application/xml"):
        fields = await _read(kind, '{"a": 1}', "b=2")
        assert ("a" in fields, fields.string("b")) == (False, "2")


@pytest.mark.parametrize(
    "given",
    [
        {"kind": FORM, "body": "_a=1"},
        {"query": "_a=1"},
        {"kind": MULTIPART, "body": _part('name="_json"', "{}") + "--XX--\r\n", "query": "_a=1"},
        {"kind": MULTIPART, "body": _part('name="_json"', "[]") + "--XX--\r\n"},
        {"kind": MULTIPART, "body": "no form"},
        *[
            {"kind": JSON, "body": body}
            for body in ("", "{", "[]", '"x"', "1", "null", '{"a": NaN}', "[" * 5000)
        ],
    ],
)
async def test_what_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError):
        await _read(**given)


async def test_a_get_that_names_a_type_and_sends_nothing_is_as_good() -> None:
    for kind in (JSON, FORM, MULTIPART):
        assert (await _read(kind, query="a=1", method="GET")).number("a") == 1
    assert (await _read(JSON, '{"a": 1}', method="GET")).number("a") == 1


async def test_json_may_name_what_forms_may_not() -> None:
    assert (await _read(JSON, '{"_a": "x"}', "_b=1")).string("_a") == "x"
