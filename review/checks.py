"""The judge by code: does a claim say what its records hold? Pure; each check answers yes, no, or that it does not apply.

A claim is cut into clauses, and each clause must rest on records about the services that it names. What code derived from
a record in the same run (a signal's line) counts as held by it, verbatim or in other words.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from domain.verdict import Claim
from review.calls import said_calls, says_call, told_call
from review.clauses import Clause, split_clauses
from review.facts import Facts, Record, read_facts, texts_of
from review.parts import (
    Part,
    check_direction,
    check_numbers,
    check_outcome,
    check_quotes,
    check_sequence,
)
from review.wording import CONCEPT_STEMS, holds_name, mentioned, read_text, squeeze, stems

type Principle = Literal[
    "cited", "retrieved", "unchanged", "entities", "numbers", "direction", "quotes", "support", "causation"
]
PRINCIPLES: tuple[Principle, ...] = get_args(Principle.__value__)

_SUPPORT = 0.5  # the share of a clause's telling words that its records must hold
_LONG_QUOTE = 12  # characters; a clause that quotes this much verbatim needs no other words
_SUPPORT_BESIDE = 0.2  # the same where numbers, names or quotations of it are checked one by one
_FROM_TO = re.compile(r"trouble (?:came|spread|went|travelled) from (?P<a>[^ ,;:()]+) to (?P<b>[^ ,;:()]+)")


@dataclass(frozen=True, slots=True)
class Run:
    """What a run had before it: the records it retrieved by id, the names of services, and cause -> effect of its verdict.

    `changed` says of records that were read again what differs now ("" for nothing); what is not in it was not read again.
    """

    records: Mapping[str, Record]
    services: tuple[str, ...] = ()
    links: frozenset[tuple[str, str]] = frozenset()
    changed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check said of a claim; `why` names what does not hold."""

    principle: Principle
    holds: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class ClaimJudgement:
    """A claim and what each check that applies to it said."""

    claim: Claim
    findings: tuple[Finding, ...]

    @property
    def fault(self) -> str:
        """Why the claim does not hold, or ""."""
        return next((f.why for f in self.findings if not f.holds), "")

    @property
    def holds(self) -> bool:
        return all(finding.holds for finding in self.findings)


