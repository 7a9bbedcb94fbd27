"""Stack frames to files, log lines to statements: the right one, or several that are said to be tied."""

from __future__ import annotations

import pytest

from domain.frames import parse_frames
from indexer.frame_match import place_frames
from indexer.statement_match import StatementIndex
from tests.indexer.sources import make_index

SOURCES = {
    "src/shop/payment.py": "import log\n\ndef charge(card):\n    log.error('card %s declined by %s', card, bank)\n    raise Declined('no route to bank')\n",
    "src/shop/json/decoder.py": "def decode(text):\n    log.warning('cannot read %d bytes', 3)\n",
    "src/main/java/com/shop/Cart.java": 'package com.shop;\nclass Cart {\n  int total() {\n    log.info("total of {} is {}", a, b);\n    return 1;\n  }\n}\n',
    "test/java/com/other/Cart.java": "package com.other;\nclass Cart {\n  int other() { return 1; }\n}\n",
    "Shop/Store.cs": 'namespace Shop { class CartStore { void Add() { _log.LogError("Store {Id} is full", id); } } }\n',
    "a/same.py": "def f():\n    log.info('starting worker %s', 1)\n",
    "b/same.py": "def g():\n    log.info('starting worker %s', 2)\n",
}
INDEX = make_index(SOURCES)


@pytest.mark.parametrize(
    ("trace", "path", "symbol"),
    [
        ('  File "/app/releases/7/shop/payment.py", line 4, in charge', "src/shop/payment.py", "charge"),
        ("\tat com.shop.Cart.total(Cart.java:4)", "src/main/java/com/shop/Cart.java", "Cart.total"),
        ("   at Shop.CartStore.Add(String id)", "Shop/Store.cs", "Shop.CartStore.Add"),
        (r"   at Shop.CartStore.Add(String id) in C:\build\Shop\Store.cs:line 1", "Shop/Store.cs", "Shop.CartStore.Add"),
    ],
    ids=["python", "java", "dotnet without a file", "dotnet"],
)  # fmt: skip
def test_a_frame_finds_its_file_whatever_the_prefix(trace: str, path: str, symbol: str) -> None:
    (place,) = place_frames(INDEX, parse_frames(trace))
    assert (place.file.path, place.symbol, place.sure) == (path, symbol, True)


def test_a_foreign_frame_has_no_place() -> None:
    assert place_frames(INDEX, parse_frames('  File "/usr/lib/python3.12/json/scanner.py", line 2, in scan')) == []
    assert place_frames(INDEX, parse_frames('  File "/usr/lib/python3.12/email/payment.py", line 2, in parse')) == []


def test_frames_that_several_files_fit_are_not_sure() -> None:
    places = place_frames(INDEX, parse_frames('  File "same.py", line 9, in <module>'))
    assert [(place.file.path, place.sure) for place in places] == [("a/same.py", False), ("b/same.py", False)]


@pytest.mark.parametrize(
    ("message", "path", "line"),
    [
        ("card 4000-0012 declined by north bank", "src/shop/payment.py", 4),
        ("card <*> declined by <*>", "src/shop/payment.py", 4),
        ("Declined: no route to bank", "src/shop/payment.py", 5),
        ("2026-01-01 INFO total of order 7 is 12.50 EUR", "src/main/java/com/shop/Cart.java", 4),
        ("cannot read <*>", "src/shop/json/decoder.py", 2),
    ],
)
def test_a_line_finds_the_statement_that_wrote_it(message: str, path: str, line: int) -> None:
    best = StatementIndex(INDEX.statements).match(message)[0]
    assert (best.file.path, best.statement.line, best.tied) == (path, line, 0)


def test_equal_statements_are_tied_and_none_is_sure() -> None:
    found = StatementIndex(INDEX.statements).match("starting worker 12")
    assert [(m.file.path, m.tied, m.sure) for m in found[:2]] == [("a/same.py", 1, False), ("b/same.py", 1, False)]


def test_a_line_of_nobody_finds_nothing() -> None:
    assert StatementIndex(INDEX.statements).match("GET /health 200 OK") == []
    assert StatementIndex([]).match("anything") == []
