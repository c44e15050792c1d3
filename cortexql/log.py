"""structlog, set up once per process: constant event names with key-values, as JSON lines where nobody watches."""

import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog

get_logger = structlog.stdlib.get_logger


def configure(level: str = "info") -> None:
    """Write logs to stderr: for people on a terminal, as JSON lines elsewhere."""
    human = sys.stderr.isatty()
    renderer = structlog.dev.ConsoleRenderer() if human else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Stderr())),
        cache_logger_on_first_use=False,
    )
    # Libraries' own info lines (arq names every function call, uvicorn every request) are noise beside ours.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")


class _Stderr:
    """A line that cannot be written, to a full disk or a reader that is gone, is lost, and nothing else is."""

    def write(self, line: str) -> None:
        with suppress(OSError):
            sys.stderr.write(line)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()
