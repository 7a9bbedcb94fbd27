"""The verdict rule: what may be said, given what the stores hold. No wording, no model, no second chances.

CONFIRMED needs all of: a symptom; one candidate clearly ahead; a path of topology edges from cause to symptom that
existed then; an onset order that fits; a cited record on the cause; and on each hop a cited record or a stated gap.
Without one of these the outcome is LIKELY or INCONCLUSIVE, and the reasons say what is missing. No symptom while the
sources were speaking is HEALTHY; silence is not health.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diagnosis.ranking import CIRCUMSTANCE, WEIGHTS, Candidate
from diagnosis.second_cause import find_second
from diagnosis.signals import Ref
from diagnosis.symptom import Symptom
from domain.times import SECOND_US, format_us
from domain.verdict import Cause, Outcome, Ranked, RuledOut, Verdict

CONFIRM_SCORE = 0.45
CONFIRM_LEAD = 1.25
LIKELY_SCORE = 0.2
NAME_LEAD = 1.1  # two that are equally suspicious: naming one of them would be a guess
ONSET_BOUND_US = 5 * SECOND_US
MIN_BASELINE = 5
# Slowness that is over and hit fewer requests than this confirms nothing.
SURE_BLIP = 30
# What trouble that was only stated takes to name its cause, in score and in lead.
STATED_SCORE = 0.3
STATED_LEAD = 1.25
_PLAIN_SIGN = 0.4
_SECOND_SIGN = 0.08
_RULED_OUT_OWN = 0.15
_MAX_RANKED = 20


@dataclass(frozen=True, slots=True)
class Proof:
    """What the stores hold of a candidate's story.

    `cited` maps a record's address to the id of the evidence that was made of it by reading it again; `edges` maps
    each hop (caller, callee) to the evidence of a topology edge valid at the time; `hops` maps a hop to records of
    calls on it that went bad. `baseline` counts the request traces from before the symptom that were compared with.
    `alike` says, where it is so, that nearly everything on the way became slow at once. `cut_off` says that no call to
    or from the first candidate is known, though other services speak.
    """

    cited: Mapping[Ref, str]
    edges: Mapping[tuple[str, str], str]
    hops: Mapping[tuple[str, str], Sequence[str]]
    baseline: int
    alike: str = ""
    cut_off: bool = False


def settle_healthy(reporting: bool, looked_at: str, not_seen: Sequence[str] = ()) -> Verdict:
    """Return HEALTHY if the sources were speaking and nothing was wrong, else INCONCLUSIVE."""
    if reporting:
        return Verdict(
            "HEALTHY",
            (f"No operation failed or slowed beyond its usual share: {looked_at}.",),
            not_seen=tuple(not_seen),
        )
    return Verdict(
        "INCONCLUSIVE",
        (f"There is no data to answer from: {looked_at}. No data is not the same as no trouble.",),
        not_seen=tuple(not_seen),
    )


def settle_verdict(
    symptom: Symptom, ranking: Sequence[Candidate], proof: Proof, not_seen: Sequence[str] = ()
) -> Verdict:
    """Apply the rule to the ranking and return the verdict with its reasons."""
    ranked = tuple(
        Ranked(c.service, round(c.score, 4), {k: v for k, v in c.contributions.items() if v})
        for c in ranking[:_MAX_RANKED]
    )
    reasons = [_symptom_sentence(symptom, proof.baseline)]
    top = ranking[0] if ranking else None
    second = find_second(ranking, symptom)
    undecided = _undecided(symptom, _beside(ranking, second), proof)
    if top is None or undecided:
        return Verdict(
            "INCONCLUSIVE",
            (*reasons, undecided),
            ranking=ranked,
            ruled_out=_ruled_out(ranking, (), proof),
            not_seen=tuple(not_seen),
        )
    named = [top, second] if second else [top]
    gaps, causes = [], []
    for candidate in named:
        alone = [candidate, *(c for c in ranking if c not in named)]
        gaps += _gaps(symptom, alone, candidate, proof)
        causes.append(_cause(symptom, alone, candidate, proof))
        also = "a second trouble of the same time starts" if candidate is second else "it starts"
        reasons.append(f"{candidate.service} is where {also}: {candidate.signals[0].text}")
    causes = [cause for cause in causes if cause.evidence]
    outcome: Outcome = "INCONCLUSIVE" if not causes else "LIKELY" if gaps else "CONFIRMED"
    reasons.extend(gaps or [_proven(cause) for cause in causes])
    return Verdict(
        outcome=outcome,
        reasons=tuple(dict.fromkeys(reasons)),
        causes=tuple(causes),
        ranking=ranked,
        ruled_out=_ruled_out(ranking, causes, proof),
        not_seen=tuple(not_seen),
    )


def _beside(ranking: Sequence[Candidate], second: Candidate | None) -> list[Candidate]:
    """Return a ranking without a second cause: it is no rival."""
    return [candidate for candidate in ranking if candidate is not second]


def _undecided(symptom: Symptom, ranking: Sequence[Candidate], proof: Proof) -> str:
    """Return why no cause can be named at all, "" where one can."""
    top = ranking[0] if ranking else None
    if top is None:
        return "No service shows trouble that could have caused it"
    if top.score < LIKELY_SCORE:
        return _weak(top)
    if symptom.kind == "stated" and not _corroborated(top, ranking):
        return f"No request was measured to fail or slow down, and the signs at {top.service} do not suffice alone"
    rival = ranking[1] if len(ranking) > 1 else None
    if rival is not None and top.score < NAME_LEAD * rival.score:
        return (
            f"{top.service} and {rival.service} are equally suspicious (scores {top.score:.2f} and {rival.score:.2f})"
        )
    if proof.alike and top.signals[0].name == "slow_link":
        return f"{proof.alike}: a machine or a network is short of something, rather than the link to {top.service}"
    return ""


def hops_of(path: Sequence[str]) -> list[tuple[str, str]]:
    """Return the hops (caller, callee) of a path that is listed cause first."""
    return [(caller, callee) for callee, caller in itertools.pairwise(path)]


def in_order(symptom: Symptom, cause: Candidate) -> bool:
    """True where a cause's trouble shows before the symptom begins, or before the first request it explains is over."""
    return cause.onset_us <= max(symptom.start_us + ONSET_BOUND_US, cause.latest_us)


