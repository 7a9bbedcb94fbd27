from __future__ import annotations

import json

import pytest

from ingest.peers import name_peer


@pytest.mark.parametrize(
    ("peer", "attributes", "name"),
    [
        ("10.0.0.7:5432", {"db.system.name": "postgresql", "db.namespace": "orders"}, "postgresql/orders"),
        ("db.internal:5432", {"db.system": "postgresql", "db.name": "orders"}, "postgresql/orders"),
        ("", {"db.system": "redis"}, "redis"),
        ("", {"db.system": "redis", "db.namespace": 0}, "redis/0"),
        ("b-1:9092", {"messaging.system": "kafka", "messaging.destination.name": "jobs"}, "kafka/jobs"),
        ("b-1:9092", {"messaging.destination": "jobs"}, "queue/jobs"),
        ("", {"messaging.destination.template": "/t/{id}", "messaging.destination.name": "/t/7"}, "queue//t/{id}"),
        (
            "",
            {"messaging.system": "rabbitmq", "messaging.destination.name": "amq.gen-7", "messaging.destination.temporary": True},
            "rabbitmq",
        ),
        ("10.0.0.7:80", {"peer.service": "bank"}, "bank"),
        ("api.stripe.com:443", {}, "api.stripe.com"),
        ("API.Stripe.com.", {}, "api.stripe.com"),
        ("cart", {}, "cart"),
    ],
)  # fmt: skip
def test_a_peer_has_the_name_of_what_is_called(peer: str, attributes: dict[str, object], name: str) -> None:
    assert name_peer(peer, json.dumps(attributes) if attributes else "") == name


@pytest.mark.parametrize(
    "peer",
    [
        "",
        "127.0.0.1:8080",
        "[::1]:8080",
        "::1",
        "localhost:80",
        "db.localhost",
        "10.2.3.4:41234",
        "8.8.8.8",
        "[fe80::1%eth0]:80",
        "/var/run/docker.sock",
        "ip-10-0-3-7.ec2.internal:80",
        "10-0-3-7.shop.pod.cluster.local",
    ],
)
def test_an_address_that_will_be_another_tomorrow_has_no_name(peer: str) -> None:
    assert name_peer(peer, "") == ""


def test_a_name_fits_and_stays_on_one_line() -> None:
    assert len(name_peer("x" * 300, "")) == 128
    assert "\n" not in name_peer("", json.dumps({"db.system": "a\nb", "db.namespace": "c\x00d" * 99}))
