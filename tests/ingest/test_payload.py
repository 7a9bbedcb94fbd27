from __future__ import annotations

import json

import pytest

from domain.errors import PayloadError, UnsupportedMediaType
from ingest.payload import Unreadable, parse_json, parse_records


def test_unknown_types_are_refused() -> None:
    with pytest.raises(UnsupportedMediaType, match="'text/xml'"):
        parse_json(b"{}", "text/xml; charset=utf-8")


@pytest.mark.parametrize("content_type", ["", "application/json; charset=utf-8", "application/x-ndjson", "text/plain"])
def test_ndjson_is_understood_whatever_it_is_called(content_type: str) -> None:
    assert parse_records(b'{"a":1}\r\n\n{"a":2}\n', content_type) == [{"a": 1}, {"a": 2}]


def test_a_bad_line_is_named() -> None:
    body = b'{"a":1}\n\n{"a":\n{"a":3}\n\xff'
    for content_type in ("application/x-ndjson", "application/json"):
        first, bad, last, odd = parse_records(body, content_type)
        assert (first, last) == ({"a": 1}, {"a": 3})
        assert isinstance(bad, Unreadable)
        assert bad.reason.startswith("Line 3 of the NDJSON body is not JSON")
        assert isinstance(odd, Unreadable)
        with pytest.raises(PayloadError, match="Line 3 of the NDJSON"):
            parse_json(body, content_type)


@pytest.mark.parametrize("body", [b"", b"{", b'"\xff"', b"[NaN]", b"[" * 100_000, b'{"a":1} {"a":2}', b"[1e999]"])
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(PayloadError, match="not JSON"):
        parse_json(body, "application/json")


def test_arrays_and_single_objects() -> None:
    assert parse_records(json.dumps([{"a": 1}, 2]).encode()) == [{"a": 1}, 2]
    assert parse_records(b'{"a":1}') == [{"a": 1}]
    with pytest.raises(PayloadError, match="JSON array"):
        parse_records(b'"text"')