def _gaps(symptom: Symptom, ranking: Sequence[Candidate], top: Candidate, proof: Proof) -> list[str]:
    gaps = []
    if symptom.kind == "stated":
        gaps.append("The trouble was stated, not measured: no operation failed or slowed beyond its usual share")
    if symptom.kind == "latency" and symptom.recovered and symptom.bad < SURE_BLIP:
        gaps.append(f"Only {symptom.bad} requests were slow, for a moment: any busy machine does that")
    if proof.alike and top.signals[0].name == "slow_here":
        gaps.append(f"{proof.alike}: the machine may be short of something")
    if symptom.kind in ("errors", "latency") and not symptom.begun:
        gaps.append("It was as bad when the records begin: this may be how it always is")
    if symptom.kind == "metrics":
        gaps.append("Metrics alone are too coarse to tell which came first")
    if top.score < CONFIRM_SCORE:
        gaps.append(f"The case against {top.service} is thin (score {top.score:.2f}, {CONFIRM_SCORE} confirms)")
    rival = ranking[1] if len(ranking) > 1 else None
    if rival and top.score < CONFIRM_LEAD * rival.score:
        gaps.append(f"{rival.service} is nearly as suspicious (score {rival.score:.2f} beside {top.score:.2f})")
    if top.path[-1] != symptom.service:
        gaps.append(f"No path leads from {top.service} to {symptom.service}")
    if proof.cut_off:
        gaps.append(f"No call to or from {top.service} is known: what it depends on could not be looked at")
    gaps.extend(
        f"The topology of that time has no edge {caller} -> {callee}"
        for caller, callee in hops_of(top.path)
        if (caller, callee) not in proof.edges
    )
    if symptom.kind in ("errors", "latency") and not in_order(symptom, top):
        late = (top.onset_us - symptom.start_us) / SECOND_US
        gaps.append(f"{top.service} shows trouble only {late:.1f} s after the symptom began")
    if symptom.kind == "logs":
        gaps.append("No request traces were reported: who failed whom is told by log lines alone")
    elif proof.baseline < MIN_BASELINE and symptom.kind != "metrics":
        gaps.append(f"Only {proof.baseline} request traces from before the symptom are stored to compare with")
    if not any(ref in proof.cited for signal in top.signals for ref in signal.refs):
        gaps.append(f"No stored record shows the trouble of {top.service}")
    return gaps


