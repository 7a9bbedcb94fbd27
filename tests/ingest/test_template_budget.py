"""The bound on a service's templates: what is beyond it shares one, keeps its text, and harms no other service."""

from __future__ import annotations

import string
from itertools import product

from domain.settings import Settings
from domain.telemetry import Level, LogEvent
from domain.times import HOUR_US
from ingest.service import Delivery, Ingest
from ingest.template import template_of
from ingest.template_budget import OVERFLOW_TEXT, TemplateBudget
from storage.database import Database
from storage.ingest import IngestStore

WORDS = ["".join(letters) for letters in product(string.ascii_lowercase, repeat=3)]


def _event(service: str, message: str, environment: str = "e") -> LogEvent:
    return LogEvent(environment, 1, service, Level.INFO, message, *template_of(message))


def test_lines_beyond_the_bound_share_a_template() -> None:
    budget = TemplateBudget(3)
    lines = [f"a {word} happened" for word in ("flood", "fire", "storm", "quake", "flood")]
    kept = budget.apply([_event("web", line) for line in lines], 0)
    assert [event.message for event in kept] == lines
    assert [event.template == OVERFLOW_TEXT for event in kept] == [False, False, False, True, False]
    assert budget.overflowed == 1
    others = [_event("shop", lines[3]), _event("web", lines[3], "other")]
    assert budget.apply(others, 0) == others
    later = budget.apply([_event("web", lines[3])], HOUR_US)
    assert later[0].template != OVERFLOW_TEXT


def test_services_without_end_are_forgotten_not_remembered() -> None:
    budget = TemplateBudget(1)
    budget.apply([_event(word, "started") for word in WORDS[:5_000]], 0)
    assert len(budget._used) == 2_000


async def test_a_flood_of_kinds_is_stored_whole(database: Database, environment: str) -> None:
    ingest = Ingest(IngestStore(database), Settings(template_limit=10))
    body = "\n".join(
        f'{{"timestamp": "2026-01-01T00:00:00Z", "service": "web", "level": "info", "message": "{a} went to {a}{b}"}}'
        for a, b in zip(WORDS[:200], WORDS[5_000:5_200], strict=True)
    )
    receipt = await ingest.accept_logs(Delivery(body.encode(), "application/x-ndjson", environment=environment))
    assert (receipt.accepted, receipt.rejected) == (200, 0)
    assert ingest.templates.overflowed == 190
