"""Checks of one clause against the records about the services that it names. Each returns what does not hold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from review.clauses import Clause
from review.facts import Facts
from review.moves import Move, derived_amounts, moves_said, read_moves
from review.quantities import holds, holds_moment, near
from review.wording import Reading, squeeze

_UP = re.compile(
    r"\b(?:r(?:ose|ises?|isen|ising)|increas\w+|gr(?:ew|ows?|own|owing)|climb\w*|jump\w*|spik\w+|surg\w+|soar\w*|"
    r"w(?:ent|ent back) up|goes up|doubled|tripled|higher than (?:before|usual|normal)|swell\w*|mount\w*|slower|"
    r"more \w+ than (?:before|usual)|worsen\w*|got worse|slowed(?: down)?)\b",
    re.IGNORECASE,
)
_DOWN = re.compile(
    r"\b(?:f(?:ell|alls|allen|alling)|dropp\w+|drops|decreas\w+|declin\w+|went down|goes down|shr[aiu]nk\w*|halved|"
    r"sank|lower than (?:before|usual|normal)|plung\w+|plummet\w*|faster|fewer \w+ than (?:before|usual)|dwindl\w*|"
    r"recede\w*|improved)\b",
    re.IGNORECASE,
)
_NEGATED = re.compile(r"\b(?:no|not|never|without|none|zero|nor)\b|n't\b|\b0 (?:failed|errors?)", re.IGNORECASE)
_LEVELS = {"error": 17, "warning": 13, "warn": 13, "info": 9, "debug": 5}
_LEVEL = re.compile(
    r"\b(error|warning|warn|info|debug)(?:[ -](?:level|lines?|log|logs|messages?|entries|entry)\b)", re.I
)


@dataclass(frozen=True, slots=True)
class Part:
    clause: Clause
    reading: Reading
    named: frozenset[str]
    facts: tuple[Facts, ...]


def check_quotes(reading: Reading, facts: Sequence[Facts]) -> list[str]:
    text = "\n".join(one.text for one in facts)
    for quote in reading.quotes:
        for piece in re.split(r"\.\.\.|…", squeeze(quote)):
            if piece.strip(" .,") and piece.strip(" .,") not in text:
                return [f"it quotes {quote[:60]!r}, which its records do not hold"]
    return []


def check_numbers(reading: Reading, facts: Sequence[Facts]) -> list[str]:
    held = [q for one in facts for q in one.quantities] + derived_amounts(facts)
    for quantity in reading.quantities:
        if not holds(quantity, held):
            return [f"its records do not hold {quantity.text or quantity.value}"]
    times = [time_us for one in facts for time_us in one.times_us]
    for moment in reading.moments:
        if not holds_moment(moment, times):
            return [f"its records are not of {moment.text}"]
    return []


def check_direction(part: Part) -> list[str]:
    text = part.clause.text
    up, down = bool(_UP.search(text)), bool(_DOWN.search(text))
    said = list(moves_said(text))
    if up == down and not said:
        return []
    moves = read_moves(part.facts)
    claimed = (1 if up else -1) if up != down else (said[0].sign if said else 0)
    if any(move.sign and move.sign != claimed for move in said):
        return ["what it says of the direction contradicts its own numbers"]
    near_ones = [move for move in moves if move.about & part.reading.concepts]
    near_ones = near_ones or [move for move in moves if move.about & part.reading.words] or moves
    if said:
        if any(_same(move, said[0]) for move in moves):
            return []
        turned = any(_same(move, Move(said[0].about, said[0].after, said[0].before)) for move in moves)
        return ["its records show the opposite direction" if turned else "its records do not hold this change"]
    if not near_ones:
        spoken = any(_UP.search(one.text) if claimed > 0 else _DOWN.search(one.text) for one in part.facts)
        return [] if spoken else ["it speaks of a change, and its records are of one moment"]
    if any(move.sign == claimed for move in near_ones):
        return []
    return [
        "its records show the opposite direction" if any(m.sign for m in near_ones) else "its records show no change"
    ]


def _same(one: Move, said: Move) -> bool:
    """True where two changes have the same ends; a share may be said in percent."""
    return any(
        _close(scale * one.before, said.before) and _close(scale * one.after, said.after) for scale in (1.0, 100.0)
    )


def _close(one: float, other: float) -> bool:
    return near(one, other, 0.03) or abs(one - other) <= 0.06


def check_outcome(part: Part) -> list[str]:
    """A success is not a failure, and an error line is not a warning."""
    text, reading = part.clause.text, part.reading
    states = [one.failed for one in part.facts if one.failed is not None]
    wins = "success" in reading.concepts
    fails = "failure" in reading.concepts and not wins and not _NEGATED.search(text)
    if states and fails and not any(states) and not any("failure" in one.concepts for one in part.facts):
        return ["it speaks of a failure, and its records of none"]
    if states and wins and all(states):
        return ["it speaks of success, and its records of a failure"]
    levels = {int(one.record.fields["level"]) for one in part.facts if one.record.evidence.kind == "log"}
    for match in _LEVEL.finditer(text):
        level = _LEVELS[match[1].lower()]
        others = all(one.record.evidence.kind == "log" for one in part.facts)
        if levels and others and not any(level <= held < level + 4 for held in levels):
            return [f"its records are no {match[1].lower()} lines"]
    return []


def check_sequence(first: Part, second: Part) -> list[str]:
    """Compare when two events happened, each by the record that fits its words best."""
    one, other = _best(first, second.facts), _best(second, first.facts)
    if one is None or other is None or one is other:
        return ["its records do not tell which came first"]
    if one.record.evidence.time_us > other.record.evidence.time_us:
        return ["its records show the opposite order"]
    return []


def _best(part: Part, also: Sequence[Facts]) -> Facts | None:
    def fit(one: Facts) -> float:
        about = 2.0 * bool(part.named & one.entities) if part.named else 0.0
        concepts = len(part.reading.concepts & one.concepts)
        names = sum(name.lower() in one.text.lower() for name in (*part.reading.names, *part.reading.quotes))
        numbers = sum(holds(q, one.quantities) for q in part.reading.quantities)
        return about + concepts + names + numbers + 0.5 * len(part.reading.words & one.words)

    pool = {one.record.evidence.id: one for one in (*part.facts, *also)}
    return max(pool.values(), key=fit) if pool else None
