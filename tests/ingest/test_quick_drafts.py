"""The quick way through a body of plain log events leads where the careful one does."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest import json_records

texts = st.sampled_from(
    ["", " ", "web", " we\tb ", "x" * 200, "a\x00b", "\x1b[31mred", "é", "INFO", "warn2", "nonsense", "7"]
)
ids = st.sampled_from(
    ["", "0" * 32, "0" * 16, "AB" * 16, "ab" * 8, "not-an-id", "12345678-1234-1234-1234-123456789012"]
)
odd = st.sampled_from([None, 1, -1, 1.5, True, [], {}, [1], {"a": 1}])
records = st.fixed_dictionaries(
    {},
    optional={
        "timestamp": st.sampled_from(
            [0, -5, 1, 1795293785, 1795293785392, 1795293785392634, 10**30, "2026-11-21", 1.5, None]
        ),
        "service": texts | odd,
        "message": texts | odd,
        "level": texts | odd,
        "node": texts | odd,
        "environment": texts | odd,
        "trace_id": ids | odd,
        "span_id": ids | odd,
        "attributes": st.dictionaries(
            st.sampled_from(["k", "deployment.environment.name", "a\tb", ""]), texts | odd, max_size=3
        )
        | odd,
        "something": odd,
    },
)


@given(st.lists(records, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_ways_lead_to_the_same(monkeypatch: pytest.MonkeyPatch, given_records: list[dict[str, Any]]) -> None:
    body = msgspec.json.encode(given_records)
    quick = json_records.decode_logs(body, "application/json", "e")
    with monkeypatch.context() as patch:
        patch.setattr(json_records, "_quick_draft", lambda raw, environment: None)
        careful = json_records.decode_logs(body, "application/json", "e")
    assert quick == careful


def test_a_plain_record_goes_the_quick_way() -> None:
    raw = {"timestamp": 1795293785392634, "service": "web", "message": "up", "level": "info", "attributes": {"n": 1}}
    draft = json_records._quick_draft(raw, "e")
    assert draft is not None
    assert (draft.environment, draft.service, draft.message, draft.attributes) == ("e", "web", "up", {"n": 1})
