"""Files by the multipart request spec."""

import asyncio
import hashlib
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.graphql.conftest import Client
from tests.graphql.execution import resident_bytes
from tests.graphql.test_hostile import check

RUN = """mutation($file: Upload) {
  runAnalyzer(input: {analyzer: "Echo_1_0", observable: {dataType: "file", file: $file}}) {
    errors { code message field } job { id observable { attachment { name size sha256 contentType } } }
  }
}"""
PREFLIGHT = {"GraphQL-Require-Preflight": "1"}
OPERATIONS = {"query": RUN, "variables": {"file": None}}
FILES = {"0": ("a.txt", b"hello", "text/plain")}


async def post(client: Client, operations: object, files_map: object, files: Any, **headers: str) -> Any:
    """Post a form, with JSON as it is given where that is text."""
    given = {"operations": operations, "map": files_map}
    form = {name: v if isinstance(v, str) else json.dumps(v) for name, v in given.items() if v is not None}
    sent = {**client.headers, **(headers or PREFLIGHT)}
    return await client.http.post("/graphql", data=form, files=files, headers=sent)


async def test_a_file_is_stored_under_its_hashes(analyst: Client) -> None:
    response = await post(analyst, OPERATIONS, {"0": ["variables.file"]}, FILES)
    assert check(response, 200) == []
    done = response.json()["data"]["runAnalyzer"]
    assert done["errors"] == []
    assert done["job"]["observable"]["attachment"] == {
        "name": "a.txt",
        "size": 5,
        "sha256": "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        "contentType": "text/plain",
    }
    digest = done["job"]["observable"]["attachment"]["sha256"]
    lists = [f"{name}(filter: {{data: $d}}) {{ totalCount }}" for name in ("jobs", "observables")]
    by_hash = f"query($d: String) {{ {' '.join(lists)} }}"
    one, none = {"totalCount": 1}, {"totalCount": 0}
    assert await analyst.data(by_hash, d=digest.upper()) == {"jobs": one, "observables": one}
    assert await analyst.data(by_hash, d="hello") == {"jobs": none, "observables": none}


@pytest.mark.parametrize(
    ("operations", "files_map"),
    [
        (OPERATIONS, {"1": ["variables.file"]}),
        (OPERATIONS, {"0": ["variables.nothing"]}),
        (OPERATIONS, {"0": ["variables.file.deeper"]}),
        (OPERATIONS, {"0": ["query"]}),
        (OPERATIONS, {"0": [""]}),
        (OPERATIONS, {"0": "variables.file"}),
        (OPERATIONS, {"0": [3]}),
        (OPERATIONS, {"0": None}),
        (OPERATIONS, ["variables.file"]),
        (OPERATIONS, "null"),
        (OPERATIONS, "[" * 5000),
        (OPERATIONS, None),
        ({**OPERATIONS, "variables": [None]}, {"0": ["variables.1"]}),
        ({**OPERATIONS, "variables": [None]}, {"0": ["variables.x"]}),
        ([OPERATIONS], {"0": ["0.variables.file"]}),
        ("null", {}),
        (None, {}),
    ],
    ids=str,
)
async def test_a_map_that_fits_no_file_is_refused_with_400(
    analyst: Client, operations: object, files_map: object
) -> None:
    assert check(await post(analyst, operations, files_map, FILES), 400)


async def test_without_the_preflight_header_no_form_is_taken(analyst: Client) -> None:
    (error,) = check(await post(analyst, OPERATIONS, {"0": ["variables.file"]}, FILES, Accept="*/*"), 400)
    assert "GraphQL-Require-Preflight" in error["message"]


async def test_a_form_that_breaks_off_is_refused(analyst: Client) -> None:
    headers = {**analyst.headers, **PREFLIGHT, "Content-Type": "multipart/form-data; boundary=x"}
    broken = b'--x\r\nContent-Disposition: form-data; name="operations"\r\n\r\n{'
    assert check(await analyst.http.post("/graphql", content=broken, headers=headers), 400)


@pytest.mark.slow
async def test_a_hundred_megabytes_are_stored_with_flat_memory(analyst: Client) -> None:
    chunk, count = random.randbytes(2**20), 100
    form = {"operations": OPERATIONS, "map": {"0": ["variables.file"]}}
    head = "".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{json.dumps(value)}\r\n'
        for name, value in form.items()
    )
    head += '--x\r\nContent-Disposition: form-data; name="0"; filename="large.bin"\r\n\r\n'

    async def body() -> AsyncIterator[bytes]:
        yield head.encode()
        for _ in range(count):
            yield chunk
        yield b"\r\n--x--\r\n"

    headers = {**analyst.headers, **PREFLIGHT, "Content-Type": "multipart/form-data; boundary=x"}
    before = peak = resident_bytes()
    sending = asyncio.ensure_future(
        analyst.http.post("/graphql", content=body(), headers=headers, timeout=120)
    )
    while not sending.done():
        peak = max(peak, resident_bytes())
        await asyncio.sleep(0.05)
    done = sending.result().json()["data"]["runAnalyzer"]
    digest = hashlib.sha256()
    for _ in range(count):
        digest.update(chunk)
    assert done["job"]["observable"]["attachment"]["sha256"] == digest.hexdigest()
    assert peak - before < 40 * 2**20
