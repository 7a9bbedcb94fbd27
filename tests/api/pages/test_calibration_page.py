"""The calibration page and the prompts of a run, in the browser and as pictures."""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict

import pytest
from playwright.async_api import expect

from agents.services import Services
from api.pages.reliability import draw_reliability
from review.calibration import measure
from review.policy_document import built_in_policy
from storage.flags import FlagStore, TraceFlag
from tests.api.pages.conftest import Tab
from tracing.recording import Trace

HOSTILE = "<img src=x onerror=alert(1)>"


def _points(drawn: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r'<circle class="point" cx="([\d.]+)" cy="([\d.]+)"', drawn)]


def test_the_curve_has_a_point_for_each_bin_where_it_belongs() -> None:
    said = measure([(0.9, number % 3 > 0) for number in range(30)] + [(0.3, number % 3 == 0) for number in range(30)])
    assert said is not None
    bins = asdict(said)["bins"]
    places = _points(draw_reliability(bins))
    assert len(places) == len(bins) == 10
    # Stated higher lies further right, right more often lies higher.
    for (x, y), one in zip(places, bins, strict=True):
        assert all(
            (x < other_x) == (one["stated"] < other["stated"]) for (other_x, _), other in zip(places, bins, strict=True)
        )
        assert all(
            (y > other_y) == (one["right"] < other["right"]) for (_, other_y), other in zip(places, bins, strict=True)
        )
    assert _points(draw_reliability([{"stated": 1.0, "right": 1.0, "runs": 4}])) == [(346.0, 12.0)]
    assert _points(draw_reliability([{"stated": 0.0, "right": 0.0, "runs": 4}])) == [(46.0, 312.0)]


async def _judged(services: Services, environment: str, number: int) -> str:
    run = Trace(f"why? {number}", environment)
    run.end()
    await services.traces.append(run.events)
    right = number % 2 == 0
    await services.rulings.record(
        built_in_policy(),
        {"scores": {"numbers": 0.5 if number < 4 else 1.0}, "answer": {"outcome": "LIKELY"}, "number": number},
        environment=environment,
        trace_id=run.id,
        judge="checks",
        title="why?",
        about={"service": HOSTILE, "intent": "why", "outcome": "LIKELY", "confidence": 0.95},
    )
    await services.rulings.evaluations.review(run.id, "me", right, "", [])
    return run.id


async def test_what_people_found_is_set_beside_what_was_stated(tab: Tab, services: Services, environment: str) -> None:
    page = await tab.open(f"/ui/calibration?environment={environment}")
    await expect(page.locator(".empty")).to_contain_text("the queue")
    ids = [await _judged(services, environment, number) for number in range(40)]
    flag = TraceFlag(ids[0], "principle", "numbers", f"numbers failed {HOSTILE}", time.time_ns() // 1000)
    await FlagStore(services.database).raise_all([flag])
    page = await tab.open(f"/ui/calibration?environment={environment}")
    await expect(page.locator("svg.reliability circle")).to_have_count(10)
    await expect(page.locator("main")).to_contain_text("40 reviewed runs")
    await expect(page.locator(".tag.failed")).to_have_text("It stands out")
    await expect(page.locator("main")).to_contain_text("Confidence is stated too high")
    await expect(page.locator("tr", has_text="numbers").first).to_contain_text("40")
    assert await tab.check_access() == []
    assert await page.locator("main img").count() == 0
    await page.get_by_role("link", name="intent", exact=True).click()
    await expect(page.locator("h2", has_text="By intent")).to_be_visible()
    assert f"environment={environment}" in page.url
    flagged = page.locator("ul.list li", has_text=ids[0])
    await expect(flagged).to_contain_text("numbers failed <img")
    await flagged.get_by_role("button", name="Looked at it").click()
    await expect(page.locator("ul.list li", has_text=ids[0])).to_have_count(0)


async def test_of_each_prompt_only_what_is_new_is_shown(tab: Tab, services: Services, environment: str) -> None:
    keeper = services.prompts
    assert keeper is not None
    asked = [
        {"role": "system", "content": f"Be brief. {HOSTILE}"},
        {"role": "user", "content": "why does checkout fail?"},
    ]
    more = [*asked, {"role": "assistant", "content": "look at payment"}, {"role": "tool", "content": HOSTILE}]
    run = Trace("prompts?", environment)
    for number, messages in enumerate((asked, more)):
        with run.stage(f"step {number}", "model"):
            told = await keeper.keep(messages)
            run.model_call("m", prompt_tokens=1, completion_tokens=1, seconds=0.1, prompt=told)
    run.model_call("m", prompt_tokens=1, completion_tokens=1, seconds=0.1, prompt="f" * 40)
    run.end()
    await services.traces.append(run.events)
    page = await tab.open(f"/ui/traces/{run.id}")
    steps = page.locator("#prompts + ol > li")
    await expect(steps).to_have_count(3)
    await expect(steps.nth(0).locator("details")).to_have_count(2)
    await expect(steps.nth(1)).to_contain_text("2 messages as in a step before")
    assert [await one.inner_text() for one in await steps.nth(1).locator("summary b").all()] == ["assistant", "tool"]
    await expect(steps.nth(1).locator("pre").nth(1)).to_have_text(HOSTILE)
    await expect(steps.nth(2)).to_contain_text("not kept here")
    assert await page.locator("main img").count() == 0
    assert await tab.check_access() == []
    await page.locator(".tree a", has_text="step 1").click()
    await expect(page.locator("#stage")).to_contain_text("Prompt of step 2")
    await expect(page.locator("#stage pre").first).to_have_text("look at payment")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[1, 2]", json.dumps({"role": "user", "content": [1]}).encode()])
async def test_a_prompt_of_any_form_is_shown(content: bytes) -> None:
    from api.pages.prompts import _read

    assert _read(content).text
