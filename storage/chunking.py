"""Content-defined chunks: a change in a long text moves only the borders near it (a gear hash, as FastCDC uses)."""

from __future__ import annotations

import numpy as np
from blake3 import blake3

SMALLEST = 2_048
LARGEST = 16_384
_MASK = np.uint32(((1 << 12) - 1) << 20)  # a border every 4 KB or so, beyond the smallest size
_GEAR = np.frombuffer(blake3(b"causegraph gear 1").digest(length=1024), dtype="<u4").astype(np.uint32)


def split_content(content: bytes) -> list[bytes]:
    """Return the chunks of some bytes, 2 to 16 KB each but the last; short content is one chunk."""
    if len(content) <= SMALLEST * 2:
        return [content]
    borders = np.flatnonzero((_gear_hashes(content) & _MASK) == 0) + 1
    chunks: list[bytes] = []
    start = 0
    while len(content) - start > SMALLEST:
        at = int(np.searchsorted(borders, start + SMALLEST))
        end = int(borders[at]) if at < len(borders) else len(content)
        end = min(end, start + LARGEST, len(content))
        chunks.append(content[start:end])
        start = end
    if start < len(content):
        chunks.append(content[start:])
    return chunks


def _gear_hashes(content: bytes) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """Return for each position the hash of the 32 bytes that end there: sums of the gear's words, shifted by distance."""
    hashes = _GEAR[np.frombuffer(content, dtype=np.uint8)]
    for distance in (1, 2, 4, 8, 16):
        shifted = np.zeros_like(hashes)
        shifted[distance:] = hashes[:-distance] << np.uint32(distance)
        hashes = hashes + shifted
    return hashes
