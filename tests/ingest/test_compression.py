from __future__ import annotations

import gzip
import time
import zlib
from collections.abc import Callable

import cramjam
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import PayloadError, PayloadTooLarge, UnsupportedMediaType
from ingest.compression import decompress, unsnappy

LIMIT = 1_000_000


def snappy(body: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(body))


@given(st.binary(min_size=1, max_size=5000))
def test_what_was_compressed_comes_back(body: bytes) -> None:
    assert decompress(body, "", LIMIT) == body
    assert decompress(body, "Identity", LIMIT) == body
    assert decompress(gzip.compress(body), "gzip", LIMIT) == body
    assert decompress(zstandard.compress(body), "zstd", LIMIT) == body
    assert decompress(gzip.compress(zstandard.compress(body)), "zstd, gzip", LIMIT) == body


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@given(cut=st.integers(1, 60), noise=st.binary(max_size=100))
def test_broken_streams_are_refused_with_a_reason(encoding: str, cut: int, noise: bytes) -> None:
    body = b"some text " * 50
    packed = gzip.compress(body, mtime=0) if encoding == "gzip" else zstandard.compress(body)
    with pytest.raises(PayloadError, match=encoding):
        decompress(packed[: max(1, len(packed) - cut)], encoding, LIMIT)
    with pytest.raises(PayloadError, match=encoding):
        decompress(b"no" + noise, encoding, LIMIT)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_streams_of_several_frames_are_read_whole(encoding: str) -> None:
    pack = gzip.compress if encoding == "gzip" else zstandard.compress
    assert decompress(pack(b"one ") + pack(b"two"), encoding, LIMIT) == b"one two"


def test_bombs_are_refused() -> None:
    zeros = b"\0" * 100_000_000
    for body, encoding in ((gzip.compress(zeros), "gzip"), (zstandard.compress(zeros, 19), "zstd"), (zeros, "")):
        with pytest.raises(PayloadTooLarge, match="1000000 bytes"):
            decompress(body, encoding, LIMIT)


@pytest.mark.parametrize("size", [256 * 1024 + delta for delta in range(-300, 300, 7)])
def test_sizes_around_a_piece_are_whole(size: int) -> None:
    body = b"a" * size
    assert decompress(gzip.compress(body), "gzip", LIMIT) == body
    assert decompress(zlib.compress(body), "deflate", LIMIT) == body


def test_deflate_is_taken_with_and_without_its_header() -> None:
    body = b"some text " * 5000
    assert decompress(zlib.compress(body), "deflate", LIMIT) == body
    assert decompress(zlib.compress(body, wbits=-15), "deflate", LIMIT) == body
    with pytest.raises(PayloadError, match="goes on after its end"):
        decompress(zlib.compress(body) + b"more", "deflate", LIMIT)
    with pytest.raises(PayloadTooLarge):
        decompress(zlib.compress(b"0" * (LIMIT + 1)), "deflate", LIMIT)


@pytest.mark.parametrize(
    ("encoding", "empty"), [("gzip", gzip.compress(b"", mtime=0)), ("zstd", zstandard.compress(b""))]
)
def test_nothing_many_times_over_does_not_keep_a_thread(encoding: str, empty: bytes) -> None:
    before = time.thread_time()
    with pytest.raises(PayloadError, match="more than 4096"):
        decompress(empty * 3_000_000, encoding, 64_000_000)
    assert time.thread_time() - before < 5


def test_unknown_encodings_are_refused() -> None:
    for encoding in ("br", "gzip, br", ",".join(["gzip"] * 5)):
        with pytest.raises(UnsupportedMediaType):
            decompress(b"x", encoding, LIMIT)


@given(st.binary(max_size=3000))
def test_snappy_comes_back(body: bytes) -> None:
    assert unsnappy(snappy(body), LIMIT) == body


def test_snappy_says_its_size_first() -> None:
    with pytest.raises(PayloadTooLarge):
        unsnappy(snappy(b"0" * (LIMIT + 1)), LIMIT)
    lies = b"\xff\xff\xff\xff\x0f" + snappy(b"small")[1:]
    with pytest.raises(PayloadTooLarge):
        unsnappy(lies, LIMIT)


@pytest.mark.parametrize(
    "undo",
    [
        lambda b: unsnappy(b, LIMIT),
        *(lambda b, name=name: decompress(b, name, LIMIT) for name in ("gzip", "deflate", "zstd")),
    ],
)
@given(noise=st.binary(max_size=300))
def test_any_bytes_are_answered(undo: Callable[[bytes], bytes], noise: bytes) -> None:
    try:
        assert len(undo(noise)) <= LIMIT
    except PayloadError:
        return
