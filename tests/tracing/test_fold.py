"""Folding is pure: order, repetition and gaps do not matter; the card and the JSON say what the view holds."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.evidence import LedgerEntry
from domain.times import Window
from domain.verdict import Judgement
from tracing import Event, Trace, fold, scorecard
from tracing.events import EVENT_TYPES, encode_payload, make_amendment, make_event_id, make_trace_id
from tracing.report import report
from tracing.scorecard import to_json, walk_stages


def make_run() -> Trace:
    trace = Trace("why?", "shop")
    with trace.stage("logs"):
        trace.decide("a", "b", 0.9)
        with trace.stage("inner"):
            trace.decide("c", "d", 0.4)
    trace.evidence(["log-1", "log-2"])
    trace.evidence(["log-1"], cited=True)
    trace.conclude("CONFIRMED", ["payment"])
    trace.judge(Judgement("ALLOW_ANSWER", {"grounded": 1.0}))
    trace.end()
    return trace


def test_ids_are_idempotent_and_unique() -> None:
    assert make_event_id("t", "s", "DECISION", 0) == make_event_id("t", "s", "DECISION", 0)
    ids = {make_event_id(t, s, k, n) for t in "ab" for s in "ab" for k in EVENT_TYPES for n in range(3)}
    assert len(ids) == 4 * len(EVENT_TYPES) * 3 and {len(held) for held in ids} == {32}
    assert make_trace_id(datetime(2026, 2, 13, 14, 30, 22, tzinfo=UTC)).startswith("trc_20260213_143022_")


@given(st.randoms(use_true_random=False))
@settings(max_examples=50)
def test_order_and_repetition_do_not_matter(chance: random.Random) -> None:
    events = list(make_run().events)
    expected = fold(events)
    again = events + chance.sample(events, 5)
    chance.shuffle(again)
    assert fold(again) == expected


@given(st.lists(st.integers(0, 11), unique=True, max_size=11))
def test_any_part_of_a_run_can_be_folded(missing: list[int]) -> None:
    events = make_run().events
    kept = [event for at, event in enumerate(events) if at not in missing]
    view = fold(kept)
    starts = sum(event.type == "STAGE_START" for event in kept)
    assert len(list(walk_stages(view))) == starts
    assert len(view.decisions) == sum(event.type == "DECISION" for event in kept)
    assert scorecard(view)


@given(
    st.sampled_from(EVENT_TYPES),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ),
    st.sampled_from(["status", "seconds", "confidence", "alternatives", "ids", "scores", "gaps", "patch", "parent"]),
)
def test_any_payload_can_be_folded(event_type: str, value: object, name: str) -> None:
    event = Event("t", "e", event_type, "s", 0, 0, 5, encode_payload({name: value}))  # type: ignore[arg-type]
    start = Event("t", "x", "STAGE_START", "s", 0, 1, 5, encode_payload({name: value}))
    end = Event("t", "y", "STAGE_END", "s", 0, 2, 5, encode_payload({name: value}))
    view = fold([event, start, end])
    assert scorecard(view) and json.dumps(to_json(view))


def test_events_of_two_traces_are_refused() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        fold([])
    with pytest.raises(ValueError, match="exactly one"):
        fold([make_run().events[0], make_run().events[0]])


def test_an_event_survives_json() -> None:
    for event in make_run().events:
        assert Event.from_json(json.loads(json.dumps(event.to_json()))) == event


def test_an_event_of_a_newer_program_is_passed_over() -> None:
    events = make_run().events
    strange = replace(events[3], event_id="0" * 32, type="HOLOGRAM")  # type: ignore[arg-type]
    assert fold([*events, strange]) == fold(events)


def test_a_broken_off_run_has_open_spans() -> None:
    trace = Trace("why?", "shop")
    with trace.stage("logs"):
        inner = trace.stage("inner")
        inner.__enter__()
        view = trace.view()
        inner.__exit__(None, None, None)
    assert (view.status, view.open_spans, view.ended_us, view.seconds) == ("running", 2, None, None)
    assert view.stages[0].status == view.stages[0].stages[0].status == "open"
    assert "logs ? OPEN" in scorecard(view)


def test_amendments_change_the_reading_not_the_events() -> None:
    run = make_run()
    patch = {"outcome": "LIKELY", "note": "one hop is a guess"}
    first = make_amendment(run.id, 0, patch, actor="ada", reason="hop", time_us=1)
    second = make_amendment(run.id, 1, {"outcome": None}, actor="bob", reason="wrong", time_us=2)
    view = fold([second, *run.events, first])
    assert (view.outcome, view.note, view.action) == ("", "one hop is a guess", "ALLOW_ANSWER")
    assert [amendment.actor for amendment in view.amendments] == ["ada", "bob"]
    assert fold(run.events).outcome == "CONFIRMED"
    with pytest.raises(ValueError, match="question"):
        make_amendment(run.id, 0, {"question": "other"}, actor="ada", reason="", time_us=1)


def test_the_card_is_short_and_says_it_all() -> None:
    view = fold(make_run().events)
    card = scorecard(view)
    lines = card.splitlines()
    assert len(lines) == 9 and all(len(line) <= 100 for line in lines)
    assert lines[0] == "Outcome    CONFIRMED: payment"
    assert "ALLOW_ANSWER" in lines[1] and "complete" in lines[1]
    assert lines[2] == "Quality    1.00 over 1 principles"
    assert lines[3].startswith("Stages     logs ") and "(+1 inside)" in lines[3]
    assert lines[4] == "Decisions  2 (least sure 0.40)"
    assert lines[6] == "Evidence   2 found -> 1 cited"
    assert lines[8] == f"Trace      {view.id}"


def test_a_document_of_a_run_holds_no_markup_of_strangers() -> None:
    hostile = "<img src=x> [click](http://evil) `code` | **bold** # head"
    run = Trace(hostile, "shop")
    run.note(answer=f"{hostile}\n```\n# broken out")
    run.decide(hostile, hostile, 0.5, [hostile])
    run.ledger(LedgerEntry(hostile, Window(0, 1), hostile, 1, 1, None, 0.1))
    run.end()
    lines = report(run.view()).splitlines()
    for line in lines:
        if not line.startswith("    "):  # an indented block, in which nothing counts
            assert not re.search(r"(?<!\\)[<`\[]", line.replace("## ", "")), line
    assert sum(line.startswith("#") for line in lines) == 4
    assert next(line for line in lines if line.startswith("| \\<img")).count(" | ") == 4


def test_deep_and_wide_trees_are_folded() -> None:
    trace = Trace("why?", "shop")
    parent = trace.root
    for number in range(3000):
        parent = trace.open_span(str(number), parent, {})
    assert max(depth for depth, _ in walk_stages(trace.view())) == 2999