class ClaimChecker:
    """Checks claims against what one run retrieved."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._own = frozenset(word for name in run.services for word in stems(name))
        self._read: dict[str, Facts] = {}
        counts = Counter(word for record in run.records.values() for word in stems(" ".join(texts_of(record))))
        total = len(run.records) + 1
        self._weights = {word: math.log(1 + total / count) for word, count in counts.items()}

    def check(self, claim: Claim) -> ClaimJudgement:
        """Return what each check says of a claim."""
        ids = tuple(dict.fromkeys(claim.evidence))
        findings = [Finding("cited", bool(ids), "" if ids else "it cites nothing")]
        known = [i for i in ids if i in self._run.records]
        if ids:
            lost = [i for i in ids if i not in self._run.records]
            findings.append(_finding("retrieved", [f"{i} was not retrieved in this run" for i in lost]))
        reread = [i for i in known if i in self._run.changed]
        if reread:
            broken = [self._run.changed[i] for i in reread if self._run.changed[i]]
            findings.append(_finding("unchanged", broken if len(broken) == len(known) else ()))
        # What a record no longer says is no ground for anything.
        intact = [i for i in known if not self._run.changed.get(i)]
        if intact and len(known) == len(ids):
            findings.extend(self._check_text(claim.text, [self._facts(i) for i in intact]))
        return ClaimJudgement(claim, tuple(findings))

    def _facts(self, evidence_id: str) -> Facts:
        if evidence_id not in self._read:
            self._read[evidence_id] = read_facts(self._run.records[evidence_id], self._run.services)
        return self._read[evidence_id]

    def _check_text(self, text: str, facts: Sequence[Facts]) -> list[Finding]:
        faults: dict[Principle, list[str]] = {}
        derived = [squeeze(line) for one in facts for line in one.record.derived]
        whole = squeeze(text)
        entities = self._check_entities(whole, facts)
        faults["entities"] = entities
        if any(whole in line for line in derived):
            return [_finding("entities", entities)]
        clauses = split_clauses(whole)
        parts = [self._part(clause, clauses[:n], facts) for n, clause in enumerate(clauses)]
        for part in parts:
            if part.clause.text and not any(squeeze(part.clause.text) in line for line in derived):
                for principle, found in self._check_part(part, facts).items():
                    faults.setdefault(principle, []).extend(found)
        faults.setdefault("causation", []).extend(self._check_bonds(parts, whole, facts))
        faults.setdefault("direction", []).extend(self._check_calls(parts, facts))
        return [_finding(principle, found) for principle, found in faults.items()]

    def _check_entities(self, text: str, facts: Sequence[Facts]) -> list[str]:
        held = {name.lower() for one in facts for name in one.entities}
        foreign = sorted(name for name in mentioned(text, self._run.services) if name.lower() not in held)
        return [f"its records do not speak of {', '.join(foreign)}"] if foreign else []

    def _part(self, clause: Clause, before: Sequence[Clause], facts: Sequence[Facts]) -> Part:
        named = mentioned(clause.text, self._run.services)
        if not named:
            earlier = [mentioned(c.text, self._run.services) for c in reversed(before)]
            named = next((names for names in earlier if names), frozenset())
        about = [one for one in facts if one.entities & named] if named else list(facts)
        return Part(clause, read_text(clause.text, self._run.services), named, tuple(about or facts))

    def _check_part(self, part: Part, facts: Sequence[Facts]) -> dict[Principle, list[str]]:
        return {
            "quotes": check_quotes(part.reading, part.facts),
            "numbers": check_numbers(part.reading, part.facts),
            "direction": [*check_direction(part), *check_outcome(part)],
            "support": self._check_support(part),
        }

    def _check_support(self, part: Part) -> list[str]:
        reading, facts = part.reading, part.facts
        text = " ".join(one.text for one in facts)
        missing = [name for name in reading.names if not holds_name(text, name)]
        if missing:
            return [f"its records do not hold {', '.join(missing[:3])}"]
        concepts = frozenset[str]().union(*(one.concepts for one in facts))
        foreign = sorted(reading.concepts - concepts - {"success", "failure", "latency"})
        if foreign:
            return [f"its records say nothing of {', '.join(foreign)}"]
        words = frozenset[str]().union(*(one.words for one in facts))
        asked = [w for w in reading.words - self._own - CONCEPT_STEMS if w in self._weights]
        weight = sum(self._weights[w] for w in asked)
        kept = sum(self._weights[w] for w in asked if w in words)
        firm = bool(reading.names or reading.quotes or reading.quantities or reading.moments) or told_call(part)
        quoted = any(len(quote) >= _LONG_QUOTE for quote in reading.quotes)
        if len(asked) > (3 if firm else 1) and not quoted and kept < (_SUPPORT_BESIDE if firm else _SUPPORT) * weight:
            return [f"its records do not hold what it says ({kept / weight:.0%} of its words)"]
        if not firm and not kept and not part.named and not reading.concepts:
            return ["nothing in it can be found in its records"]
        return []

    def _check_bonds(self, parts: Sequence[Part], whole: str, facts: Sequence[Facts]) -> list[str]:
        faults = []
        for number, part in enumerate(parts):
            if part.clause.bond in ("causes", "caused by"):
                one = parts[number - 1] if number else parts[-1]
                cause, effect = (one, part) if part.clause.bond == "causes" else (part, one)
                faults.extend(self._check_cause(cause, effect, facts))
            elif part.clause.bond in ("before", "after") and number:
                first, second = (parts[number - 1], part) if part.clause.bond == "before" else (part, parts[number - 1])
                faults.extend(check_sequence(first, second))
        for match in _FROM_TO.finditer(whole):
            pair = match["a"].strip("."), match["b"].strip(".")
            if pair not in self._run.links:
                faults.append(f"nothing shows that trouble went from {pair[0]} to {pair[1]}")
        return faults

    def _check_cause(self, cause: Part, effect: Part, facts: Sequence[Facts]) -> list[str]:
        for a in sorted(cause.named):
            for b in sorted(effect.named):
                if (a, b) in self._run.links:
                    return []
        if cause.named & effect.named and any(self._speaks_of_both(one, cause, effect) for one in facts):
            return []
        told = (
            f"{', '.join(sorted(cause.named)) or 'this'} caused trouble of {', '.join(sorted(effect.named)) or 'that'}"
        )
        return [f"the verdict does not hold that {told}"]

    def _speaks_of_both(self, one: Facts, cause: Part, effect: Part) -> bool:
        for part in (cause, effect):
            alone = Part(part.clause, part.reading, part.named, (one,))
            if self._check_support(alone) or check_quotes(part.reading, (one,)):
                return False
            if part.clause.text and not part.reading.concepts <= one.concepts | {"failure", "success", "latency"}:
                return False
        return bool(cause.reading.concepts or cause.reading.names or cause.reading.quotes)

    def _check_calls(self, parts: Sequence[Part], facts: Sequence[Facts]) -> list[str]:
        held = frozenset[tuple[str, str]]().union(*(one.calls for one in facts))
        only_edges = all(one.record.evidence.kind == "edge" for one in facts)
        faults = []
        for part in parts:
            for caller, callee in said_calls(part.clause.text, part.named, only_edges):
                spoken = any(says_call(one, caller, callee) for one in facts) and (callee, caller) not in held
                if (caller, callee) not in held and not spoken:
                    faults.append(f"its records do not show that {caller} calls {callee}")
        return faults


def _finding(principle: Principle, faults: Sequence[str]) -> Finding:
    return Finding(principle, not faults, faults[0] if faults else "")
