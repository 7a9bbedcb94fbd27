"""The judge by code on labelled claims: how often it flags a true one, and which share of each kind of false ones it catches.

    python -m bench.judge [--seed N] [--evidence FILE ...] [--show MISSES] [--json]

The claims are made from evidence of real runs of the example shop (`bench.shop_evidence` records it). Beside our checks
stands the plain rule that most assistants use: the claim cites something, and what it cites exists.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.labelled_claims import Labelled, make_claims
from bench.shop_evidence import OUT, read
from bench.true_claims import Case, WordingSet, read_case
from review.checks import ClaimChecker


@dataclass(frozen=True, slots=True)
class Judged:
    """A labelled claim, whether our checks and the plain rule flag it, and why ours do."""

    labelled: Labelled
    flagged: bool
    flagged_plainly: bool
    why: str


@dataclass(frozen=True, slots=True)
class Rate:
    """How many of a kind were flagged."""

    kind: str
    claims: int
    flagged: int
    flagged_plainly: int

    @property
    def share(self) -> float:
        return self.flagged / self.claims


def judge(cases: Sequence[Case], seed: int, most: int = 5) -> tuple[list[Judged], float]:
    """Judge labelled claims about every case, `most` facts of each kind; return what was said and the milliseconds per claim."""
    claims = make_claims(cases, seed, most)
    checkers = {case.name: ClaimChecker(case.run()) for case in cases}
    known = {i for case in cases for i in case.records}
    began = time.perf_counter()
    found = [(labelled, checkers[labelled.case].check(labelled.claim)) for labelled in claims]
    took = 1000 * (time.perf_counter() - began) / len(claims)
    judged = [
        Judged(one, not said.holds, not one.claim.evidence or not set(one.claim.evidence) <= known, said.fault)
        for one, said in found
    ]
    return judged, took


def rates(judged: Sequence[Judged], true: bool, wording: WordingSet | None = None) -> list[Rate]:
    """Return the rate of each kind of claim."""
    kinds: defaultdict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        if one.labelled.true == true and wording in (None, one.labelled.wording):
            kinds[one.labelled.kind].append(one)
    return [
        Rate(kind, len(held), sum(o.flagged for o in held), sum(o.flagged_plainly for o in held))
        for kind, held in kinds.items()
    ]


def total(found: Sequence[Rate]) -> Rate:
    """Return the rate of all kinds together."""
    parts = [(r.claims, r.flagged, r.flagged_plainly) for r in found]
    return Rate("all", *(sum(column) for column in zip(*parts, strict=True)))


def print_table(judged: Sequence[Judged], took: float) -> None:
    """Print what was flagged."""
    print(f"{len(judged)} labelled claims, {took:.2f} ms each")
    print(f"{'true claims':<30} {'claims':>7} {'flagged':>9} {'plain rule':>11}")
    sets: tuple[WordingSet, ...] = ("first", "second")
    for wording in sets:
        rate = total(rates(judged, True, wording))
        print(f"{'  in the ' + wording + ' wordings':<30} {rate.claims:>7} {rate.share:>9.1%} {_plain(rate):>11}")
    for rate in rates(judged, True):
        print(f"  {rate.kind:<28} {rate.claims:>7} {rate.share:>9.1%} {_plain(rate):>11}")
    print(f"{'false claims':<30} {'claims':>7} {'caught':>9} {'plain rule':>11}")
    for rate in sorted(rates(judged, False), key=lambda r: r.kind):
        print(f"  {rate.kind:<28} {rate.claims:>7} {rate.share:>9.1%} {_plain(rate):>11}")


def _plain(rate: Rate) -> str:
    return f"{rate.flagged_plainly / rate.claims:.1%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--evidence", type=Path, nargs="*", default=[OUT], help="recordings of bench.shop_evidence")
    parser.add_argument(
        "--show", type=int, default=0, help="print this many claims of each kind that were judged wrongly"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per kind")
    arguments = parser.parse_args()
    judged, took = judge([read_case(line) for line in read(arguments.evidence)], arguments.seed)
    if arguments.json:
        for true in (True, False):
            for rate in rates(judged, true):
                print(json.dumps({"true": true, "kind": rate.kind, "claims": rate.claims, "flagged": rate.flagged}))
    else:
        print_table(judged, took)
    shown: defaultdict[str, int] = defaultdict(int)
    for one in judged:
        if one.flagged == one.labelled.true and shown[one.labelled.kind] < arguments.show:
            shown[one.labelled.kind] += 1
            print(f"[{one.labelled.kind}] {one.labelled.claim.text} -> {one.why or 'held'}")


if __name__ == "__main__":
    main()
