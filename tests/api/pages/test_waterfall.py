"""A run on its page: everything that a run can hold, long pauses, hostile words in every field."""

from __future__ import annotations

import re
from collections.abc import Sequence

from playwright.async_api import expect

from agents.services import Services
from api.pages.waterfall import draw_waterfall
from domain.evidence import LedgerEntry
from domain.times import SECOND_US, Window
from domain.verdict import Judgement
from tests.api.pages.conftest import Tab
from tracing.events import Event, EventType, encode_payload, make_event_id
from tracing.fold import TraceView, fold
from tracing.recording import Trace

HOSTILE = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>\u202e"


def _staged(*stages: tuple[int, float]) -> TraceView:
    """Return a run with stages that begin at a second and last so many."""
    told: list[tuple[EventType, str, int, dict[str, object]]] = [("RUN_START", "root", 0, {"question": "why?"})]
    for number, (second, lasts) in enumerate(stages):
        told.append(("STAGE_START", f"s{number}", second, {"name": f"stage {number}"}))
        told.append(("STAGE_END", f"s{number}", second, {"status": "complete", "seconds": lasts}))
    return fold(
        Event("t", make_event_id("t", span, kind, at), kind, span, 0, at, second * SECOND_US, encode_payload(data))
        for at, (kind, span, second, data) in enumerate(told)
    )


def _bars(rows: str) -> Sequence[tuple[float, float]]:
    return [(float(x), float(width)) for x, width in re.findall(r'<rect x="([\d.]+)" width="([\d.]+)"', rows)]


def test_a_long_wait_is_drawn_short_and_work_keeps_its_proportions() -> None:
    drawn = draw_waterfall(_staged((0, 10.0), (10, 10.0), (7200, 20.0)), "/run")
    assert len(drawn.cuts) == 1
    assert drawn.cuts[0][2] == 7180
    (first, one), (second, two), (third, three) = _bars(drawn.rows)
    assert (first, one, second) == (0, two, one)
    assert three / one == 2
    assert 0 < third - (second + two) < one
    assert third + three == 1000


def test_short_waits_are_drawn_as_they_are() -> None:
    drawn = draw_waterfall(_staged((0, 10.0), (11, 9.0)), "/run")
    assert drawn.cuts == ()
    assert _bars(drawn.rows) == [(0, 500), (550, 450)]
    assert [tick.words for tick in drawn.ticks] == ["0", "5.00 s", "10 s", "15 s", "20 s"]


def test_a_run_without_stages_is_drawn() -> None:
    assert draw_waterfall(_staged(), "/run").count == 0


async def test_everything_of_a_run_is_shown_as_text(tab: Tab, services: Services, environment: str) -> None:
    trace = Trace(f"why? {HOSTILE}", environment)
    trace.note(service=HOSTILE, intent=HOSTILE)
    with trace.stage(f"planner {HOSTILE}", fact=HOSTILE) as stage:
        on = {
            "DECISION": {
                "what": HOSTILE,
                "why": HOSTILE,
                "confidence": 0.5,
                "alternatives": [HOSTILE],
                "inputs": {"x": HOSTILE},
            },
            "MODEL_CALL": {
                "model": HOSTILE,
                "prompt_tokens": 3,
                "completion_tokens": 4,
                "seconds": 1.0,
                "error": HOSTILE,
            },
            "RETRY": {"attempt": 1, "error": HOSTILE},
            "ROUTE": {"to": [HOSTILE], "why": HOSTILE, "options": [HOSTILE]},
            "EVAL": {"name": HOSTILE, "score": 0.4, "passed": False, "explanation": HOSTILE},
            "LOG": {"text": HOSTILE, "level": "INFO"},
        }
        for kind, data in on.items():
            trace.emit_on(stage.span_id, kind, data)  # type: ignore[arg-type]
    trace.cache_hit(HOSTILE)
    trace.ledger(LedgerEntry(HOSTILE, Window(0, 1), HOSTILE, 2, 1, False, 0.1, HOSTILE))
    trace.policy(HOSTILE, HOSTILE, "ESCALATE", HOSTILE, HOSTILE)
    trace.judge(Judgement("BLOCK", {HOSTILE: 0.5}, (HOSTILE,)))
    trace.pause(HOSTILE, HOSTILE)
    trace.end()
    await services.traces.append(trace.events)
    page = await tab.open(f"/ui/traces/{trace.id}")
    await expect(page.locator("main")).to_contain_text("waiting for <img")
    await page.locator(".tree a").first.click()
    badges = page.locator(".tree a").first.locator(".b")
    await expect(badges).to_contain_text("1 dec")
    assert "0.40" in await badges.locator("b.failed").inner_text()
    await expect(page.locator(".tree a .b b.cached")).to_have_text("cached")
    panel = page.locator("#stage")
    for heading in ("Decisions", "Model calls", "Tried again", "Went on to", "Evaluations", "Log"):
        await expect(panel.get_by_role("heading", name=heading)).to_be_visible()
    assert await page.locator("main img, main script").count() == 0
    assert "\u202e" not in await page.content()
    assert await tab.check_access() == []
    page = await tab.open(f"/ui/traces?environment={environment}")
    await expect(page.locator("table.rows")).to_contain_text(HOSTILE[:20])
    figures = {
        await one.locator("dt").inner_text(): await one.locator("dd").inner_text()
        for one in await page.locator("dl.figures div").all()
    }
    assert (figures["runs"], figures["tokens"], figures["stages that ended"]) == ("1", "7", "100.0 %")
    await page.get_by_role("searchbox").fill("onerror")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**q=onerror*")
    await expect(page.locator("table.rows tbody tr")).to_have_count(1)
    assert await page.locator("main img, main script").count() == 0
