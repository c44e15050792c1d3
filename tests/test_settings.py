"""Settings: read once, frozen, and a key that all processes share."""

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from cortexql.settings import Settings


def _settings(**given: object) -> Settings:
    return Settings(_env_file=None, **given)  # type: ignore[arg-type]


def test_the_environment_is_read_and_an_empty_value_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORTEXQL_LEASE", "1m")
    monkeypatch.setenv("CORTEXQL_RUNNERS", " process , docker,")
    monkeypatch.setenv("CORTEXQL_DRAIN", "")
    settings = _settings()
    assert (settings.lease, settings.drain) == (timedelta(minutes=1), timedelta(seconds=20))
    assert settings.runners == ("process", "docker")


@pytest.mark.parametrize(
    "given", [{"lease": "soon"}, {"max_upload_bytes": 0}, {"docker_cpus": -1}, {"log_level": "loud"}]
)
def test_a_wrong_value_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as refusal:
        _settings(**given)
    assert [error["loc"] for error in refusal.value.errors()] == [tuple(given)]


def test_the_key_is_made_once_for_the_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: _settings(data_dir=folder).key, range(8)))
    assert len(keys) == 1
    assert len(keys.pop()) == 64
    assert stat.S_IMODE((folder / "secret_key").stat().st_mode) == 0o600
    assert [path.name for path in folder.iterdir()] == ["secret_key"]
    assert _settings(data_dir=folder, secret_key="given").key == "given"


def test_secrets_do_not_show() -> None:
    shown = repr(_settings(secret_key="hunter2", admin_password="hunter2"))
    assert "hunter2" not in shown


def test_job_folders_are_absolute_where_the_data_folder_is_relative() -> None:
    read = Settings(data_dir=Path("data"), _env_file=None)
    assert read.jobs_dir == Path.cwd() / "data" / "jobs"
