"""Hundreds of clients at once, each on a connection of its own, so lean that their own work hardly counts."""

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and when it came: seconds since the request."""

    status: int
    body: dict[str, Any]
    seconds: float


async def get_all(url: str, key: str, paths: list[str]) -> list[Answer]:
    """Send a GET for each path, all at once, and return the answers in their order."""
    return await asyncio.gather(*[_get(url, key, path) for path in paths])


async def _get(url: str, key: str, path: str) -> Answer:
    at = urlsplit(url)
    began = time.monotonic()
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    headers = f"Host: {at.netloc}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n"
    writer.write(f"GET {path} HTTP/1.1\r\n{headers}\r\n".encode())
    head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
    seconds = time.monotonic() - began
    writer.close()
    return Answer(int(head.split()[1]), json.loads(body), seconds)
