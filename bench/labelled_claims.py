"""Labelled claims: true ones in several wordings, and false ones of every kind.

A false claim is a true one with one thing made wrong. Which wording, which record and which wrong is drawn by a seed.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.true_claims import Case, Fact, WordingSet, read_facts_of, say
from domain.times import MINUTE_US
from domain.verdict import Claim
from review.facts import Record, chain_links

_FORGED = {
    "KeyError": "ValueError",
    "PeerError": "StateError",
    "TimeoutError": "KeyError",
    "unavailable": "overloaded",
    "refused": "accepted",
    "expired": "renewed",
    "failed": "passed",
    "internal": "external",
    "listening": "sleeping",
    "stored": "deleted",
    "falling": "going",
    "order": "refund",
    "with": "without",
}
_STORIES = (
    "because its disk was full",
    "after its TLS certificate had expired",
    "due to a DNS outage",
    "because of a memory leak",
    "because its database ran into a deadlock",
    "because the connection pool was exhausted",
)


@dataclass(frozen=True, slots=True)
class Labelled:
    """A claim, whether it is true, what was made wrong ("" for nothing), and where its wording comes from."""

    claim: Claim
    true: bool
    kind: str
    wording: WordingSet
    case: str


def make_claims(cases: Sequence[Case], seed: int, most: int = 5) -> list[Labelled]:
    """Return labelled claims about the cases: at most so many facts of each kind, each once true and once false per kind."""
    rng = random.Random(seed)
    made: list[Labelled] = []
    for case in cases:
        facts = list(read_facts_of(case))
        rng.shuffle(facts)
        kinds: dict[str, int] = {}
        for fact in facts:
            kinds[fact.kind] = kinds.get(fact.kind, 0) + 1
            if kinds[fact.kind] > most:
                continue
            sets: tuple[WordingSet, ...] = ("first", "second")
            for wording in sets:
                text = rng.choice(fact.wordings(wording))
                claim = Claim(text.format(**say(fact.slots)), fact.evidence)
                made.append(Labelled(claim, True, fact.kind, wording, case.name))
                made.extend(_falsify(fact, text, wording, case, cases, rng))
    return made


def _falsify(
    fact: Fact, text: str, wording: WordingSet, case: Case, cases: Sequence[Case], rng: random.Random
) -> Iterator[Labelled]:
    for kind, corrupt in CORRUPTIONS.items():
        claim = corrupt(fact, text, case, cases, rng)
        if claim is not None:
            yield Labelled(claim, False, kind, wording, case.name)


def _say(fact: Fact, text: str, **changed: Any) -> Claim:
    return Claim(text.format(**say({**fact.slots, **changed})), fact.evidence)


def _uncited(fact: Fact, text: str, case: Case, cases: Sequence[Case], rng: random.Random) -> Claim | None:
    return replace(_say(fact, text), evidence=())


def _unknown(fact: Fact, text: str, case: Case, cases: Sequence[Case], rng: random.Random) -> Claim | None:
    return replace(_say(fact, text), evidence=(f"log-{rng.randrange(16**12):012x}",))


def _not_retrieved(fact: Fact, text: str, case: Case, cases: Sequence[Case], rng: random.Random) -> Claim | None:
    others = sorted(i for other in cases if other.name != case.name for i in other.records if i not in case.records)
    return replace(_say(fact, text), evidence=(rng.choice(others),)) if others else None


def _other_service(fact: Fact, text: str, case: Case, cases: Sequence[Case], rng: random.Random) -> Claim | None:
    named = {str(v) for k, v in fact.slots.items() if k in ("service", "a", "b") and isinstance(v, str)}
    others = [
        i
        for i, r in case.records.items()
        if not named & {r.evidence.service, *r.evidence.entities} and not _speaks(r, named)
    ]
    return replace(_say(fact, text), evidence=(rng.choice(sorted(others)),)) if others else None


def _same_service(fact: Fact, text: str, case: Case, cases: Sequence[Case], rng: random.Random) -> Claim | None:
    if "service" not in fact.slots or len(fact.evidence) > 1:
        return None
    own = case.records[fact.evidence[0]]
    others = [
        i
        for i, r in case.records.items()
        if r.evidence.service == fact.slots["service"]
        and i not in fact.evidence
        and (r.evidence.kind != own.evidence.kind or r.evidence.text[:24] != own.evidence.text[:24])
        and not _says_as_much(r, fact)
    ]
    return replace(_say(fact, text), evidence=(rng.choice(sorted(others)),)) if others else None


def _swapped_entity(fact: Fact, text: str, case: Case, cases: Sequence[Case], rng: random.Random) -> Claim | None:
    slot = "service" if "service" in fact.slots else "a"
    cited = [case.records[i] for i in fact.evidence]
    near = {name for path in case.paths for name in path}
    others = [
        s
        for s in case.services
        if s != fact.slots[slot]
        and s not in near
        and not any(_speaks(r, {s}) or s in r.evidence.entities for r in cited)
    ]
    if not others or "{" + slot + "}" not in text or not isinstance(fact.slots[slot], str):
        return None
    return _say(fact, text, **{slot: rng.choice(others)})


def _changed_number(fact: Fact, text: str, case: Case, cases: Sequence[Case], rng: random.Random) -> Claim | None:
    slots = [s for s in ("errors", "n", "share", "ms", "seconds", "mb", "b") if "{" + s + "}" in text]
    slots = [s for s in slots if isinstance(fact.slots[s], int | float)]
    if not slots:
        return None
    slot = rng.choice(slots)
    value = fact.slots[slot]
    if isinstance(value, int):
        changed: float = (
            value + rng.choice((-2, 2, 3, 5, value, 10 * value)) if value > 4 else value + rng.choice((2, 7))
        )
        if abs(changed - value) <= 0.03 * value or changed < 0:
            changed = value + max(3, value // 5)
    else:
        changed = float(f"{value * rng.choice((0.5, 0.75, 1.3, 2, 10)) + 0.3:.3g}")
    held = {abs(float(v)) for i in fact.evidence for v in case.records[i].fields.values() if isinstance(v, int | float)}
    return None if any(abs(h - changed) <= 0.03 * abs(changed) for h in held) else _say(fact, text, **{slot: changed})


def _changed_unit(fact: Fact, text: str, case: Case, cases: Sequence[Case], rng: random.Random) -> Claim | None:
    for pattern, other in (
        (r"\} ms\b", "} s"),
        (r"\} milliseconds", "} seconds"),
        (r"\} MB", "} GB"),
        (r"\} s\b", "} min"),
    ):
        if re.search(pattern, text):
            return _say(fact, re.sub(pattern, other, text))
    return None


def _moved_time(fact: Fact, text: str, case: Case, cases: Sequence[Case], rng: random.Random) -> Claim | None:
    if "{time}" not in text:
        return None
    return _say(fact, text, time=fact.slots["time"] + rng.choice((-1, 1)) * rng.randrange(3, 50) * MINUTE_US)


def _turned(fact: Fact, text: str, case: Case, cases: Sequence[Case], rng: random.Random) -> Claim | None:
    turns = {"rose": "fell", "fell": "rose", "growing": "shrinking", "shrinking": "growing"}
    turns |= {"increased": "decreased", "decreased": "increased"}
    for slot in ("moved", "ing", "ed"):
        if "{" + slot + "}" in text:
            numbers = {"a": fact.slots["b"], "b": fact.slots["a"]} if rng.random() < 0.5 and "{a}" in text else {}
            return _say(fact, text, **{slot: turns[fact.slots[slot]]}, **numbers)
    return None


def _reversed_call(fact: Fact, text: str, case: Case, cases: Sequence[Case], rng: random.Random) -> Claim | None:
    if fact.kind != "call" or (fact.slots["b"], fact.slots["a"]) in case.calls:
        return None
    if not {fact.slots["a"], fact.slots["b"]} <= set(case.services):
        return None
    return _say(fact, text, a=fact.slots["b"], b=fact.slots["a"])


def _reversed_order(fact: Fact, text: str, case: Case, cases: Sequence[Case], rng: random.Random) -> Claim | None:
    if fact.kind != "order":
        return None
    for word, other in fact.opposite.items():
        if word in text:
            return _say(fact, text.replace(word, other, 1))
    return None


def _reversed_cause(fact: Fact, text: str, case: Case, cases: Sequence[Case], rng: random.Random) -> Claim | None:
    return _say(fact, text, a=fact.slots["b"], b=fact.slots["a"]) if fact.kind == "cause" else None


def _forged_quote(fact: Fact, text: str, case: Case, cases: Sequence[Case], rng: random.Random) -> Claim | None:
    quote = str(fact.slots.get("quote", ""))
    if "{quote}" not in text:
        return None
    for word, other in _FORGED.items():
        if re.search(rf"\b{word}\b", quote):
            return _say(fact, text, quote=re.sub(rf"\b{word}\b", other, quote, count=1))
    return None


def _forged_name(fact: Fact, text: str, case: Case, cases: Sequence[Case], rng: random.Random) -> Claim | None:
    if "{version}" in text:
        return _say(fact, text, version="9.1.3")
    if "{name}" in text and " /" in str(fact.slots["name"]):
        names = sorted(
            {str(r.evidence.key.get("name")) for r in case.records.values() if r.evidence.kind == "requests"}
        )
        held = " ".join(case.records[i].evidence.text for i in fact.evidence)
        others = [n for n in names if n not in held and " /" in n and not fact.slots["name"].startswith(n)]
        return _say(fact, text, name=rng.choice(others)) if others else None
    return None


def _turned_outcome(fact: Fact, text: str, case: Case, cases: Sequence[Case], rng: random.Random) -> Claim | None:
    if fact.kind not in ("failed requests", "failed span", "deploy"):
        return None
    for word, other in fact.opposite.items():
        if word in text and "{quote}" not in text and not re.search(r"\{(?:errors|share)\}", text):
            return _say(fact, text.replace(word, other, 1))
    return None


def _overreach(fact: Fact, text: str, case: Case, cases: Sequence[Case], rng: random.Random) -> Claim | None:
    if "service" not in fact.slots:
        return None
    service = fact.slots["service"]
    links = chain_links(case.paths)
    others = [s for s in case.services if s != service and (service, s) not in links and (s, service) not in links]
    if not others:
        return None
    tail = rng.choice(
        (", which caused {x} to fail", " and so led to errors in {x}", ", and that is why {x} broke down")
    )
    claim = _say(fact, text)
    return replace(claim, text=claim.text + tail.format(x=rng.choice(others)))


def _invented_cause(fact: Fact, text: str, case: Case, cases: Sequence[Case], rng: random.Random) -> Claim | None:
    if fact.kind not in ("failed requests", "failed span", "line count", "metric"):
        return None
    held = " ".join(case.records[i].evidence.text for i in fact.evidence).lower()
    stories = [s for s in _STORIES if s.rsplit(" ", 1)[1] not in held and not (fact.kind == "metric" and "memory" in s)]
    stories = [s for s in stories if "certificate" not in s or "certificate" not in held]
    stories = [s for s in stories if "pool" not in held or "pool" not in s]
    return replace(c := _say(fact, text), text=f"{c.text} {rng.choice(stories)}") if stories else None


type Corruption = Callable[[Fact, str, Case, Sequence[Case], random.Random], Claim | None]
CORRUPTIONS: dict[str, Corruption] = {
    "uncited": _uncited,
    "unknown id": _unknown,
    "not retrieved": _not_retrieved,
    "record of another service": _other_service,
    "other record of the service": _same_service,
    "entity swapped": _swapped_entity,
    "number changed": _changed_number,
    "unit changed": _changed_unit,
    "time moved": _moved_time,
    "direction turned": _turned,
    "call reversed": _reversed_call,
    "order reversed": _reversed_order,
    "cause reversed": _reversed_cause,
    "quote forged": _forged_quote,
    "name forged": _forged_name,
    "outcome turned": _turned_outcome,
    "causal overreach": _overreach,
    "cause invented": _invented_cause,
}


def _speaks(record: Record, names: set[str]) -> bool:
    text = f"{record.evidence.text} {record.fields}".lower()
    return any(re.search(rf"(?<![\w-]){re.escape(name.lower())}(?![\w-])", text) for name in names)


def _says_as_much(record: Record, fact: Fact) -> bool:
    """True where another record would bear the fact out as well, so that citing it is not wrong."""
    text = f"{record.evidence.text} {record.fields}"
    quote = str(fact.slots.get("quote", ""))
    if quote:
        return quote in text
    # A claim without a quotation may be as true of a record with the same numbers.
    held = [float(v) for v in record.fields.values() if isinstance(v, int | float) and not isinstance(v, bool)]
    scales = (1.0, 1e3, 1e6)
    said = [float(v) * s for n, v in fact.slots.items() if isinstance(v, int | float) and n != "time" for s in scales]
    return any(abs(one - other) <= 0.03 * abs(other) for one in said for other in held)
