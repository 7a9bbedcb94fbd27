"""What kind of thing each service of a topology is."""

from __future__ import annotations

import pytest

from graph.kinds import KnownService, describe_services
from graph.ontology import Edge, EdgeKind


def edge(source: str, target: str, by: str = "traces", kind: EdgeKind = "CALLS") -> Edge:
    return Edge(source, target, kind, by, 0, None, 0)


@pytest.mark.parametrize(
    ("target", "by", "kind"),
    [
        ("postgresql/orders", "client spans", "database"),
        ("kafka/orders", "client spans", "queue"),
        ("queue//t/{id}", "client spans", "queue"),
        ("redis-cart", "traces", "database"),
        ("rabbitmq", "logs", "queue"),
        ("api.bank.example", "client spans", "external"),
        ("api.bank.example", "traces", "service"),
        ("payment", "logs", "service"),
        ("feedback", "traces", "service"),
    ],
)
def test_a_service_has_a_kind(target: str, by: str, kind: str) -> None:
    (found,) = [one for one in describe_services([edge("web", target, by)]) if one.name == target]
    assert found.kind == kind


def test_what_calls_others_is_a_service_whatever_it_is_called() -> None:
    found = describe_services([edge("cache-warmer", "web"), edge("ingress/front", "web"), edge("a", "cache-warmer")])
    assert {one.name: one.kind for one in found}["cache-warmer"] == "service"
    assert {one.name: one.kind for one in found}["ingress/front"] == "ingress"


def test_a_service_tells_where_it_runs() -> None:
    places = [edge("web", node, "logs", "RUNS_ON") for node in ("n2", "n1", "pod/shop/web-1")]
    assert describe_services(places) == [KnownService("web", "service", ("n1", "n2"), ("shop/web-1",))]
