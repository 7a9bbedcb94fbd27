"""A run of ten thousand stages: on the screen in less than a second."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime

import pytest
from playwright.async_api import expect

from agents.services import Services
from domain.times import SECOND_US
from tests.api.pages.conftest import Tab
from tracing.events import Event, EventType, encode_payload, make_event_id, make_trace_id
from tracing.fold import fold

STAGES = 10_000
PAINTED_MS = 1_000
_LOOKS = 5  # other work on the machine slows a single one
_TIMES = """[performance.getEntriesByType('navigation')[0].responseStart,
  performance.getEntriesByName('first-contentful-paint')[0].startTime]"""


def make_large_run(environment: str, stages: int) -> list[Event]:
    """Return the events of a run with that many stages: ten under each."""
    began = time.time_ns() // 1000 - 60 * SECOND_US
    trace_id = make_trace_id(datetime.now(UTC))
    events: list[Event] = []

    def add(kind: EventType, span_id: str, moment: int, data: dict[str, object]) -> None:
        event_id = make_event_id(trace_id, span_id, kind, 0)
        events.append(Event(trace_id, event_id, kind, span_id, 0, len(events), moment, encode_payload(data)))

    add("RUN_START", "root", began, {"environment": environment, "question": "why is everything slow?"})
    for number in range(1, stages + 1):
        parent = number // 10
        add("STAGE_START", f"s{number}", began + number * 1000, {"name": f"stage {number}", "parent": f"s{parent}"})
        add("STAGE_END", f"s{number}", began + number * 1000 + 900, {"status": "complete", "seconds": 0.0009})
    add("RUN_END", "root", began + 20 * SECOND_US, {"status": "complete", "seconds": 20.0})
    return events


@pytest.fixture(scope="module")
async def large_run(services: Services) -> str:
    events = make_large_run(f"test-{secrets.token_hex(6)}", STAGES)
    assert len(fold(events).stages) == 9
    await services.traces.append(events)
    return events[0].trace_id


@pytest.mark.long
async def test_ten_thousand_stages_are_all_there_and_painted_soon(tab: Tab, large_run: str) -> None:
    took = []
    for _ in range(_LOOKS):
        page = await tab.open(f"/ui/traces/{large_run}")
        answered, painted = await page.evaluate(_TIMES)
        took.append(painted - answered)
        print(f"answered after {answered:.0f} ms, painted {painted:.0f} ms")
        if took[-1] < PAINTED_MS:
            break
    assert min(took) < PAINTED_MS
    await expect(page.locator(".tree .r")).to_have_count(STAGES)
    last = page.locator(".tree .r").last
    await last.scroll_into_view_if_needed()
    await expect(last).to_be_visible()
    await last.click()
    await expect(page.locator("#stage h2")).to_have_text(await last.locator(".n").inner_text())
