"""What an error text speaks of. The texts are those of common runtimes."""

from __future__ import annotations

import pytest

from diagnosis.wording import classify, named_services, says_refused, says_waiting


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired", "certificate"),
        ("x509: certificate signed by unknown authority", "certificate"),
        ("QueuePool limit of size 2 overflow 0 reached, connection timed out, timeout 1.00", "capacity"),
        ("FATAL: sorry, too many clients already", "capacity"),
        ("java.lang.OutOfMemoryError: Java heap space", "resource"),
        ("OOMKilled container exceeded memory limit", "resource"),
        ("json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)", "data"),
        ("[Errno 111] Connection refused", "dependency"),
        ("context deadline exceeded", "dependency"),
        ("read ECONNRESET", "network"),
        ("KeyError: 'currency'", "code"),
        ("java.lang.NullPointerException: Cannot invoke", "code"),
        ("order 17 accepted in 4 ms", "unknown"),
    ],
)
def test_classify(text: str, expected: str) -> None:
    assert classify(text) == expected


def test_services_are_named_as_words_of_their_own() -> None:
    services = ["order", "orders", "ts-order-service", "bank"]
    assert named_services("cannot reach orders at 10.0.0.1:80", services) == ["orders"]
    assert named_services("No instances available for ts-order-service", services) == ["ts-order-service"]
    assert named_services("bankrupt", services) == []


@pytest.mark.parametrize(
    "name", ["my shop", "Café", "o'brien", "a/b", "платежи", "2fa", "{x}", "a->b", "🔥fire", "10.0.0.1"]
)
def test_services_of_any_name_are_found(name: str) -> None:
    assert named_services(f"why did {name} fail at 10:42?", [name, "shop", "10", "42"]) == (
        [name, "shop"] if name == "my shop" else [name]
    )


def test_waiting_and_refusing_are_told_apart() -> None:
    assert says_waiting("order 12 is still placed after 2.0 s, giving up waiting: timed out")
    assert says_refused("<urlopen error [Errno 111] Connection refused>")
    assert not says_refused("KeyError: 'currency'")
