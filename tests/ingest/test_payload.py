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
    body = b'{"a":1}\n\n{"a":\n{"a":3}\n\xff{'
    for content_type in ("application/x-ndjson", "application/json"):
        first, bad, last, odd = parse_records(body, content_type)
        assert (first, last) == ({"a": 1}, {"a": 3})
        assert isinstance(bad, Unreadable)
        assert bad.reason.startswith("Line 3 of the NDJSON body is not JSON")
        assert isinstance(odd, Unreadable)
        with pytest.raises(PayloadError, match="Line 3 of the NDJSON"):
            parse_json(body, content_type)


@pytest.mark.parametrize(
    "body", [b"", b" ", b"{", b"\xff", b"[nan]", b"[" * 100_000, b'{"a":1} {"a":2}', b'["\\ud800]']
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(PayloadError, match="not JSON"):
        parse_json(body, "application/json")


def test_arrays_and_single_objects() -> None:
    assert parse_records(json.dumps([{"a": 1}, 2]).encode()) == [{"a": 1}, 2]
    assert parse_records(b'{"a":1}') == [{"a": 1}]
    with pytest.raises(PayloadError, match="JSON array"):
        parse_records(b'"text"')


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": "caf\xe9"}', {"a": "caf\ufffd"}),
        (b'{"a": "\\ud800", "b": "x\\udc80y"}', {"a": "\ufffd", "b": "x\ufffdy"}),
        (b'{"a": "\\ud83d\\ude00\\ud83d"}', {"a": "\U0001f600\ufffd"}),
        (b'{"a": "\\\\ud800", "b": "\\\\\\ud800"}', {"a": "\\ud800", "b": "\\\ufffd"}),
        (b'{"a": NaN, "b": -Infinity}', {"a": "NaN", "b": "-Infinity"}),
    ],
)
def test_a_bad_character_costs_no_records(body: bytes, value: object) -> None:
    assert parse_records(body + b"\n" + b'{"c":2}', "application/json") == [value, {"c": 2}]
    assert parse_records(b"[" + body.removeprefix(b"\xef\xbb\xbf") + b"]") == [value]
    json.dumps(value).encode()
    str(value).encode()  # what was mended can be stored
