"""Messages out of a TCP stream, as RFC 6587 frames them."""

from __future__ import annotations

import re
from collections.abc import Iterator


class Framer:
    """Cuts a TCP stream into messages: by octet counts or by line ends (RFC 6587), told apart message by message.

    A message that is longer than `max_bytes` is cut there, and what follows of it is left out.
    """

    _COUNT = re.compile(rb"([1-9]\d{0,8}) (?=<)")
    _MAYBE_COUNT = re.compile(rb"[1-9]\d{0,8}(?: )?\Z")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held = bytearray()
        self._left_out = 0  # bytes of a counted message that are still to come and are not wanted
        self._until_line_end = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take what came, and give the messages that are whole now."""
        self._held += data
        while (frame := self._next()) is not None:
            if frame:
                yield frame

    def rest(self) -> bytes:
        """Return what is left at the end of the stream: a last line without its end."""
        held = bytes(self._held[: self._max_bytes]) if not (self._left_out or self._until_line_end) else b""
        self._held.clear()
        return held

    def _next(self) -> bytes | None:
        held = self._held
        if self._left_out:
            gone = min(self._left_out, len(held))
            del held[:gone]
            self._left_out -= gone
        if not held or self._left_out:
            return None
        if self._until_line_end:
            return self._skip_line()
        if (found := self._COUNT.match(held)) is not None:
            return self._counted(int(found[1]), found.end())
        if self._MAYBE_COUNT.match(held):
            return None
        return self._line()

    def _counted(self, size: int, at: int) -> bytes | None:
        wanted = min(size, self._max_bytes)
        if len(self._held) < at + wanted:
            return None
        frame = bytes(self._held[at : at + wanted])
        del self._held[: at + wanted]
        self._left_out = size - wanted
        return frame

    def _line(self) -> bytes | None:
        end = self._held.find(b"\n")
        if 0 <= end <= self._max_bytes:
            frame = bytes(self._held[:end])
            del self._held[: end + 1]
            return frame.rstrip(b"\r\0")
        if len(self._held) <= self._max_bytes:
            return None
        frame = bytes(self._held[: self._max_bytes])
        del self._held[: self._max_bytes]
        self._until_line_end = True
        return frame

    def _skip_line(self) -> bytes | None:
        end = self._held.find(b"\n")
        if end < 0:
            self._held.clear()
            return None
        del self._held[: end + 1]
        self._until_line_end = False
        return b""
