"""Figures and tables over incidents that were asked about: how high the true service ranks, and what the answer is worth.

AC@k is the share of incidents whose true service is among the first k, Avg@5 the mean of AC@1 to AC@5.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NOWHERE = 99
OURS = "ours"
FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Scored:
    """One incident beside its truth. `ranks` holds per method where the true service stands, from 1.

    `right` is about the named cause alone, `path_cited` about the topology edge of every hop down from the symptom,
    `unchanged` about every cited record, read again. `why` is the last reason of the verdict, in the server's words.
    """

    case: str
    fault_type: str
    truth: str
    outcome: str
    first: str
    ranks: Mapping[str, int]
    right: bool
    path_cited: bool
    cited: int
    unchanged: int
    seconds: float
    why: str = ""
    confidence: float = 0.0

    @property
    def strictly_right(self) -> bool:
        """Right service, a verified path, and every citation still says what it said."""
        return self.right and self.path_cited and 0 < self.cited == self.unchanged


def place(ranking: Sequence[str], truth: str) -> int:
    """Return the place of the true service in a ranking, from 1."""
    return ranking.index(truth) + 1 if truth in ranking else NOWHERE


def accuracy(ranks: Sequence[int]) -> dict[str, float]:
    """Return AC@1, AC@3 and Avg@5."""
    within = [sum(rank <= k for rank in ranks) / len(ranks) for k in range(1, 6)]
    return {"AC@1": within[0], "AC@3": within[2], "Avg@5": statistics.fmean(within)}


def path_is_cited(answer: Mapping[str, Any], symptom_service: str) -> bool:
    """True where an answer names a cause, and cites a topology edge for every hop from the symptom down to it."""
    verdict = answer["verdict"]
    if verdict["outcome"] not in ("CONFIRMED", "LIKELY") or not verdict["causes"]:
        return False
    cause = verdict["causes"][0]
    hops = [f"{caller}->{callee}" for callee, caller in zip(cause["path"], cause["path"][1:], strict=False)]
    cited = cause["hop_evidence"]
    return cause["path"][-1:] == [symptom_service] and all(
        any(i.startswith("edge-") for i in cited.get(hop, ())) for hop in hops
    )


def by_fault_type(results: Sequence[Scored]) -> dict[str, list[Scored]]:
    """Group results by fault type in the order of appearance, all of them last."""
    groups: dict[str, list[Scored]] = {}
    for result in results:
        groups.setdefault(result.fault_type, []).append(result)
    return groups | {"ALL": list(results)}


def figures(results: Sequence[Scored]) -> dict[str, Any]:
    """Return all figures of a group of incidents."""
    named = Counter(r.outcome for r in results)
    seconds = [r.seconds for r in results]
    return {
        "n": len(results),
        "always_the_same": Counter(r.truth for r in results).most_common(1)[0][1] / len(results),
        "methods": {m: accuracy([r.ranks[m] for r in results]) for m in results[0].ranks},
        "strictly_right": sum(r.strictly_right for r in results),
        "outcomes": dict(named),
        "confirmed_wrong": sum(r.outcome == "CONFIRMED" and not r.right for r in results),
        "likely_wrong": sum(r.outcome == "LIKELY" and not r.right for r in results),
        "abstained_though_first": sum(r.ranks[OURS] == 1 and r.outcome not in ("CONFIRMED", "LIKELY") for r in results),
        "cited": sum(r.cited for r in results),
        "unchanged": sum(r.unchanged for r in results),
        "seconds_median": statistics.median(seconds),
        "seconds_max": max(seconds),
    }


def table(title: str, results: Sequence[Scored]) -> str:
    """Return two tables as text: the rankings beside each other, and what our answers are worth."""
    groups = {name: figures(members) for name, members in by_fault_type(results).items()}
    methods = list(results[0].ranks)
    lines = [f"{title}: AC@1 / AC@3 / Avg@5", _line("fault type", "n", methods, 15)]
    for name, found in groups.items():
        cells = ["/".join(_two(value) for value in found["methods"][method].values()) for method in methods]
        lines.append(_line(name, found["n"], cells, 15))
    heads = ["confirmed", "(wrong)", "likely", "(wrong)", "abstained", "(was 1st)", "strict", "s median", "s max"]
    lines += ["", f"{title}: our answers", _line("fault type", "n", heads, 10)]
    for name, found in groups.items():
        given = found["outcomes"]
        taken = given.get("CONFIRMED", 0), given.get("LIKELY", 0)
        cells = [taken[0], found["confirmed_wrong"], taken[1], found["likely_wrong"], found["n"] - sum(taken)]
        cells += [found["abstained_though_first"], _two(found["strictly_right"] / found["n"])]
        cells += [f"{found['seconds_median']:.2f}", f"{found['seconds_max']:.2f}"]
        lines.append(_line(name, found["n"], cells, 10))
    every = groups["ALL"]
    lines += [
        "strict: right service named, a topology edge cited for every hop down from the symptom, every citation re-read "
        f"unchanged ({every['unchanged']} of {every['cited']} are).",
        f"who always names the most common true service has AC@1 {_two(every['always_the_same'])}.",
    ]
    lines.append(reliability([(r.confidence, r.right) for r in results if r.outcome in ("CONFIRMED", "LIKELY")]))
    if failed := every["outcomes"].get(FAILED, 0):
        lines.append(f"{failed} question(s) got no answer; they count as wrong, and as abstained.")
    return "\n".join(lines)


def _line(name: str, count: object, cells: Sequence[object], width: int) -> str:
    return f"{name:<16}{count:>3}  " + "".join(f"{cell!s:<{width}}" for cell in cells).rstrip()


def _two(value: float) -> str:
    return f"{value:.2f}".removeprefix("0")


def reliability(answers: Sequence[tuple[float, bool]]) -> str:
    """Return how well confidence was earned: per band how often the named cause was right, and the Brier score."""
    if not answers:
        return "confidence: no cause was named."
    parts = []
    for low, high in ((0.0, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.01)):
        held = [right for confidence, right in answers if low <= confidence < high]
        if held:
            parts.append(f"{low:.1f}-{min(high, 1.0):.1f}: {sum(held)} of {len(held)}")
    brier = statistics.fmean((confidence - right) ** 2 for confidence, right in answers)
    return f"confidence and how often the named cause was right: {', '.join(parts)}; Brier score {brier:.3f}."
