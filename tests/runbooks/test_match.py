"""The right runbook first, the same every time, and none when nothing fits."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from domain.telemetry import ChangeKind
from domain.verdict import FaultClass, RunbookMatch
from runbooks import Runbook, load_library, match_runbooks
from runbooks.match import Links, measure_nearness

LIBRARY = load_library()

# What incidents say, in the words of common software; not the runbooks' own.
CASES: list[tuple[str, FaultClass, list[str], ChangeKind | None]] = [
    ("slow-database-query", "resource", ["slow query: 8.2 s SELECT * FROM orders WHERE ..."], None),
    ("slow-database-query", "dependency", ["Lock wait timeout exceeded; try restarting transaction"], None),
    ("slow-dependency", "dependency", ["rpc error: code = DeadlineExceeded desc = context deadline exceeded"], None),
    ("slow-dependency", "dependency", ["GET http://stock:8080/items timed out after <num> ms"], None),
    ("connection-pool-exhausted", "resource", ["FATAL: sorry, too many connections for role app"], None),
    ("connection-pool-exhausted", "resource", ["QueuePool limit of size 5 overflow 10 reached, timeout 30"], None),
    ("connection-pool-exhausted", "capacity", ["HikariPool-1 - Connection is not available, request timed out"], None),
    ("bad-deploy-roll-back", "code", ["java.lang.NullPointerException at Cart.total(Cart.java:88)"], "deploy"),
    ("bad-deploy-roll-back", "code", [], "deploy"),
    ("wrong-address-or-port", "config", ["dial tcp 10.0.0.7:5433: connect: connection refused"], "config"),
    ("wrong-address-or-port", "config", ["getaddrinfo ENOTFOUND pay-svc"], None),
    ("memory-leak-restarts", "resource", ["Container app OOMKilled, exit code 137"], None),
    ("memory-leak-restarts", "resource", ["java.lang.OutOfMemoryError: Java heap space"], None),
    ("poisoned-queue-message", "data", ["message <id> redelivered <num> times, requeueing"], None),
    ("expired-certificate", "certificate", ["x509: certificate has expired or is not yet valid"], None),
    ("expired-certificate", "certificate", ["ssl.SSLCertVerificationError: certificate verify failed"], None),
    ("harmless-noisy-logs", "unknown", ["DeprecationWarning: foo() is deprecated, will be removed in 3.0"], None),
    ("disk-full", "resource", ["write /var/lib/data/wal: no space left on device"], None),
    ("network-latency", "network", ["recv: Connection reset by peer", "TCP retransmits 12 %"], None),
    # No class is known, and one phrase says enough.
    ("disk-full", "unknown", ["OSError: [Errno 28] No space left on device"], None),
]


@pytest.mark.parametrize(("expected", "fault_class", "texts", "change"), CASES)
def test_the_right_runbook_is_first(
    expected: str, fault_class: FaultClass, texts: list[str], change: ChangeKind | None
) -> None:
    messages = {text: (f"log-{at}",) for at, text in enumerate(texts)}
    matches = match_runbooks(LIBRARY, services=["checkout"], fault_class=fault_class, messages=messages, change=change)
    assert matches and matches[0].id == expected, [(match.id, match.score, match.why) for match in matches]
    assert matches[0].why and 0.45 <= matches[0].score <= 1
    assert matches[0].evidence == tuple(f"log-{at}" for at in range(len(texts)))
    assert matches[0].steps[0]["precondition"]
    assert len(matches) <= 3 and [m.score for m in matches] == sorted((m.score for m in matches), reverse=True)


@pytest.mark.parametrize(
    ("fault_class", "texts", "change"),
    [
        ("resource", [], None),
        (None, [], None),
        ("unknown", ["user logged in", "GET / 200 OK"], None),
        ("data", ["order <num> accepted"], "deploy"),
        ("code", ["operation latency recorded"], None),
        ("certificate", ["out of disk space"], None),
    ],
)
def test_none_is_an_answer(fault_class: FaultClass | None, texts: list[str], change: ChangeKind | None) -> None:
    messages = dict.fromkeys(texts, ())
    assert match_runbooks(LIBRARY, services=["a"], fault_class=fault_class, messages=messages, change=change) == []


def test_the_order_of_what_is_known_does_not_matter() -> None:
    texts = [(text, (f"log-{at}",)) for at, case in enumerate(CASES) for text in case[2]]
    chance = random.Random(3)
    expected = None
    for _ in range(10):
        chance.shuffle(texts)
        runbooks = chance.sample(list(LIBRARY), len(LIBRARY))
        found = match_runbooks(runbooks, services=["a"], fault_class="resource", messages=dict(texts))
        expected = expected or found
        assert found == expected


def test_a_runbook_of_other_services_is_never_offered_and_ones_own_is_preferred() -> None:
    general = LIBRARY.get("disk-full")
    ours = replace(general, id="our-disks", services=("store-*", "db"))
    messages = {"no space left on device": ("log-1",)}
    found = match_runbooks([general, ours], services=["store-eu"], fault_class="resource", messages=messages)
    assert [match.id for match in found] == ["our-disks", "disk-full"]
    assert "it is for service store-eu" in found[0].why
    found = match_runbooks([general, ours], services=["checkout"], fault_class="resource", messages=messages)
    assert [match.id for match in found] == ["disk-full"]


def test_words_match_whole_words_only() -> None:
    runbook = replace(LIBRARY.get("disk-full"), words=("full", "retransmi*"))
    for text, fits in (("Disk FULL!", True), ("successfully", False), ("retransmission", True), ("a_full_b", True)):
        found = match_runbooks([runbook], services=[], fault_class="resource", messages={text: ()})
        assert bool(found) is fits, text


def _match(links: Links, fault_class: FaultClass, *runbooks: Runbook) -> list[RunbookMatch]:
    return match_runbooks(runbooks or LIBRARY, services=["store"], fault_class=fault_class, messages={}, links=links)


def test_a_runbook_for_what_the_cause_calls_is_linked_by_the_graph() -> None:
    theirs = replace(LIBRARY.get("disk-full"), id="their-disks", services=("store-db",))
    assert _match(Links(), "resource", theirs) == []
    (found,) = _match(Links(neighbours=("cache", "store-db")), "resource", theirs)
    assert "it is for store-db, which store calls" in found.why


def test_what_helped_before_is_linked_and_only_with_something_that_agrees() -> None:
    links = Links(helped={"disk-full": "inc-1"})
    (found,) = _match(links, "resource", LIBRARY.get("disk-full"))
    assert "it helped store before (inc-1)" in found.why
    assert _match(links, "network", LIBRARY.get("disk-full")) == []


def test_meaning_links_alone_only_where_it_stands_out() -> None:
    def found(nearest: float, fault_class: FaultClass) -> list[str]:
        distances = {runbook.id: 0.8 for runbook in LIBRARY} | {"disk-full": nearest}
        return [match.id for match in _match(Links(near=measure_nearness(distances)), fault_class)]

    assert found(0.4, "unknown") == ["disk-full"]
    assert found(0.65, "unknown") == [], "less clear, and nothing agrees: none fits"
    assert found(0.65, "resource") == ["disk-full"]
    assert found(0.78, "resource") == []
    assert measure_nearness({"a": 0.1, "b": 0.9}) == {}, "too few to tell"
