"""What the records of an error say about code, and what may be suggested."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from agents.code_lines import Suspect, locate_lines, read_origin, read_texts, suggest
from agents.state import Deps
from domain.errors import StorageError
from domain.verdict import Cause, Verdict
from tests.indexer.sources import make_index

FILE = make_index({"a.py": "x = 1\n"}).files[0]
CAUSE = Cause("payment", "code", 0.9, 1_000_000_000_000, ("payment",), ())


def test_message_and_stack_are_found_where_exporters_put_them() -> None:
    record = {"message": "charge failed\nmore", "attributes": '{"exception.stacktrace": "File \\"a.py\\", line 1"}'}
    assert read_texts(record) == ("charge failed", 'File "a.py", line 1\ncharge failed\nmore')
    assert read_texts({"status_message": "no route", "attributes": "not JSON"}) == ("no route", "")


def test_the_place_of_a_log_line_is_read_from_its_attributes() -> None:
    attributes = {"code.filepath": "C:\\app\\a.py", "code.lineno": "7", "code.function": "shop.charge"}
    (frame,) = read_origin({"attributes": attributes})
    assert (frame.file, frame.line, frame.function) == ("C:/app/a.py", 7, "charge")
    assert read_origin({"attributes": {"code.filepath": "a.py", "code.lineno": "-1"}}) == ()


@pytest.mark.parametrize(
    ("how", "text", "around", "commit_us", "advice"),
    [
        ("raised", "KeyError: 'currency'", "rate(card['currency'])", None, "without 'currency'"),
        ("raised", "KeyError: 'currency'", "something else", None, ""),
        ("raised", "ZeroDivisionError: division by zero", "a / b", None, "check the divisor"),
        ("raised", "Refused", "raise Refused", CAUSE.onset_us - 60_000_000, "go back before commit abc"),
        ("raised", "Refused", "raise Refused", CAUSE.onset_us + 1, ""),
        ("written", "KeyError: 'currency'", "card['currency']", None, ""),
    ],
)
def test_a_fix_is_suggested_only_where_the_cited_line_bears_it(
    how: str, text: str, around: str, commit_us: int | None, advice: str
) -> None:
    suspect = Suspect("payment", FILE, 1, "", how, text, 1.0)
    commit = {"id": "abc", "time_us": commit_us} if commit_us else None
    hint = suggest(suspect, {"text": around, "around": [around], "commit": commit}, CAUSE)
    assert hint.startswith(advice) if not advice else advice in hint
    assert bool(hint) == bool(advice)


class _BrokenCode:
    async def load(self) -> None:
        raise StorageError("the database is away")


async def test_a_verdict_stands_where_the_lines_cannot_be_read() -> None:
    verdict = Verdict("LIKELY", ("why",), causes=(CAUSE,), not_seen=("metrics",))
    update = await locate_lines({"verdict": verdict}, cast(Deps, SimpleNamespace(code=_BrokenCode())))
    assert update["verdict"].causes == (CAUSE,)
    assert update["verdict"].not_seen[0] == "metrics"
    assert "the database is away" in update["verdict"].not_seen[1]
