"""Own trouble, crashes, effects and everyday events of an orchestrator."""

from __future__ import annotations

import pytest

from diagnosis.orchestrator import Standing, event_signals, service_of, standing_of
from domain.observed import OrchestratorRow
from domain.times import MINUTE_US, SECOND_US, Window

START = 120 * MINUTE_US
WINDOW = Window(START, START + 3 * MINUTE_US)


def event(
    reason: str, text: str, at: int = START, kind: str = "Warning", name: str = "pod/cart-6d4cf56db6-x8k2p"
) -> OrchestratorRow:
    return OrchestratorRow(f"e{at}", at, kind, name, "", reason, text)


@pytest.mark.parametrize(
    ("reason", "text", "kind", "standing"),
    [
        ("Failed", 'Failed to pull image "shop/cart:9": not found', "Warning", "own"),
        ("FailedScheduling", "0/3 nodes are available: 3 Insufficient memory.", "Warning", "own"),
        ("FailedCreate", "pods is forbidden: exceeded quota: compute", "Warning", "own"),
        ("FailedMount", 'configmap "cart-settings" not found', "Warning", "own"),
        ("BackOff", "Back-off restarting failed container", "Warning", "crash"),
        ("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503", "Warning", "effect"),
        ("Killing", "Stopping container cart", "Normal", None),
        ("Pulled", "Container image already present on machine", "Normal", None),
        ("FailedGetResourceMetric", "failed to get cpu utilization", "Warning", None),
    ],
)
def test_what_an_event_says(reason: str, text: str, kind: str, standing: Standing | None) -> None:
    assert standing_of(event(reason, text, kind=kind)) == standing


def test_fault_classes_are_told_apart() -> None:
    said = {
        "config": ("Failed", "Error: ImagePullBackOff"),
        "capacity": ("FailedCreate", "exceeded quota: compute, requested: cpu=2"),
        "resource": ("OOMKilling", "Memory cgroup out of memory"),
    }
    for fault_class, (reason, text) in said.items():
        assert [s.fault_class for s in event_signals([event(reason, text)], ["cart"], WINDOW)] == [fault_class]


def test_one_failed_probe_while_a_pod_starts_says_little() -> None:
    probe = ("Unhealthy", "Readiness probe failed: connection refused")
    once = event_signals([event(*probe)], ["cart"], WINDOW)[0]
    often = event_signals([event(*probe, at=START + n * 20 * SECOND_US) for n in range(5)], ["cart"], WINDOW)[0]
    assert once.name == often.name == "not_ready"
    assert once.strength < 0.5 < often.strength


def test_what_was_as_bad_for_long_is_no_news() -> None:
    crash = ("BackOff", "Back-off restarting failed container")
    always = [event(*crash, at=START - n * MINUTE_US) for n in range(60, -3, -1)]
    fresh = [event(*crash, at=START + n * 10 * SECOND_US) for n in range(5)]
    assert (
        event_signals(always, ["cart"], WINDOW)[0].strength < 0.5 * event_signals(fresh, ["cart"], WINDOW)[0].strength
    )


def test_a_rolling_deploy_is_no_trouble_and_scaling_to_nothing_is() -> None:
    down = event("ScalingReplicaSet", "Scaled down replica set cart-1 to 0", kind="Normal", name="deployment/cart")
    up = event("ScalingReplicaSet", "Scaled up replica set cart-2 to 1", kind="Normal", name="deployment/cart")
    assert event_signals([up, down], ["cart"], WINDOW) == []
    assert [s.service for s in event_signals([down], ["cart"], WINDOW)] == ["cart"]


def test_pods_are_given_to_their_service() -> None:
    assert service_of("pod/cart-6d4cf56db6-x8k2p", ["cart", "cart-db"]) == "cart"
    assert service_of("pod/cart-db-0", ["cart", "cart-db"]) == "cart-db"
    assert service_of("shop/pod/ads-6d4cf56db6-x8k2p", ["cart"]) == "ads"
