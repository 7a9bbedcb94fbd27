"""Who called whom: what a sentence says of it, in the active, the passive, or as a relation, and what records show."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection

from review.facts import Facts
from review.parts import Part

_ASKS = (
    r"(?:calls?|called|calling|depends? (?:up)?on|relies on|rely on|relied on|uses?|used|asks?|asked|queries|queried|"
    r"invokes?|invoked|contacts?|contacted|needs?|needed|hits?|talks? to|talked to|speaks? to|connects? to|connected to|"
    r"goes to|consumes? from|(?:sends?|sent|makes?|made|issues?|forwards?|passes) (?:\w+ ){0,2}(?:up)?(?:on)?to|is (?:a|the) "
    r"(?:caller|client|consumer|user) of|is upstream of)"
)
_IS_ASKED = (
    r"(?:(?:is|was|were|are|being|gets?|got) (?:\w+ )?(?:called|invoked|asked|used|queried|contacted|needed|reached|hit) by|"
    r"(?:receives?|received|gets?|got|takes?|took|sees?|saw|accepts?) (?:\w+ ){0,2}from|is (?:a|the) (?:dependency|callee|"
    r"backend|server) of|is downstream of|serves?|answers? (?:to|requests of|calls of))"
)
_BETWEEN = r"(?:calls?|requests?|traffic|relation|edge|dependency|arrow|connection|link) (?:\w+ )?from"


def said_calls(text: str, named: Collection[str], surely: bool) -> list[tuple[str, str]]:
    """Return the (caller, callee) of which a clause speaks; `surely` says that it can only speak of calls."""
    found = []
    lowered = text.lower()
    for one, other in itertools.permutations(sorted(named), 2):
        a, b = re.escape(one.lower()), re.escape(other.lower())
        filler = r"(?:(?!by |from )\w+ ){0,2}?"
        near_by = r"(?:'s|'s \w+| service)? (?:\w+ ){0,2}?"
        active = rf"(?<![\w-]){a}{near_by}{_ASKS} {filler}{b}(?![\w-])"
        passive = rf"(?<![\w-]){b}{near_by}{_IS_ASKED} (?:\w+ ){{0,2}}?{a}(?![\w-])"
        between = rf"{_BETWEEN} (?:\w+ ){{0,2}}?{a} (?:\w+ ){{0,2}}?to (?:\w+ ){{0,2}}?{b}(?![\w-])"
        if any(re.search(pattern, lowered) for pattern in (active, passive, between)):
            found.append((one, other))
    if not found and surely and len(named) == 2:
        first, second = sorted(named, key=lambda name: lowered.find(name.lower()))
        turned = re.search(r"\bby\b|\bfrom\b(?!.*\bto\b)", lowered)
        found.append((second, first) if turned else (first, second))
    return found


def told_call(part: Part) -> bool:
    return any(set(call) <= part.named for one in part.facts for call in one.calls)


def says_call(one: Facts, caller: str, callee: str) -> bool:
    """True where a record of the caller names the callee: a failed call is often told by its caller's text alone."""
    return one.record.evidence.service == caller and callee in one.entities
