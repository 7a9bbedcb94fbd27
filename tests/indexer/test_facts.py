"""What is read from a file of each language: definitions, calls, imports, log statements, and chunks that cover it."""

from __future__ import annotations

import time
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.facts import read_facts
from indexer.text_chunks import BUDGET, weigh


class Case(NamedTuple):
    """A file and some of what must be found in it: calls as (caller, callee), imports as (module, name)."""

    path: str
    source: str
    symbols: set[str]
    calls: set[tuple[str, str]]
    imports: set[tuple[str, str]]
    statements: set[tuple[str, str, str]]


CASES = [
    Case(
        "a.py",
        '''import os.path as p
from .bank import debit as take, Card

class Payment(Base):
    """Takes money."""
    def charge(self, card, amount):
        log.warning("card %s declined after %d tries", card, amount)
        self.audit(f"charged {amount:.2f} to {card!r}")
        raise PaymentFailed("no route to " + card)

def audit(text):
    print("audit:", text)
    take(text)
''',
        {"Payment", "Payment.charge", "audit"},
        {("Payment.charge", "audit"), ("audit", "take")},
        {("os.path", ""), (".bank", "debit"), (".bank", "Card")},
        {
            ("log", "warning", "card <*> declined after <*> tries"),
            ("raise", "error", "no route to <*>"),
            ("print", "", "audit: <*>"),
        },
    ),
    Case(
        "a.js",
        'import D, {a as b} from "./x";\nconst q = require("y");\n'
        "class A extends B { m(x) { logger.error(`order ${x.id} failed`); this.g(); throw new Error('bad ' + x); } }\n"
        'const k = (x) => { console.log("total is", x); };\n',
        {"A", "A.m", "k"},
        {("A.m", "g"), ("A.m", "Error"), ("k", "log")},
        {("./x", "default"), ("./x", "a"), ("y", "")},
        {("log", "error", "order <*> failed"), ("raise", "error", "bad <*>")},
    ),
    Case(
        "a.ts",
        'import * as ns from "pkg";\nexport class A { private f(x: number): void { this.logger.warn("slow " + x); g(x); } }\n'
        "export interface I { a: number }\n",
        {"A", "A.f", "I"},
        {("A.f", "g")},
        {("pkg", "")},
        {("log", "warning", "slow <*>")},
    ),
    Case(
        "a.tsx",
        'import {x} from "y";\nfunction App(p: P) { console.error("render failed", p); return <b>{x(p)}</b>; }\n',
        {"App"},
        {("App", "x")},
        {("y", "x")},
        {("log", "error", "render failed <*>")},
    ),
    Case(
        "a.go",
        'package main\nimport (\n\t"fmt"\n\tlg "log/slog"\n)\nfunc (s *Store) Add(id string) error {\n'
        '\tslog.Error("add failed", "id", id)\n\ts.put(id)\n\treturn fmt.Errorf("no item %q", id)\n}\n'
        'func main() { log.Printf("listening on %s", addr) }\ntype Store struct{ a int }\n',
        {"Store.Add", "main", "Store"},
        {("Store.Add", "put"), ("Store.Add", "Errorf")},
        {("fmt", ""), ("log/slog", "")},
        {("log", "error", "add failed"), ("raise", "error", "no item <*>"), ("log", "", "listening on <*>")},
    ),
    Case(
        "A.java",
        "package a.b;\nimport java.util.List;\nclass A extends B {\n  int f(int x) {\n"
        '    log.error("order {} failed", x); this.g();\n    throw new IllegalStateException("bad state " + x);\n  }\n}\n',
        {"A", "A.f"},
        {("A.f", "g"), ("A.f", "IllegalStateException")},
        {("java.util", "List")},
        {("log", "error", "order <*> failed"), ("raise", "error", "bad state <*>")},
    ),
    Case(
        "a.kt",
        'import x.y.Z\nclass A : B() {\n  fun f(x: Int) { logger.warn("took $x ms of ${x.y}"); g(); throw E("too slow") }\n}\n',
        {"A", "A.f"},
        {("A.f", "g")},
        {("x.y", "Z")},
        {("log", "warning", "took <*> ms of <*>"), ("raise", "error", "too slow")},
    ),
    Case(
        "a.cs",
        "using System.Linq;\nnamespace N { class C : D { int F(int x) {\n"
        '  _logger.LogError("order {Id} failed", x); G(); Console.WriteLine($"total {x}"); throw new E("no stock"); } } }\n',
        {"N.C", "N.C.F"},
        {("N.C.F", "G")},
        {("System.Linq", "*")},
        {("log", "error", "order <*> failed"), ("print", "", "total <*>"), ("raise", "error", "no stock")},
    ),
    Case(
        "a.c",
        '#include "x.h"\nstatic int f(struct a *p) { fprintf(stderr, "cannot open %s: %d\\n", p->x, 1); g(p); LOG_WARN("low %d", 1); return 0; }\n',
        {"f"},
        {("f", "g")},
        {("x.h", "")},
        {("print", "", "cannot open <*>: <*>"), ("log", "warning", "low <*>")},
    ),
    Case(
        "a.cpp",
        '#include <x>\nnamespace n { class A : public B { void m() { LOG(ERROR) << "disk " << d << " is full"; g(); throw std::runtime_error("bad disk"); } };\nvoid A::f() { h(); } }\n',
        {"n.A", "n.A.m", "n.A.f"},
        {("n.A.m", "g"), ("n.A.f", "h")},
        {("x", "")},
        {("log", "error", "disk <*> is full"), ("raise", "error", "bad disk")},
    ),
    Case(
        "a.rs",
        'use a::b::{C, d as e};\nstruct Bar;\nimpl Bar { fn f(&self) { tracing::warn!(id = 3, "retry {id} of {}", 3); self.g(); panic!("no route"); } }\n',
        {"Bar", "Bar.f"},
        {("Bar.f", "g")},
        {("a.b", "C"), ("a.b", "d")},
        {("log", "warning", "retry <*> of <*>"), ("raise", "error", "no route")},
    ),
    Case(
        "a.rb",
        'require "a/b"\nclass A < B\n  def f(x)\n    Rails.logger.error("order #{x} failed")\n    h(1)\n    raise Foo, "bad #{x}"\n  end\nend\n',
        {"A", "A.f"},
        {("A.f", "h")},
        {("a/b", "")},
        {("log", "error", "order <*> failed"), ("raise", "error", "bad <*>")},
    ),
    Case(
        "a.php",
        '<?php\nuse X\\Y as Z;\nclass C extends D { function f($x) { $this->log->error("order {$x} failed"); g(); throw new E("bad " . $x); } }\n',
        {"C", "C.f"},
        {("C.f", "g")},
        {("X", "Y")},
        {("log", "error", "order <*> failed"), ("raise", "error", "bad <*>")},
    ),
    Case(
        "a.scala",
        'import x.y.{Z, W => Q}\nclass A extends B { def f(x: Int) = { log.error(s"order $x failed"); g(x); throw new E("bad") } }\n',
        {"A", "A.f"},
        {("A.f", "g")},
        {("x.y", "Z"), ("x.y", "W")},
        {("log", "error", "order <*> failed"), ("raise", "error", "bad")},
    ),
    Case(
        "a.sh",
        'f() {\n  echo "cannot read $1"\n  g a b\n}\n',
        {"f"},
        {("f", "g")},
        set(),
        {("print", "", "cannot read <*>")},
    ),
    Case(
        "a.lua",
        'local m = require("a.b")\nfunction M.a(x) print("total " .. x); m.h(1); error("bad total") end\n',
        {"M.a"},
        {("M.a", "h")},
        {("a.b", "")},
        {("print", "", "total <*>"), ("raise", "error", "bad total")},
    ),
    Case("a.sql", "CREATE TABLE stock (id INT);\nSELECT 1;\n", {"stock"}, set(), set(), set()),
    Case("a.yaml", "kind: Deployment\nmetadata:\n  name: x\n", {"kind", "metadata"}, set(), set(), set()),
    Case("a.tf", 'resource "aws_lb" "front" {\n  a = 1\n}\n', {"resource.aws_lb.front"}, set(), set(), set()),
    Case("a.proto", 'import "x.proto";\nservice S { rpc F (M) returns (M); }\nmessage M {}\n', {"S", "S.F", "M"}, set(), {("x.proto", "")}, set()),
    Case("Dockerfile", "FROM python:3.12 AS base\nRUN pip install x\n", {"python:3.12"}, set(), set(), set()),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.path for case in CASES])
