"""The process that reads facts, so that no source file can slow down or end the one that asks (`parsing.py`).

Greets, then reads requests from standard input, one JSON line each, and answers each in order: one byte that says how it
went, four bytes of length, and the packed facts.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys

import zstandard

from indexer.facts import read_facts
from indexer.model import pack_facts
from indexer.reading import UnreadableFile, read_file

HELLO, READ, GONE = b"H", b"R", b"G"

_MEMORY_BYTES = 3 << 30
_LEVEL = 1


def main() -> None:
    """Answer until the input ends."""
    with contextlib.suppress(ValueError, OSError):  # a lower limit holds already
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    with contextlib.suppress(OSError):
        os.nice(5)
    compressor = zstandard.ZstdCompressor(_LEVEL)
    _write(HELLO, b"")
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _write(*_answer(request["file"], request["path"], bytes.fromhex(request["hash"]), compressor))


def _write(kind: bytes, answer: bytes) -> None:
    out = sys.stdout.buffer
    out.write(kind + len(answer).to_bytes(4, "big") + answer)
    out.flush()


def _answer(file: str, path: str, wanted: bytes, compressor: zstandard.ZstdCompressor) -> tuple[bytes, bytes]:
    try:
        found = read_file(file, 1 << 40)
    except (UnreadableFile, FileNotFoundError):
        return GONE, b""
    if found.hash != wanted:
        return GONE, b""
    return READ, compressor.compress(pack_facts(read_facts(path, found.content)))


if __name__ == "__main__":
    main()
