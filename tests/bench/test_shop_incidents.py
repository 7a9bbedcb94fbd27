"""The whole product on live telemetry: the shop breaks, the question is asked over HTTP, the answer is checked."""

from __future__ import annotations

import pytest

from bench.shop import Result, path_fits, run_fault
from examples.shop.faults import FAULTS


def check(result: Result) -> None:
    assert result.right, result
    assert result.path_right, result
    assert result.fault_class == result.expected_class, result
    assert result.cited == result.unchanged, result
    if result.expected:
        assert result.runbook, result
        assert result.cited >= 4, result


def test_a_wrong_port_is_named_with_its_path_and_every_record_holds() -> None:
    check(run_fault(FAULTS["wrong-port"], seed=7, warmup=10, broken=8))


@pytest.mark.long
@pytest.mark.parametrize("name", list(FAULTS))
def test_every_fault_of_the_shop(name: str) -> None:
    check(run_fault(FAULTS[name], seed=3, warmup=20, broken=20))


def test_the_path_check_can_fail() -> None:
    truth = ("worker", "queue", "orders", "checkout", "storefront")
    assert path_fits(("worker", "orders", "checkout", "storefront"), truth)
    assert not path_fits(("orders", "checkout", "storefront"), truth)
    assert not path_fits(("worker", "checkout", "orders", "storefront"), truth)
    assert not path_fits((), truth)
