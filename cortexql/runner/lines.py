"""From the bytes a neuron prints to lines for people."""

from cortexql.runner.base import MAX_LINE_BYTES


class LineSplitter:
    """Cuts a stream into lines, and longer ones than MAX_LINE_BYTES into pieces; holds back one piece."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._rest = b""

    def feed(self, chunk: bytes) -> list[str]:
        """Take what came; return the lines that are whole by now."""
        *whole, rest = (self._rest + chunk).split(b"\n")
        *pieces, self._rest = _cut(rest)
        return [_text(piece) for line in whole for piece in _cut(line.rstrip(b"\r"))] + [*map(_text, pieces)]

    def end(self) -> list[str]:
        """Return the last line, where the stream did not end with a newline."""
        rest, self._rest = self._rest.rstrip(b"\r"), b""
        return [_text(rest)] if rest else []


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