def test_each_language_gives_its_facts(case: Case) -> None:
    facts = read_facts(case.path, case.source.encode())
    assert facts.problems == ()
    assert case.symbols <= {symbol.qualified for symbol in facts.symbols}
    assert case.calls <= {(call.caller, call.name) for call in facts.calls}
    assert case.imports <= {(item.module, item.name) for item in facts.imports}
    assert case.statements <= {(s.kind, s.level, s.template) for s in facts.log_statements}
    assert "".join(chunk.text for chunk in facts.chunks) == case.source


def test_a_symbol_says_what_a_reader_needs() -> None:
    facts = read_facts("a.py", CASES[0].source.encode())
    payment, charge = facts.symbols[0], facts.symbols[1]
    assert (payment.kind, payment.bases, payment.doc) == ("class", ("Base",), "Takes money.")
    assert (charge.kind, charge.signature) == ("method", "def charge(self, card, amount)")
    assert (charge.start_line, charge.end_line, charge.scope) == (6, 9, "Payment")
    assert facts.log_statements[0].symbol == "Payment.charge"


def _function(name: str, lines: int) -> str:
    return f"def {name}(x):\n" + "".join(
        f"    value_{name}_{i} = compute(x, {i}, 'some text here')\n" for i in range(lines)
    )


def test_whole_functions_are_chunks_and_large_ones_are_cut_between_statements() -> None:
    source = _function("first", 12) + "\n" + _function("second", 60) + "\n" + _function("third", 12)
    facts = read_facts("a.py", source.encode())
    assert "".join(chunk.text for chunk in facts.chunks) == source
    assert facts.chunks[0].scope == "first"
    assert facts.chunks[-1].text.lstrip() == _function("third", 12)
    assert sum(chunk.scope == "second" for chunk in facts.chunks) >= 3
    assert all(weigh(chunk.text) <= BUDGET for chunk in facts.chunks)


