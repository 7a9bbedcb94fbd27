from __future__ import annotations

import gzip
import json

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import PayloadError, PayloadTooLarge, UnsupportedMediaType
from ingest.payload import decompress, parse_json, parse_records

LIMIT = 1_000_000


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


def test_unknown_encodings_and_types_are_refused() -> None:
    with pytest.raises(UnsupportedMediaType, match="'br'"):
        decompress(b"x", "br", LIMIT)
    with pytest.raises(UnsupportedMediaType, match="'text/xml'"):
        parse_json(b"{}", "text/xml; charset=utf-8")


@pytest.mark.parametrize("content_type", ["", "application/json; charset=utf-8", "application/x-ndjson", "text/plain"])
def test_ndjson_is_understood_whatever_it_is_called(content_type: str) -> None:
    assert parse_records(b'{"a":1}\r\n\n{"a":2}\n', content_type) == [{"a": 1}, {"a": 2}]


def test_a_bad_line_is_named() -> None:
    for content_type in ("application/x-ndjson", "application/json"):
        with pytest.raises(PayloadError, match="Line 3 of the NDJSON"):
            parse_records(b'{"a":1}\n\n{"a":\n{"a":3}', content_type)


@pytest.mark.parametrize("body", [b"", b"{", b'"\xff"', b"[NaN]", b"[" * 100_000, b'{"a":1} {"a":2}', b"[1e999]"])
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(PayloadError, match="not JSON"):
        parse_json(body, "application/json")


def test_arrays_and_single_objects() -> None:
    assert parse_records(json.dumps([{"a": 1}, 2]).encode()) == [{"a": 1}, 2]
    assert parse_records(b'{"a":1}') == [{"a": 1}]
    with pytest.raises(PayloadError, match="JSON array"):
        parse_records(b'"text"')
