"""What the explainer writes, from verdicts made by hand."""

from __future__ import annotations

from agents.explainer import write_claims
from agents.question import Subject
from agents.state import Plan
from diagnosis.ranking import Candidate
from diagnosis.symptom import state_symptom
from domain.evidence import make_evidence
from domain.times import Window
from domain.verdict import Cause, Verdict


def test_a_service_may_be_called_like_a_hop() -> None:
    edge = make_evidence(
        environment="x", kind="edge", key={}, record={}, query="calls", text="a->b calls db", service="a->b", time_us=1
    )
    cause = Cause(
        service="db",
        fault_class="data",
        confidence=0.9,
        onset_us=1,
        path=("db", "a->b"),
        evidence=(),
        hop_evidence={"a->b->db": (edge.id,)},
        inferred_hops=(),
    )
    window = Window(0, 10)
    plan = Plan(window, Subject(), ("a->b", "db"), state_symptom("a->b", 0, 10, 1), window, window, True, 1, 1)
    ranking = [Candidate("db", 0.9, 0.9, 1.0, 1.0, 1, ("db", "a->b"), (), {})]
    claims = write_claims(Verdict("LIKELY", ("x",), (cause,)), plan, ranking, {}, {edge.id: edge})
    assert [claim.text for claim in claims] == ["a->b calls db, though no bad call between them was recorded"]
