"""The queue by keyboard, cases, and policies that are tried before they hold."""

from __future__ import annotations

import re

import httpx
from playwright.async_api import expect

from agents.services import Services
from review.policy_document import parse_policy
from tests.api.pages.conftest import Tab
from tracing.recording import Trace

HOSTILE = "<img src=x onerror=alert(1)>"
STRICT = """name: strict
description: Everything goes to a person <b>always</b>
otherwise: ESCALATE
rules: []
"""


async def _failed_run(services: Services, environment: str, words: str) -> str:
    trace = Trace(f"{words} {HOSTILE}", environment)
    with trace.stage("planner"):
        trace.decide(f"look {HOSTILE}", "because", 0.5)
    trace.fail()
    trace.end()
    await services.traces.append(trace.events)
    return trace.id


async def test_the_queue_is_worked_by_keyboard(tab: Tab, services: Services, environment: str) -> None:
    first = await _failed_run(services, environment, "first")
    second = await _failed_run(services, environment, "second")
    page = await tab.open("/ui/queue")
    assert await tab.check_access() == []
    await expect(page.locator("h2", has_text="second")).to_be_visible()
    await page.keyboard.press("4")
    await expect(page.locator("h2", has_text="first")).to_be_visible()
    await page.wait_for_selector("html[data-script=ready]")
    assert await page.locator("main img").count() == 0
    await page.keyboard.press("1")
    await expect(page.locator("h2", has_text="first")).to_have_count(0)
    said = {review.trace_id: review for review in await services.rulings.evaluations.reviews_since(0)}
    assert (said[second].passed, said[second].tags) == (False, ("wrong",))
    assert said[first].passed is True
    page = await tab.open(f"/ui/traces/{second}")
    await expect(page.locator("main")).to_contain_text("wrong")


async def test_a_case_goes_from_open_to_resolved(tab: Tab, services: Services, environment: str) -> None:
    trace_id = await _failed_run(services, environment, "case")
    about = {"service": HOSTILE, "intent": "", "outcome": "", "confidence": None}
    _, opened = await services.rulings.record(
        parse_policy(STRICT), {}, environment=environment, trace_id=trace_id, judge="x", title=HOSTILE, about=about
    )
    assert opened is not None
    page = await tab.open(f"/ui/cases?environment={environment}")
    assert await tab.check_access() == []
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await page.wait_for_url(re.compile("/ui/cases/"))
    assert await tab.check_access() == []
    await page.get_by_label("A word on it").fill(f"seen {HOSTILE}")
    await page.get_by_role("button", name="I look at it").click()
    await expect(page.locator(".tags .tag").first).to_have_text("acknowledged")
    await page.get_by_role("button", name="Resolve").click()
    await expect(page.locator(".tags .tag").first).to_have_text("resolved")
    await expect(page.locator("ol.timeline")).to_contain_text("seen <img")
    assert await page.locator("main img").count() == 0


async def test_a_policy_is_tried_before_it_holds(
    tab: Tab, client: httpx.AsyncClient, services: Services, incident: str
) -> None:
    asked = await client.post("/chat", json={"question": "why did checkout fail?", "environment": incident})
    assert asked.status_code == 200, asked.text
    page = await tab.open("/ui/policies/default")
    text = page.get_by_label("The policy as YAML")
    await text.fill("name: [")
    await page.get_by_role("button", name="Try on past decisions").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(text).to_have_value("name: [")
    await text.fill(STRICT)
    await page.get_by_label("Environment").fill(incident)
    await page.get_by_role("button", name="Try on past decisions").click()
    await expect(page.locator("#tried")).to_be_visible()
    await expect(page.locator(".facts")).to_contain_text("1 stricter")
    assert (await services.rulings.active_policy(incident)).name == "default"
    await page.get_by_role("button", name="Store as a new version").click()
    await page.wait_for_url(re.compile(r"/ui/policies/strict\?version=1$"))
    await expect(page.locator(".lead")).to_contain_text("<b>always</b>")
    await page.get_by_label("Environment").fill(incident)
    await page.get_by_role("button", name="Activate version 1").click()
    await page.wait_for_url(re.compile(r"/ui/policies/strict\?version=1$"))
    assert (await services.rulings.active_policy(incident)).name == "strict"
    tab.trouble[:] = [said for said in tab.trouble if "422" not in said]  # the browser tells of the refusal
