"""A settled incident made by hand: payment fails after a deploy, checkout feels it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from agents.question import Subject
from agents.state import Plan
from diagnosis.ranking import Candidate
from diagnosis.symptom import Symptom
from domain.evidence import Evidence, EvidenceKind, make_evidence
from domain.settings import Settings
from domain.times import SECOND_US, Window
from domain.verdict import Cause, Claim, Outcome, Verdict
from inference.budget import Budget
from inference.build import ChatModels
from inference.desk import ModelDesk
from inference.guard import Guard

SERVICES = ("checkout", "inventory", "payment", "storefront")
ONSET = 1_700_000_000 * SECOND_US


def record(text: str, service: str = "payment", kind: EvidenceKind = "log") -> Evidence:
    """Return the evidence of a record with this text."""
    return make_evidence(
        environment="x",
        kind=kind,
        key={"id": text},
        record={"text": text},
        query="q",
        text=text,
        service=service,
        time_us=ONSET,
    )


@dataclass(frozen=True)
class SettledCase:
    """Everything that the explainer has when the verdict is settled."""

    verdict: Verdict
    plan: Plan
    ranking: tuple[Candidate, ...]
    claims: tuple[Claim, ...]
    found: dict[str, Evidence]

    def id_of(self, text: str) -> str:
        return next(i for i, held in self.found.items() if text in held.text)


def settled(more: Sequence[Evidence] = (), outcome: Outcome = "CONFIRMED") -> SettledCase:
    """Return the case; `more` are further records that it cites."""
    records = [
        record("POST /checkout: 60 requests, 36 failed, 0 took longer than 300 ms", "checkout", "requests"),
        record("ERROR payment: KeyError 'currency' in charge"),
        record("deploy 2.4.0: new price format", "payment", "change"),
        *more,
    ]
    texts = [
        "checkout POST /checkout: 60 requests, 36 failed, from 22:13:20",
        "payment logs a new error: KeyError 'currency' in charge",
        "payment was deployed (2.4.0) 4 s before",
        *(f"{held.service} logs a new error: {held.text}" for held in more),
    ]
    claims = tuple(Claim(text, (held.id,)) for text, held in zip(texts, records, strict=True))
    cause = Cause("payment", "code", 0.92, ONSET, ("payment", "checkout"), tuple(held.id for held in records[1:]))
    window = Window(ONSET, ONSET + 60 * SECOND_US)
    symptom = Symptom(
        "checkout", "POST /checkout", "errors", ONSET, ONSET + 60 * SECOND_US, 36, 60, 0.6, 0.0, 90.0, False, 2**62, 60
    )
    plan = Plan(window, Subject(("checkout",)), SERVICES, symptom, window, window, True, 500, 1)
    ranking = (
        Candidate("payment", 0.9, 0.95, 1.0, 0.95, ONSET - SECOND_US, ("payment", "checkout"), (), {}),
        Candidate("inventory", 0.1, 0.3, 0.4, 0.8, ONSET, ("inventory", "checkout"), (), {}),
    )
    reasons = (
        "36 of 60 requests of checkout failed from 22:13:20",
        "payment is where it starts: KeyError 'currency' in charge",
    )
    verdict = Verdict(outcome, reasons, (cause,))
    return SettledCase(verdict, plan, ranking, claims, {held.id: held for held in records})


@contextmanager
def desk_for(url: str, **settings: Any) -> Iterator[ModelDesk]:
    """Return the desk of one investigation, with the model `tiny` of a server for everything."""
    chosen = Settings(**{"chat_model": "openai:tiny", "chat_url": f"{url}/v1", "embedder": "none", **settings})
    yield ModelDesk(ChatModels(chosen), Guard(chosen.mask_patterns, masking=chosen.mask_secrets), Budget(chosen))
