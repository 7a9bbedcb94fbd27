"""Every screen in a real browser: it opens, works by keyboard alone, is readable for all, and text stays text."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import httpx
import pytest
from playwright.async_api import expect

from agents.replies import list_incidents, list_traces
from agents.services import Services
from tests.api.pages.conftest import Tab

HOSTILE = "<img src=x onerror=alert(1)> why did checkout fail? \"'><svg onload=alert(1)>"
SCREENS = (
    "/",
    "/ui/chat",
    "/ui/incidents",
    "/ui/symptoms",
    "/ui/traces",
    "/ui/topology",
    "/ui/logs",
    "/ui/code",
    "/ui/queue",
    "/ui/cases",
    "/ui/policies",
    "/ui/calibration",
    "/ui/policies/default",
)


@pytest.fixture
async def asked(client: httpx.AsyncClient, incident: str) -> str:
    """An environment in which a question with hostile words was answered."""
    reply = await client.post("/chat", json={"question": HOSTILE, "environment": incident})
    assert reply.status_code == 200, reply.text
    return incident


async def _every_screen(services: Services, environment: str) -> list[str]:
    incident = (await list_incidents(services, environment))[0]
    trace = (await list_traces(services, environment))[0]
    evidence = next(iter((await services.traces.load(trace["id"])).cited))
    place = f"environment={environment}"
    return [
        *SCREENS,
        f"/ui/incidents/{incident['id']}",
        f"/ui/traces/{trace['id']}",
        f"/ui/traces/{trace['id']}?stage={(await services.traces.load(trace['id'])).stages[0].span_id}",
        f"/ui/evidence/{evidence}",
        f"/ui/chat?{place}&thread={incident['thread_id']}",
        f"/ui/compare?a={trace['id']}",
        f"/ui/compare?a={trace['id']}&b={trace['id']}",
        f"/ui/topology?{place}",
        f"/ui/logs?{place}",
        f"/ui/logs?{place}&q=script",
        f"/ui/logs?{place}&order=top",
    ]


async def test_every_screen_opens_and_is_readable_for_all(tab: Tab, services: Services, asked: str) -> None:
    for path in await _every_screen(services, asked):
        page = await tab.open(path)
        assert await page.locator("h1").count() == 1, path
        assert await tab.check_access() == [], path
        assert await page.locator("main img, main [onload], main script").count() == 0, path


@pytest.mark.parametrize("scheme", ["dark"], indirect=True)
async def test_dark_screens_have_contrast(tab: Tab, services: Services, asked: str) -> None:
    for path in await _every_screen(services, asked):
        await tab.open(path)
        assert await tab.check_access("color-contrast") == [], path


@pytest.mark.parametrize("width", [360, 1280])
async def test_no_screen_needs_sideways_scrolling(tab: Tab, services: Services, asked: str, width: int) -> None:
    await tab.page.set_viewport_size({"width": width, "height": 740})
    for path in await _every_screen(services, asked):
        page = await tab.open(path)
        wide = await page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{path} is {wide} px wide"


async def test_runs_are_worked_by_keyboard_alone(tab: Tab, services: Services, asked: str) -> None:
    page = await tab.open("/")
    await page.locator("h1").click()
    await page.keyboard.press("g")
    await page.keyboard.press("r")
    await page.wait_for_url("**/ui/traces")
    await page.keyboard.press("j")
    await expect(page.locator("[data-item]:focus")).to_have_count(1)
    await page.keyboard.press("Enter")
    await page.wait_for_url(re.compile(r"/ui/traces/trc_"))
    await page.wait_for_selector("html[data-script=ready]")
    await page.keyboard.press("j")
    await page.keyboard.press("j")
    name = await page.locator(".tree a:focus .n").inner_text()
    await page.keyboard.press("Enter")
    await expect(page.locator("#stage h2").first).to_have_text(name)
    assert "stage=" in page.url
    await page.keyboard.press("?")
    await expect(page.locator("dialog#keys")).to_be_visible()
    await page.keyboard.press("Escape")
    await page.keyboard.press("u")
    await page.wait_for_url("**/ui/traces")


async def test_facets_narrow_the_list_and_stay_in_the_address(tab: Tab, asked: str) -> None:
    page = await tab.open(f"/ui/traces?environment={asked}")
    await expect(page.locator("table.rows tbody tr")).to_have_count(1)
    await page.locator(".facets a[aria-current]", has_text=asked).click()  # takes the choice back
    await page.wait_for_url(lambda address: asked not in address)
    await page.go_back()
    await expect(page.locator("table.rows tbody tr")).to_have_count(1)
    await page.reload()
    await expect(page.locator("table.rows tbody tr")).to_have_count(1)
    await expect(page.locator("table.rows")).to_contain_text("onerror=alert(1)")


async def test_a_claim_shows_its_records_where_it_stands(tab: Tab, services: Services, asked: str) -> None:
    incident = (await list_incidents(services, asked))[0]
    page = await tab.open(f"/ui/incidents/{incident['id']}")
    first = page.locator("details.claim").first
    await expect(first.locator(".records li").first).to_be_hidden()
    await first.locator("summary").click()
    await expect(first.locator(".records li").first).to_be_visible()
    await first.locator(".records a.id").first.click()
    await page.wait_for_url("**/ui/evidence/**")


async def test_an_incident_draws_its_topology_its_life_and_a_missing_hop_in_red(
    tab: Tab, services: Services, asked: str
) -> None:
    line = (await list_incidents(services, asked))[0]
    page = await tab.open(f"/ui/incidents/{line['id']}")
    await expect(page.locator("ol.chain .arrow")).to_have_count(1)
    await expect(page.locator("ol.chain .arrow.missing")).to_have_count(0)
    await expect(page.locator("svg.topology")).to_contain_text("payment")
    await expect(page.locator("ol.timeline li").first).to_be_visible()
    # The same answer, of which no record shows that trouble went that way.
    held = await services.incidents.get(line["id"])
    body = json.loads(json.dumps(held.answer))
    body["verdict"]["causes"][0] |= {"inferred_hops": ["payment->storefront"], "hop_evidence": {}}
    await services.incidents.save(replace(held, answer=body))
    page = await tab.open(f"/ui/incidents/{line['id']}")
    missing = page.locator("ol.chain .arrow.missing")
    await expect(missing).to_have_text("no record")
    colours = await missing.evaluate("""(hop) => {
      const probe = document.body.appendChild(document.createElement("i"));
      probe.style.setProperty("color", "var(--cause)");
      return [getComputedStyle(hop).color, getComputedStyle(probe).color];
    }""")
    assert colours[0] == colours[1]
    red, green, blue = (int(part) for part in re.findall(r"\d+", colours[0])[:3])
    assert red > 2 * max(green, blue)
    assert await tab.check_access() == []


async def test_rows_come_by_themselves(tab: Tab, client: httpx.AsyncClient, asked: str) -> None:
    page = await tab.open(f"/ui/traces?environment={asked}")
    rows = page.locator("table.rows tbody tr")
    await expect(rows).to_have_count(1)
    await client.post("/chat", json={"question": "and now?", "environment": asked})
    await expect(rows).to_have_count(2, timeout=60_000)


async def test_a_conversation_shows_what_each_agent_does_and_goes_on(
    tab: Tab, services: Services, incident: str
) -> None:
    page = await tab.open(f"/ui/chat?environment={incident}")
    await page.get_by_label("Question").fill(f"why did payment fail? {HOSTILE}")
    async with page.expect_navigation(url="**/ui/chat?thread=*"):
        await page.get_by_role("button", name="Ask").click()
        await expect(page.locator(".progress li").first).to_contain_text("planner")
    await page.wait_for_selector("html[data-script=ready]")
    await expect(page.locator(".asked")).to_contain_text("onerror=alert(1)")
    await expect(page.locator(".answer .tag").first).to_have_text(re.compile("payment"))
    await page.get_by_label("Question").fill("and now?")
    await page.get_by_role("button", name="Ask").click()
    await expect(page.locator(".asked")).to_have_count(2)
    threads = {line["thread_id"] for line in await list_incidents(services, incident)}
    assert len(threads) == 1


async def test_a_question_that_cannot_be_asked_says_why(tab: Tab) -> None:
    page = await tab.open("/")
    await page.get_by_label("Question").fill("why? at 2026-13-45 10:42")
    await page.get_by_role("button", name="Investigate").click()
    await expect(page.locator(".progress .wrong")).to_contain_text("not a time")
    await expect(page.get_by_label("Question")).to_have_value("why? at 2026-13-45 10:42")


async def test_logs_are_found_by_text_and_by_what_is_new(tab: Tab, asked: str) -> None:
    page = await tab.open(f"/ui/logs?environment={asked}")
    await expect(page.locator("ol.lines li").first).to_contain_text("KeyError <script>alert(1)</script>")
    await page.get_by_label("Text or meaning").fill("no such words")
    await page.keyboard.press("Enter")
    await expect(page.locator(".empty")).to_be_visible()
    await page.goto(f"{tab.address}/ui/logs?environment={asked}")
    await page.get_by_role("link", name="New").click()
    await page.wait_for_url("**order=new*")
    await expect(page.locator("table.rows tbody tr")).to_have_count(1)


async def test_people_add_what_they_know_to_an_incident(tab: Tab, services: Services, asked: str) -> None:
    incident = (await list_incidents(services, asked))[0]
    page = await tab.open(f"/ui/incidents/{incident['id']}")
    await page.get_by_label("A line for the timeline").fill(f"rolled back {HOSTILE}")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**#timeline")
    await expect(page.locator("ol.timeline .note")).to_contain_text("rolled back <img src=x")
    await page.wait_for_selector("html[data-script=ready]")
    await page.locator("h1").click()
    await page.keyboard.press("1")
    await expect(page.locator("ol.timeline .feedback")).to_contain_text("right")
    await page.get_by_role("link", name="draft of a postmortem").click()
    await expect(page.locator("pre")).to_contain_text("# Postmortem")
    assert await page.locator("main img").count() == 0
