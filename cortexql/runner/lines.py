"""From the bytes a neuron prints to lines for people."""

import math

from cortexql.runner.base import LAST_LINES, MAX_LINE_BYTES

_TAIL_BYTES = LAST_LINES * MAX_LINE_BYTES


class LineSplitter:
    """Cuts a stream into lines, and longer ones than MAX_LINE_BYTES into pieces; holds back one piece.

    After one line more than `max_lines` only the last ones come, at the end: ten gigabytes cost little but time then.
    """

    def __init__(self, max_lines: int | None = None) -> None:
        """Begin with nothing."""
        self._left = math.inf if max_lines is None else max_lines + 1
        self._rest = b""

    def feed(self, chunk: bytes) -> list[str]:
        """Take what came; return the lines that are whole by now."""
        if not self._left:
            self._rest = (self._rest + chunk)[-_TAIL_BYTES:]
            return []
        *whole, rest = (self._rest + chunk).split(b"\n")
        *pieces, self._rest = _cut(rest)
        return self._within([piece for line in whole for piece in _cut(line.rstrip(b"\r"))] + pieces)

    def end(self) -> list[str]:
        """Return the last line, where the stream did not end with a newline; the last ones of what was not told."""
        rest, self._rest = self._rest.rstrip(b"\r"), b""
        if self._left:
            return [_text(rest)] if rest else []
        lines = rest.removesuffix(b"\n").split(b"\n") if rest else []
        return [_text(piece) for line in lines for piece in _cut(line.rstrip(b"\r"))][-LAST_LINES:]

    def _within(self, lines: list[bytes]) -> list[str]:
        told = lines if len(lines) < self._left else lines[: int(self._left)]
        self._left -= len(told)
        if not self._left:
            self._rest = b"".join(line + b"\n" for line in lines[len(told) :][-LAST_LINES:]) + self._rest
        return [_text(line) for line in told]


def _cut(line: bytes) -> list[bytes]:
    pieces = []
    start = 0
    while len(line) - start > MAX_LINE_BYTES:
        end = start + MAX_LINE_BYTES
        # Not within a character: the later bytes of one begin with the bits 10.
        end = next((at for at in range(end, end - 4, -1) if line[at] & 0xC0 != 0x80), end)
        pieces.append(line[start:end])
        start = end
    return [*pieces, line[start:]]


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").replace("\0", "\ufffd")