def _cause(symptom: Symptom, ranking: Sequence[Candidate], top: Candidate, proof: Proof) -> Cause:
    hops = hops_of(top.path)
    evidence = dict.fromkeys(proof.cited[ref] for signal in top.signals for ref in signal.refs if ref in proof.cited)
    rival = ranking[1].score if len(ranking) > 1 else 0.0
    lead = 1 - rival / top.score if top.score else 0.0
    return Cause(
        service=top.service,
        fault_class=top.fault_class,
        confidence=round(min(0.99, top.score * (0.7 + 0.3 * lead)), 3),
        onset_us=top.onset_us,
        path=top.path,
        evidence=tuple(evidence),
        hop_evidence={
            f"{caller}->{callee}": tuple(
                dict.fromkeys(
                    (*proof.hops.get((caller, callee), ()), *filter(None, (proof.edges.get((caller, callee)),)))
                )
            )
            for caller, callee in hops
        },
        inferred_hops=tuple(f"{a}->{b}" for a, b in hops if not proof.hops.get((a, b))),
        component=top.component,
        change_id=top.change_id,
    )


def _corroborated(top: Candidate, ranking: Sequence[Candidate]) -> bool:
    """Without a measured symptom, a cause needs a clear lead and either two kinds of signs or one that leaves no doubt.

    Neither a change nor a burst of errors nor a full resource is such a sign: healthy systems have all of them.
    """
    rival = ranking[1].score if len(ranking) > 1 else 0.0
    if top.score < STATED_SCORE or top.score < STATED_LEAD * rival:
        return False
    signs = {s.name: 0.0 for s in top.signals if s.name not in CIRCUMSTANCE}
    for signal in top.signals:
        if signal.name in signs:
            signs[signal.name] = max(signs[signal.name], WEIGHTS[signal.name] * signal.strength)
    effects = [weight for name, weight in signs.items() if name != "saturated"]
    plain = max(effects, default=0.0)
    return plain >= _PLAIN_SIGN or (len(signs) >= 2 and plain >= _SECOND_SIGN)


def _symptom_sentence(symptom: Symptom, baseline: int) -> str:
    if symptom.kind == "stated" and symptom.text:
        return f"{symptom.text}, from {format_us(symptom.start_us)}"
    if symptom.kind == "stated":
        return f"Trouble was reported from {format_us(symptom.start_us)} to {format_us(symptom.end_us)}"
    if symptom.kind == "metrics":
        return f"{symptom.text}, from {format_us(symptom.start_us)}"
    if symptom.kind == "logs":
        return (
            f"{symptom.bad} of {symptom.requests} lines of {symptom.service} were errors from "
            f"{format_us(symptom.start_us)}; {100 * symptom.usual_share:.1f} % is usual"
        )
    what = "failed" if symptom.kind == "errors" else "were slow"
    until = f" until {format_us(symptom.end_us)}" if symptom.recovered else ""
    usual = f"{100 * symptom.usual_share:.1f} % is usual" if baseline else "what is usual is not known"
    return (
        f"{symptom.bad} of {symptom.requests} requests to {symptom.service} ({symptom.operation}) {what} "
        f"from {format_us(symptom.start_us)}{until}; {usual}"
    )


def _weak(top: Candidate) -> str:
    return (
        f"The most suspicious service, {top.service}, scores {top.score:.2f}; {LIKELY_SCORE} is needed to name a cause"
    )


def _proven(cause: Cause) -> str:
    path = " -> ".join(cause.path)
    gaps = f"; no bad call was recorded on {', '.join(cause.inferred_hops)}" if cause.inferred_hops else ""
    return f"Every hop of {path} existed then, the onsets are in order, and the records are cited{gaps}"


def _ruled_out(ranking: Sequence[Candidate], causes: Sequence[Cause], proof: Proof) -> tuple[RuledOut, ...]:
    found = []
    for candidate in ranking:
        if candidate.service in {cause.service for cause in causes} or candidate.own < _RULED_OUT_OWN:
            continue
        if not causes and candidate.score >= LIKELY_SCORE:
            continue
        shown = next((s for s in candidate.signals if any(r in proof.cited for r in s.refs)), candidate.signals[0])
        cited = dict.fromkeys(proof.cited[ref] for ref in shown.refs if ref in proof.cited)
        found.append(RuledOut(candidate.service, _why_not(candidate, shown.text, causes), tuple(cited)))
    return tuple(found[:8])


def _why_not(candidate: Candidate, loud: str, causes: Sequence[Cause]) -> str:
    for cause in causes:
        if candidate.service in cause.path:
            return f"a victim: its bad requests are explained by {cause.service} ({loud})"
    if candidate.reach < 0.1:
        return f"a bystander: nothing leads from it to the symptom ({loud})"
    if "later_than_symptom" in candidate.contributions:
        return f"its trouble began after the symptom ({loud})"
    if candidate.unexplained < 0.5:
        return f"what it calls explains its trouble ({loud})"
    return f"the case against it is weaker, score {candidate.score:.2f} ({loud})"
