"""The runner of the files test_docker*.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.parts.docker_engine import DockerEngine
from tests.runner.conformance import Candidate, docker_candidate


@pytest.fixture
def candidate(tmp_path: Path, docker_engine: DockerEngine) -> Iterator[Candidate]:
    """Return the Docker runner; no test leaves anything of it behind."""
    with docker_candidate(tmp_path, docker_engine) as candidate:
        yield candidate
        assert candidate.list_left() == []
