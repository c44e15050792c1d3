"""Fixtures of the parts. Register with `pytest_plugins = ["tests.parts.fixtures"]`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.parts.debian import MissingPart
from tests.parts.docker_engine import DockerEngine
from tests.parts.docker_images import make_images


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[DockerEngine]:
    """Start an engine with `.url`, `.client` and the images of docker_images; one per xdist worker."""
    with skipped_when_missing(), DockerEngine() as engine:
        make_images(engine.client)
        yield engine


@contextmanager
def skipped_when_missing() -> Iterator[None]:
    """Skip what this machine cannot run, with the way to change that; CI never skips."""
    try:
        yield
    except MissingPart as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))
