"""What moved: changes between two moments, as records of the same series or sentences tell of them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domain.evidence import Evidence
from domain.times import SECOND_US
from review.facts import Facts, Record
from review.quantities import Quantity, near, read_quantities
from review.wording import concepts_of, stems

_AMOUNT = r"[\d.,]+(?:e[+-]?\d+)?(?: ?[a-zA-Zµ%]+)?"
# "from 3 to 9", "9 where 3 were usual", "9 ms ..., 3 ms before", "3 MB and later 9 MB": in this order, or turned.
_MOVED = (
    (re.compile(rf"\bfrom (?P<one>{_AMOUNT}) to (?P<other>{_AMOUNT})"), False),
    (re.compile(rf"(?P<one>{_AMOUNT}),? (?:and|but|then) (?:later|then|now|afterwards) (?P<other>{_AMOUNT})"), False),
    (re.compile(r"(?P<one>[\d.,]+)\b[^,;:\d]*? where (?P<other>[\d.,]+)\b"), True),
    (re.compile(rf"(?P<one>{_AMOUNT})\b[^,;:]*, (?P<other>{_AMOUNT}) before\b"), True),
)
_MOVE_FLOOR = 0.02


@dataclass(frozen=True, slots=True)
class Move:
    """Something that changed between two moments: what it is (words and concepts), and its sign (-1, 0 or 1)."""

    about: frozenset[str]
    before: float
    after: float

    @property
    def sign(self) -> int:
        if near(self.before, self.after, _MOVE_FLOOR):
            return 0
        return 1 if self.after > self.before else -1


def read_moves(facts: Sequence[Facts]) -> list[Move]:
    """Return what changed according to records of the same series at different times, and to the lines derived."""
    series: defaultdict[tuple[Any, ...], list[tuple[int, float, frozenset[str]]]] = defaultdict(list)
    for one in facts:
        for key, value, about in _samples(one.record.evidence, one.record.fields):
            series[key].append((_sample_time(one.record), value, about))
    moves = []
    for samples in series.values():
        ordered = sorted(samples, key=lambda sample: sample[0])
        if ordered[0][0] != ordered[-1][0]:
            moves.append(Move(ordered[0][2], ordered[0][1], ordered[-1][1]))
    return moves + [move for one in facts for line in one.record.derived for move in moves_said(line)]


def moves_said(text: str) -> Iterator[Move]:
    """Yield the changes that a text states, such as `from 3 to 9`, in base units."""
    about = stems(text) | concepts_of(text)
    for pattern, turned in _MOVED:
        for match in pattern.finditer(text):
            one, other = read_quantities(match["one"]), read_quantities(match["other"])
            if not one or not other:
                continue
            # "from 3 to 9 MB" says the unit once.
            scale = read_quantities(f"1 {other[0].text.split()[-1]}") if not one[0].unit and other[0].unit else []
            first = one[0].value * (scale[0].value if scale else 1.0)
            yield Move(about, other[0].value, first) if turned else Move(about, first, other[0].value)


def derived_amounts(facts: Sequence[Facts]) -> list[Quantity]:
    """Return amounts that follow from several records: how many there are, sums of counts, factors of change."""
    kinds: defaultdict[str, int] = defaultdict(int)
    lines: defaultdict[str, float] = defaultdict(float)
    for one in facts:
        kinds[one.record.evidence.kind] += 1
        for name in ("lines", "requests", "errors", "slow"):
            if isinstance(value := one.record.fields.get(name), int):
                lines[name] += value
    found = [Quantity(float(n)) for n in (*kinds.values(), *lines.values())]
    factors = (move.after / move.before for move in read_moves(facts) if move.before and move.after)
    return found + [Quantity(factor, "x") for factor in factors]


def _samples(evidence: Evidence, fields: Mapping[str, Any]) -> Iterator[tuple[tuple[Any, ...], float, frozenset[str]]]:
    key = evidence.key
    match evidence.kind:
        case "metric":
            name = str(fields.get("name", ""))
            about = stems(re.sub(r"[._]", " ", name)) | concepts_of(re.sub(r"[._]", " ", name))
            yield ("metric", evidence.service, name, str(fields.get("series"))), float(fields.get("value") or 0), about
        case "count":
            seconds = max(1.0, (int(key.get("end_us", 0)) - int(key.get("start_us", 0))) / SECOND_US)
            about = frozenset(("line", "log", "error", "warn", "failure", "wrote"))
            yield ("count", key.get("template_id"), evidence.service), int(fields.get("lines") or 0) / seconds, about
        case "requests":
            requests = max(1, int(fields.get("requests") or 0))
            seconds = max(1.0, (int(key.get("end_us", 0)) - int(key.get("start_us", 0))) / SECOND_US)
            place = (evidence.service, key.get("name"))
            yield ("requests", *place), requests / seconds, frozenset(("request", "traffic", "rate", "load"))
            yield ("errors", *place), int(fields.get("errors") or 0) / requests, frozenset(("failure", "error", "fail"))
            yield ("slow", *place), int(fields.get("slow") or 0) / requests, frozenset(("latency", "slow", "duration"))
        case _:
            pass


def _sample_time(record: Record) -> int:
    return int(record.evidence.key.get("start_us") or record.evidence.time_us)
