"""`cortexql organization retention`."""

import os
import subprocess
import sys
from datetime import timedelta

import pytest

from cortexql.resources import Resources
from cortexql.services import organizations
from tests.services.steps import TEST


def _run(resources: Resources, *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = resources.settings
    environment = {
        **os.environ,
        "CORTEXQL_DATABASE_URL": settings.database_url,
        "CORTEXQL_REDIS_URL": settings.redis_url,
        "CORTEXQL_DATA_DIR": str(settings.data_dir),
    }
    command = [sys.executable, "-m", "cortexql", "organization", "retention", "alpha", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.usefixtures("world")
async def test_what_is_given_is_set_and_the_rest_stays(resources: Resources) -> None:
    assert "for ever" in _run(resources).stdout
    shown = _run(resources, "--jobs", "730d", "--files", "30d").stdout
    assert "730 days" in shown
    assert "30 days" in shown
    assert _run(resources, "--files", "0").returncode == 0
    async with resources.transactions(TEST) as tx:
        alpha = await organizations.get(tx, "alpha")
    assert (alpha.job_retention, alpha.report_retention, alpha.file_retention) == (
        timedelta(days=730),
        None,
        None,
    )


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(("given", "told"), [("soon", "not a duration"), ("5m", "an hour at least")])
def test_an_age_that_is_none_is_told(resources: Resources, given: str, told: str) -> None:
    done = _run(resources, "--jobs", given)
    assert done.returncode != 0
    assert told in done.stderr
