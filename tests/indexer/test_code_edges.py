"""The links of a code root over time: any history of steps leaves what a projection that is written anew holds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from graph.code import CodeEdge
from indexer.code_edges import KEEP_ENDED_US, Key, list_edges, pack_edges, take_step, unpack_edges
from indexer.search import Loaded
from storage.code import CodeRoot, CodeService
from storage.code_links import Emission
from tests.indexer.sources import make_index

SOURCES = {
    "pay/card.py": (
        "import bank\nfrom base import Service\n\nclass Payment(Service):\n    def charge(self, card):\n"
        "        log.error('card %s was declined by %s', card, bank)\n        bank.debit(card)\n"
    ),
    "bank.py": "def debit(card):\n    log.warning('debit of %s is slow', card)\n",
    "base.py": "class Service:\n    pass\n",
    "main.py": "import bank\n\nbank.debit(1)\nlog.info('the till is open')\n",
}


def _loaded(services: list[CodeService]) -> Loaded:
    index = make_index(SOURCES, "shop")
    return Loaded({"shop": CodeRoot("shop", "folder", "/shop")}, tuple(services), index)


def _emission(service: str, number: int, text: str) -> Emission:
    return Emission(service, number, text)


SAID = [
    _emission("payment", 1, "card <*> was declined by <*>"),
    _emission("payment", 2, "debit of <*> is slow"),
    _emission("other", 3, "card <*> was declined by <*>"),
    _emission("payment", 4, "somebody else wrote this line"),
]


def test_the_edges_of_a_code_base() -> None:
    services = [CodeService("shop", "", "payment"), CodeService("elsewhere", "", "other")]
    wanted = list_edges(_loaded(services), "shop", [*SAID, _emission("payment", 5, "the till is open")])
    assert {key: fact for key, fact in wanted.items() if key[0] != "DEFINED_IN"} == {
        ("CALLS", "pay/card.py::Payment.charge", "bank.py::debit"): (7, True),
        ("CALLS", "main.py::", "bank.py::debit"): (3, True),
        ("REFERENCES", "pay/card.py::Payment", "base.py::Service"): (4, True),
        ("LOGS", "pay/card.py::Payment.charge", "1"): (6, True),
        ("LOGS", "bank.py::debit", "2"): (2, True),
        ("LOGS", "main.py::", "5"): (4, True),
        ("DEPLOYED_AS", "/", "payment"): (0, True),
    }
    assert wanted["DEFINED_IN", "pay/card.py::Payment.charge", "pay/card.py"] == (5, True)


def test_code_that_nobody_runs_may_have_written_what_no_indexed_service_did() -> None:
    wanted = list_edges(_loaded([CodeService("elsewhere", "", "other")]), "shop", SAID)
    assert {key[1:] for key in wanted if key[0] == "LOGS"} == {
        ("pay/card.py::Payment.charge", "1"),
        ("bank.py::debit", "2"),
    }


_KEYS = st.sampled_from([("CALLS", a, b) for a in "abc" for b in "xy"])
_FACTS = st.tuples(st.integers(1, 3), st.booleans())
_HISTORIES = st.lists(st.tuples(st.dictionaries(_KEYS, _FACTS, max_size=5), st.integers(0, KEEP_ENDED_US)), max_size=8)


@given(_HISTORIES)
def test_what_is_written_step_by_step_is_what_is_held(history: list[tuple[dict[Key, tuple[int, bool]], int]]) -> None:
    held: tuple[CodeEdge, ...] = ()
    graph: dict[tuple[object, ...], CodeEdge] = {}
    now_us = 0
    for wanted, later_us in history:
        now_us += later_us
        step = take_step(held, wanted, now_us)
        for edge in step.written:
            graph[edge.kind, edge.source, edge.target, edge.valid_from_us] = edge
        for edge in step.forgotten:
            del graph[edge.kind, edge.source, edge.target, edge.valid_from_us]
        held = unpack_edges(pack_edges(step.edges))
        assert sorted(graph.values(), key=repr) == sorted(held, key=repr)
        assert {(e.kind, e.source, e.target): (e.line, e.sure) for e in held if e.valid_to_us is None} == wanted
        assert all(e.valid_to_us is None or e.valid_from_us < e.valid_to_us for e in held)
        assert take_step(held, wanted, now_us).written == ()


def test_an_edge_that_comes_back_holds_twice() -> None:
    key: Key = ("CALLS", "a", "b")
    held = take_step((), {key: (1, True)}, 10).edges
    held = take_step(held, {}, 20).edges
    held = take_step(held, {key: (2, True)}, 30).edges
    assert [(e.valid_from_us, e.valid_to_us) for e in held] == [(10, 20), (30, None)]
    far = take_step(held, {}, 40 + KEEP_ENDED_US)
    assert [(e.valid_from_us, e.valid_to_us) for e in far.forgotten] == [(10, 20)]
