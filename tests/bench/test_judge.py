"""The judge by code on labelled claims made from recorded evidence, as `python -m bench.judge` prints it."""

from __future__ import annotations

from bench.judge import judge, rates, total
from bench.shop_evidence import OUT, read
from bench.true_claims import read_case

MOST_FALSE_FLAGS = 0.02
LEAST_CAUGHT = 0.9


def test_few_true_claims_are_flagged_and_each_kind_of_false_one_is_caught() -> None:
    judged, _ = judge([read_case(line) for line in read([OUT])], seed=3, most=3)
    true, false = rates(judged, True), rates(judged, False)
    assert total(true).claims + total(false).claims > 300
    assert total(true).share <= MOST_FALSE_FLAGS
    missed = {rate.kind: rate.share for rate in false if rate.share < LEAST_CAUGHT and rate.claims >= 10}
    assert missed == {}
    assert len(false) >= 17


def test_the_plain_rule_catches_only_what_cites_nothing_real() -> None:
    judged, _ = judge([read_case(line) for line in read([OUT])][:2], seed=1, most=1)
    caught = {rate.kind for rate in rates(judged, False) if rate.flagged_plainly}
    assert caught == {"uncited", "unknown id"}