def test_a_change_in_one_function_leaves_the_chunks_of_the_others() -> None:
    source = "".join(_function(name, 12) + "\n" for name in "abcdefgh")
    before = {chunk.id for chunk in read_facts("a.py", source.encode()).chunks}
    after = {chunk.id for chunk in read_facts("b.py", source.replace("value_d_3", "other").encode()).chunks}
    assert len(after - before) == 1


@given(
    st.lists(st.sampled_from([case.source for case in CASES]), max_size=4), st.integers(0, 400), st.text(max_size=40)
)
@settings(max_examples=60, deadline=None)
def test_broken_sources_are_covered_too(sources: list[str], place: int, noise: str) -> None:
    text = "".join(sources)
    source = text[:place] + noise + text[place:]
    for path in ("a.py", "a.ts", "a.cpp", "a.rb"):
        facts = read_facts(path, source.encode("utf-8", "replace"))
        assert "".join(chunk.text for chunk in facts.chunks) == source.encode("utf-8", "replace").decode()


@pytest.mark.parametrize(
    ("path", "content", "problem"),
    [
        ("a.js", b"x=1;" * 100_000, "minified"),
        ("a.py", b"(\n" * 50_000, "nested"),
        ("a.lua", bytes(range(1, 256)) * 800, "control characters"),
        ("a.c", b"int a;\n" * 400_000, "more than is parsed"),
        ("a.txt", b"line\n" * 2_000_000, "only the first 4 MiB"),
        ("a.sh", b"<a>$ %\n" * 28_000, "took too long"),
    ],
    ids=["minified", "nested", "binary", "large", "huge", "slow"],
)
def test_hostile_content_degrades_to_text_in_bounded_time(path: str, content: bytes, problem: str) -> None:
    began = time.monotonic()
    facts = read_facts(path, content)
    assert any(problem in line for line in facts.problems)
    assert facts.chunks
    assert time.monotonic() - began < 30.0
