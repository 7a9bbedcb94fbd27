"""Two runs beside each other, and lists narrowed by facets."""

from __future__ import annotations

from collections.abc import Sequence

from api.pages.compare import tell_facts
from api.pages.facets import Choice, choose
from review.comparison import Divergence, compare_runs
from tracing.events import Event, EventType, encode_payload, make_event_id
from tracing.fold import TraceView, fold


def _view(trace_id: str, decided: Sequence[tuple[str, str]], cited: Sequence[str], action: str = "BLOCK") -> TraceView:
    told: list[tuple[EventType, str, dict[str, object]]] = [("RUN_START", "root", {"question": "why?"})]
    told += [("STAGE_START", stage, {"name": stage}) for stage in ("planner", "log", "judge")]
    told += [("DECISION", stage, {"what": what}) for stage, what in decided]
    told += [("EVIDENCE", "judge", {"ids": list(cited), "cited": True}), ("JUDGE", "judge", {"action": action})]
    return fold(
        Event(trace_id, make_event_id(trace_id, span, kind, at), kind, span, 0, at, at, encode_payload(data))
        for at, (kind, span, data) in enumerate(told)
    )


def test_the_first_different_decision_is_found_whoever_was_quicker() -> None:
    left = _view("a", [("planner", "look at checkout"), ("log", "3 signals"), ("judge", "2 kept")], ["log-1", "log-2"])
    right = _view(
        "b", [("judge", "2 kept"), ("log", "4 signals"), ("planner", "look at checkout")], ["log-2", "span-3"]
    )
    found = compare_runs(left, right)
    assert found.first_decision == Divergence("decision", "decision 2", "log: 3 signals", "log: 4 signals")
    assert [(line.kind, line.a, line.b) for line in found.decisions] == [
        ("same", "planner: look at checkout", "planner: look at checkout"),
        ("a", "log: 3 signals", ""),
        ("b", "", "log: 4 signals"),
        ("same", "judge: 2 kept", "judge: 2 kept"),
    ]
    assert (found.evidence_a_only, found.evidence_b_only, found.evidence_shared) == (("log-1",), ("span-3",), 1)


def test_equal_runs_differ_nowhere() -> None:
    view = _view("a", [("log", "3 signals")], ["log-1"])
    found = compare_runs(view, view)
    assert found.first_decision is None
    assert not any(fact.differs for fact in tell_facts(view, view, found))
    other = _view("b", [("log", "3 signals")], ["log-1"], "ESCALATE")
    facts = tell_facts(view, other, compare_runs(view, other))
    assert [fact.name for fact in facts if fact.differs] == ["judge"]
    more = _view("c", [("log", "3 signals"), ("judge", "2 kept")], ["log-1"])
    facts = tell_facts(view, more, compare_runs(view, more))
    assert [(fact.name, fact.left, fact.right, fact.change) for fact in facts if fact.differs] == [
        ("decisions", "1", "2", "+1")
    ]


_CHOICES: tuple[Choice[dict[str, str]], ...] = (
    Choice("kind", "Kind", lambda line: (line["kind"],)),
    Choice("who", "Who", lambda line: (line["who"],)),
)
_LINES = [{"kind": kind, "who": who, "text": f"{kind} of {who}"} for kind in ("x", "y") for who in ("a", "a", "b")]


def test_a_facet_counts_what_the_other_facets_leave() -> None:
    chosen = choose(_LINES, _CHOICES, "/list", {"kind": "x", "live": "0"})
    assert len(chosen.lines) == 3
    kind, who = chosen.facets
    assert [(offer.value, offer.count, offer.chosen, offer.url) for offer in kind.offers] == [
        ("x", 3, True, "/list"),
        ("y", 3, False, "/list?kind=y"),
    ]
    assert [(offer.value, offer.count) for offer in who.offers] == [("a", 2), ("b", 1)]
    assert who.offers[1].url == "/list?kind=x&who=b"


def test_words_narrow_and_unknown_values_leave_nothing() -> None:
    assert len(choose(_LINES, _CHOICES, "/list", {"q": " OF b "}, lambda line: line["text"]).lines) == 2
    chosen = choose(_LINES, _CHOICES, "/list", {"who": "<script>"})
    assert chosen.lines == []
    assert chosen.facets[1].offers[0].url == "/list"
    assert chosen.facets[0].offers == ()
