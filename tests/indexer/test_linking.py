"""Calls resolved by scope and import; guesses are marked, and what is ambiguous is left out."""

from __future__ import annotations

from indexer.linking import link_calls
from tests.indexer.sources import make_index

PYTHON = {
    "shop/base.py": "class Service:\n    def audit(self):\n        pass\n",
    "shop/bank.py": "def debit(card):\n    return check(card)\n\ndef check(card):\n    pass\n\nclass Bank:\n    @classmethod\n    def open(cls):\n        pass\n",
    "shop/payment.py": (
        "from . import bank\nfrom .bank import debit as take, Bank\nfrom shop.base import Service\n\n"
        "class Payment(Service):\n    def charge(self):\n        self.audit()\n        take(1)\n        bank.check(2)\n"
        "        Bank.open()\n        self.unknown.settle_everything()\n        other.close()\n        print('x')\n"
    ),
    "shop/settle.py": "class Settler:\n    def settle_everything(self):\n        pass\n    def close(self):\n        pass\n",
    "shop/files.py": "class Files:\n    def close(self):\n        pass\n",
}


def _links(sources: dict[str, str]) -> set[tuple[str, str, str]]:
    return {(r.caller, f"{r.callee_path}:{r.callee}", r.tier) for r in link_calls(make_index(sources))}


def test_python_calls_are_resolved_by_scope_and_import() -> None:
    assert _links(PYTHON) == {
        ("debit", "shop/bank.py:check", "same file"),
        ("Payment.charge", "shop/base.py:Service.audit", "own"),
        ("Payment.charge", "shop/bank.py:debit", "import"),
        ("Payment.charge", "shop/bank.py:check", "member"),
        ("Payment.charge", "shop/bank.py:Bank.open", "member"),
        ("Payment.charge", "shop/settle.py:Settler.settle_everything", "guess"),
    }


def test_a_caller_that_did_not_change_keeps_its_call_to_a_changed_file() -> None:
    moved = dict(PYTHON) | {"shop/bank.py": "# a new line\n" + PYTHON["shop/bank.py"]}
    assert _links(moved) == _links(PYTHON)
    gone = dict(PYTHON) | {"shop/bank.py": "def other():\n    pass\n"}
    assert not any(target.startswith("shop/bank.py") for _, target, _ in _links(gone))


def test_other_languages_are_resolved_too() -> None:
    links = _links(
        {
            "web/cart.ts": "import {total} from './sum';\nimport * as m from './sum';\nexport function show() { total(1); m.round(2); }\n",
            "web/sum.ts": "export function total(x) { return round(x); }\nexport const round = (x) => x;\n",
            "go/cart/cart.go": 'package cart\nimport "acme.org/shop/stock"\nfunc Show() { stock.Take(1); helper() }\n',
            "go/cart/help.go": "package cart\nfunc helper() {}\n",
            "go/stock/stock.go": "package stock\nfunc Take(n int) {}\n",
            "src/main/java/a/b/Cart.java": "package a.b;\nimport a.c.Stock;\nclass Cart { void show() { Stock.take(1); this.sum(); } void sum() {} }\n",
            "src/main/java/a/c/Stock.java": "package a.c;\nclass Stock { static void take(int n) {} }\n",
        }
    )
    assert {
        ("show", "web/sum.ts:total", "import"),
        ("show", "web/sum.ts:round", "member"),
        ("total", "web/sum.ts:round", "same file"),
        ("Show", "go/stock/stock.go:Take", "member"),
        ("Show", "go/cart/help.go:helper", "package"),
        ("Cart.show", "src/main/java/a/c/Stock.java:Stock.take", "member"),
        ("Cart.show", "src/main/java/a/b/Cart.java:Cart.sum", "own"),
    } <= links


def test_what_a_package_hands_on_is_found_where_it_is_defined() -> None:
    assert _links(
        {
            "shop/bank/__init__.py": "from .accounts import debit\nfrom shop.bank import again\n",
            "shop/bank/accounts.py": "def debit(card):\n    pass\n",
            "shop/till.py": "from shop.bank import again, debit\n\ndef pay():\n    debit(1)\n    again(2)\n",
        }
    ) == {("pay", "shop/bank/accounts.py:debit", "import")}


def test_what_everything_is_asked_for_is_not_guessed() -> None:
    assert (
        _links({"a.py": "class Log:\n    def append(self, x):\n        pass\n", "b.py": "def f(x):\n    x.append(1)\n"})
        == set()
    )


def test_what_two_definitions_fit_equally_well_is_known_of_neither() -> None:
    settle = "class {}:\n    def settle_up(self):\n        pass\n"
    caller = "from store.bank import debit\n\ndef pay(till):\n    till.settle_up()\n    debit(1)\n"
    one = {"a/settle.py": settle.format("A"), "x/store/bank.py": "def debit(n):\n    pass\n", "pay.py": caller}
    assert _links(one) == {
        ("pay", "a/settle.py:A.settle_up", "guess"),
        ("pay", "x/store/bank.py:debit", "import"),
    }
    assert _links(one | {"b/settle.py": settle.format("B"), "y/store/bank.py": "def debit(n):\n    pass\n"}) == set()
