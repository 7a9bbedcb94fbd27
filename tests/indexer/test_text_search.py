"""Search by words: names and paths weigh more, common words less."""

from __future__ import annotations

from domain.terms import read_terms
from indexer.text_search import search_text
from tests.indexer.sources import make_index

INDEX = make_index(
    {
        "shop/payment.py": "def charge_card(card):\n    # takes the amount from the card\n    return bank.transfer(card)\n",
        "shop/bank.py": "def transfer(card):\n    return Transfer(card)\n",
        "shop/README.md": "Payment: a card is charged by the bank, and the bank transfers the amount.\n",
    }
)


def test_the_definition_of_a_name_comes_first() -> None:
    assert search_text(INDEX, "where is charge_card")[0].file.path == "shop/payment.py"
    best = search_text(INDEX, "transfer")[0]
    assert (best.file.path, best.line) == ("shop/bank.py", 1)


def test_identifiers_are_searched_in_parts_too() -> None:
    assert read_terms("chargeCard and the HTTPServer2") == {
        "chargecard": 1.0, "charge": 0.4, "card": 0.4, "httpserver2": 1.0, "http": 0.4, "server": 0.4,
    }  # fmt: skip
    assert search_text(INDEX, "ChargeCard")[0].file.path == "shop/payment.py"


def test_words_that_nobody_wrote_find_nothing() -> None:
    assert search_text(INDEX, "zebra") == []
    assert search_text(INDEX, "the of and") == []
    assert search_text(make_index({}), "card") == []
