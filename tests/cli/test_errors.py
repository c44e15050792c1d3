"""What goes wrong is told in one line on stderr, exit 1, without a traceback and without a password."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cortexql.settings import Settings

NOWHERE = "127.0.0.1:1"
DATABASE = f"postgresql://someone:hidden-password@{NOWHERE}/x"


def _fails(*arguments: str, **environment: str) -> str:
    """Return the one line on stderr, without the log's lines."""
    command = [sys.executable, "-m", "cortexql", *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "CORTEXQL_LOG_LEVEL": "error", **environment},
    )
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert done.stderr.startswith("cortexql: ")
    assert done.stderr.count("\n") == 1
    assert "hidden-password" not in done.stderr
    return done.stderr.removeprefix("cortexql: ").strip()


def test_no_server_is_told(tmp_path: Path) -> None:
    assert "start `cortexql up`" in _fails("user", "list", "--data-dir", str(tmp_path))


def test_a_database_that_is_away_is_told(settings: Settings) -> None:
    told = _fails("user", "list", CORTEXQL_DATABASE_URL=DATABASE, CORTEXQL_REDIS_URL=settings.redis_url)
    assert "Connect call failed" in told


def test_a_redis_that_is_away_is_told_at_once(settings: Settings) -> None:
    told = _fails(
        "user",
        "list",
        CORTEXQL_DATABASE_URL=settings.database_url,
        CORTEXQL_REDIS_URL=f"redis://:hidden-password@{NOWHERE}",
    )
    assert told.startswith("Redis does not answer")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("DATABASE_URL", "mysql://x:hidden-password@y/z", "begins with postgresql://"),
        ("REDIS_URL", "http://:hidden-password@y", "begins with redis://"),
        ("AUTH_PROVIDERS", "ldap", "needs CORTEXQL_LDAP_URLS"),
        ("AUTH_GROUPS", "[{", "it is not JSON"),
        ("AUTH_GROUPS", '[{"group": "soc"}]', "0.organization: Field required"),
        ("RUNNERS", "podman", "'docker' or 'process'"),
        ("RUNNERS", ",", "at least 1 item"),
        ("LEASE", "0s", "greater than or equal to 1 second"),
        ("LEASE", "soon", "not a duration"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str, told: str, tmp_path: Path) -> None:
    line = _fails("up", "--data-dir", str(tmp_path), **{f"CORTEXQL_{name}": value})
    assert line.startswith(f"CORTEXQL_{name}: ")
    assert told in line


@pytest.mark.parametrize("folder", ["/proc/cortexql", "/dev/null/cortexql"])
def test_a_data_folder_that_cannot_be_made_is_named(folder: str) -> None:
    told = _fails("up", "--data-dir", folder)
    assert told.startswith(f"the folder {folder} of CORTEXQL_DATA_DIR cannot be made: No")


def test_a_taken_port_is_told(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = _fails(
            "web",
            "--port",
            str(port),
            CORTEXQL_DATABASE_URL=settings.database_url,
            CORTEXQL_REDIS_URL=settings.redis_url,
            CORTEXQL_DATA_DIR=str(settings.data_dir),
        )
    assert told.startswith(f"cannot listen on 127.0.0.1:{port}: ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("x",), "give an API key"),
        (("x", "--key", "k", "--url", f"http://{NOWHERE}"), f"http://{NOWHERE} does not answer"),
        (("x", "--key", "k", "--url", "nonsense"), "nonsense does not answer"),
        (("/nonexistent", "--type", "file", "--key", "k"), "there is no file /nonexistent"),
        (("-", "--key", "k"), "there is no observable in the input"),
    ],
)
def test_analyze_says_what_is_missing(arguments: tuple[str, ...], told: str) -> None:
    assert told in _fails("analyze", *arguments, CORTEXQL_API_KEY="")


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("organization", "create", "alpha"), "alpha"),
        (("organization", "lock", "nobody-has-it"), "nobody-has-it"),
        (("user", "key", "nobody"), "nobody"),
        (("user", "create", "u", "--organization", "nowhere", "--role", "read"), "nowhere"),
        (("enable", "Nothing_1_0", "--organization", "alpha"), "Nothing_1_0"),
        (("enable", "Yara_1_0", "--organization", "alpha", "--set", "nonsense=1"), "--set nonsense: "),
    ],
)
def test_administration_names_what_it_did_not_find(
    arguments: tuple[str, ...], told: str, settings: Settings
) -> None:
    line = _fails(
        *arguments,
        CORTEXQL_DATABASE_URL=settings.database_url,
        CORTEXQL_REDIS_URL=settings.redis_url,
        CORTEXQL_DATA_DIR=str(settings.data_dir),
    )
    assert told in line


def test_an_env_file_that_is_no_text_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_bytes("CORTEXQL_LEASE=1m".encode("utf-16"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.chdir(tmp_path)
    assert _fails("user", "list") == f"{tmp_path / '.env'} is not text in UTF-8"


def test_a_key_that_is_none_is_told() -> None:
    assert "no key has" in _fails("analyze", "192.0.2.1", CORTEXQL_API_KEY="cl\u00e9")


def test_garbled_observables_are_told() -> None:
    command = [sys.executable, "-m", "cortexql", "analyze", "-", "--url", f"http://{NOWHERE}"]
    environment = {**os.environ, "CORTEXQL_API_KEY": "key"}
    done = subprocess.run(
        command, input=b"\xff\xfeno text\n", capture_output=True, check=False, env=environment
    )
    assert (done.returncode, done.stderr) == (1, b"cortexql: what stdin gives is not text in UTF-8\n")
