"""The scores of the retrieval bench, and that its questions speak of things that there are."""

from __future__ import annotations

import ast

import pytest
import yaml

from bench.retrieval import QUESTIONS, STAGES, Score, score, show, strip_docs
from examples.shop.faults import FAULTS
from runbooks.library import load_library


def test_recall_and_ndcg_are_those_of_the_book() -> None:
    right = frozenset("ab")
    assert score(list("abcde"), right) == Score(1.0, 1.0, 1.0)
    assert score(list("cdefghijkl"), right) == Score(0.0, 0.0, 0.0)
    late = score(["x", "a", "x2", "x3", "x4", "b"], right)
    assert (late.recall5, late.recall10) == (0.5, 1.0)
    assert late.ndcg10 == pytest.approx((0.63093 + 0.35621) / 1.63093, abs=1e-4)
    many = frozenset(f"k{n}" for n in range(20))
    assert score([f"k{n}" for n in range(10)], many) == Score(1.0, 1.0, 1.0)


def test_the_table_has_a_cell_for_each_stage() -> None:
    scores = {"all": {stage: [Score(0.5, 1.0, 0.25)] for stage in STAGES}}
    assert show(scores).split("\n")[-1] == f"| all | 1 |{' 0.50 / 1.00 / 0.25 |' * len(STAGES)}"


def test_docstrings_are_taken_out_and_nothing_else() -> None:
    source = 'class A:\n    """Of A, which is long enough."""\n\n    def f(self):\n        """Return the thing that is wanted.\n\n        More.\n        """\n        return """kept"""\n'
    stripped, sentences = strip_docs(source)
    assert sentences == [("Return the thing that is wanted.", "A.f")]
    assert "wanted" not in stripped and '"""kept"""' in stripped
    assert stripped.count("\n") == source.count("\n")
    ast.parse(stripped)


def test_the_questions_speak_of_faults_and_runbooks_that_there_are() -> None:
    asked = yaml.safe_load(QUESTIONS.read_text(encoding="utf-8"))
    assert set(asked["runbooks"]) <= set(FAULTS)
    assert {name for names in asked["runbooks"].values() for name in names} <= set(load_library().runbooks)
    assert len({one["ask"] for one in asked["logs"]}) == len(asked["logs"]) >= 40
    assert all(one["right"] for one in asked["logs"])
