"""What agents leave on the desks of a run beside their findings, as a part of the state that is kept.

Evidence, the ledger and what models took are held by objects that all agents of a run share. A process that takes a run over has
new ones: each agent first lays on them what the state has of those before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from domain.evidence import Evidence, LedgerEntry
from inference.budget import Spent

if TYPE_CHECKING:
    from agents.state import Deps


@dataclass(frozen=True, slots=True)
class Gathered:
    """Evidence with its records, look-ups, what models took, and what they did not answer."""

    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    records: Mapping[str, bytes] = field(default_factory=dict)
    ledger: tuple[LedgerEntry, ...] = ()
    spent: Spent = field(default_factory=Spent)
    lost: tuple[str, ...] = ()


def merge_gathered(old: Gathered, new: Gathered) -> Gathered:
    """Return both together; agents that work side by side may bring the same."""
    return Gathered(
        {**old.evidence, **new.evidence},
        {**old.records, **new.records},
        tuple(dict.fromkeys((*old.ledger, *new.ledger))),
        max(old.spent, new.spent, key=lambda spent: (spent.seconds, spent.prompt_tokens + spent.completion_tokens)),
        tuple(dict.fromkeys((*old.lost, *new.lost))),
    )


def lay_out(gathered: Gathered, deps: Deps) -> None:
    """Put on the desks what is not there yet."""
    desk, ledger, models = deps.desk, deps.ledger, deps.models
    desk.found.update({i: held for i, held in gathered.evidence.items() if i not in desk.found})
    desk.records.update({i: held for i, held in gathered.records.items() if i not in desk.records})
    known = set(ledger.entries)
    ledger.entries.extend(entry for entry in gathered.ledger if entry not in known)
    models.budget.count_from(gathered.spent)
    models.lost.extend(line for line in gathered.lost if line not in models.lost)


def take_stock(before: Gathered, deps: Deps) -> Gathered:
    """Return what lies on the desks and is not in the state yet."""
    desk, known = deps.desk, set(before.ledger)
    return Gathered(
        {i: held for i, held in desk.found.items() if i not in before.evidence},
        {i: held for i, held in desk.records.items() if i not in before.records},
        tuple(entry for entry in deps.ledger.entries if entry not in known),
        deps.models.budget.spent,
        tuple(line for line in deps.models.lost if line not in before.lost),
    )
