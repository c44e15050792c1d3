"""`cortexql import cortex`, as its user gives it."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE

from cortexql.services.configuration import MASK
from tests.importing.conftest import Move


async def _run(move: Move, *options: str) -> tuple[int | None, list[str], str]:
    settings = move.resources.settings
    environment = {
        "CORTEXQL_DATABASE_URL": settings.database_url,
        "CORTEXQL_REDIS_URL": settings.redis_url,
        "CORTEXQL_DATA_DIR": str(settings.data_dir),
        "CORTEXQL_LOG_LEVEL": "error",
        "CORTEX_KEY": " ".join(move.keys.values()),
    }
    command = (sys.executable, "-m", "cortexql", "import", "cortex", "--url", move.url, *options)
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=PIPE, stderr=PIPE, cwd=move.folder,
        env={**os.environ, **environment},
    )  # fmt: skip
    out, error = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode().splitlines(), error.decode()


async def test_the_plan_is_printed_and_apply_takes_it_over(move: Move) -> None:
    code, lines, error = await _run(move)
    assert (code, error) == (0, "")
    assert lines[0] == f"Cortex 3.1.7-1 at {move.url}"
    assert "comes: organization soc" in lines
    assert "stays away: analyzer Nowhere_1_0 of soc (no catalogue here has Nowhere_1_0)" in lines
    assert lines[-1] == "15 comes, 0 is here, 1 stays away"
    code, lines, error = await _run(move, "--apply")
    assert (code, error) == (0, "")
    assert lines[-2:] == [
        "15 came over",
        "4 new API keys are in cortexql-api-keys.csv: hand them out, and delete it",
    ]
    text = "\n".join(lines)
    keys = [line.split(",")[2] for line in (move.folder / "cortexql-api-keys.csv").read_text().splitlines()]
    assert not any(secret in text for secret in (*keys, *move.keys.values(), "correct horse"))
    code, lines, _ = await _run(move, "--apply")
    assert (code, lines[-1]) == (0, "0 came over")


async def test_what_nobody_typed_is_named_at_the_end(move: Move) -> None:
    mailer = next(each for each in move.cortex.data.workers if each["name"] == "Mailer_1_0")
    mailer["configuration"]["smtp_pwd"] = MASK
    code, lines, _ = await _run(move, "--apply")
    assert code == 0
    assert lines[-1] == "unset: smtp_pwd of responder Mailer_1_0 of soc: set it in the console"


async def test_a_key_that_is_not_known_is_told_in_one_line(move: Move) -> None:
    move.keys.clear()
    code, lines, error = await _run(move, "--key", "wrong-secret")
    assert (code, lines) == (1, [])
    assert error.startswith(f"cortexql: {move.url}/api/user/current answered 401")
    assert error.count("\n") == 1
    assert "wrong-secret" not in error
