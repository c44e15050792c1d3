"""Fixtures of the parts. Register with `pytest_plugins = ["tests.parts.fixtures"]`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.parts.debian import MissingPart
from tests.parts.docker_engine import DockerEngine
from tests.parts.docker_images import make_images
from tests.parts.registry import Registry, registry


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[DockerEngine]:
    """Start an engine with `.url`, `.client` and the images of docker_images; one per xdist worker."""
    with skipped_when_missing(), DockerEngine() as engine:
        make_images(engine.client)
        yield engine


@dataclass(frozen=True, slots=True)
class PullingEngine:
    """An engine with a bridge, and a registry that it reaches there."""

    engine: DockerEngine
    registry: Registry


@pytest.fixture(scope="session")
def pulling_engine() -> Iterator[PullingEngine]:
    """Start an engine and a registry with a private authority that the engine does not trust yet."""
    with skipped_when_missing(), DockerEngine(bridge=True) as engine:
        make_images(engine.client)
        with registry(engine.gateway) as served:
            yield PullingEngine(engine, served)


@contextmanager
def skipped_when_missing() -> Iterator[None]:
    """Skip what this machine cannot run, with the way to change that; CI never skips."""
    try:
        yield
    except MissingPart as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))
