"""A conversation in the browser: a question that is worked on outlives the page, and can be stopped from it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import expect

from agents.investigate import Progress
from agents.question import Question
from agents.services import Services
from tests.api.pages.conftest import Tab

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def gate(services: Services, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Holds every investigation after its first step until the event is set."""
    opened, real = asyncio.Event(), services.investigator.stream

    async def stream(question: Question, **run: Any) -> AsyncIterator[Any]:
        yield Progress("planner", f"looks around {HOSTILE}")
        await opened.wait()
        async for part in real(question, **run):
            yield part

    monkeypatch.setattr(services.investigator, "stream", stream)
    return opened


async def _ask(tab: Tab, environment: str, question: str) -> None:
    page = await tab.open(f"/ui/chat?environment={environment}")
    await page.get_by_label("Question").fill(question)
    await page.get_by_role("button", name="Ask").click()
    await expect(page.locator(".progress li").first).to_contain_text("planner looks around <img")


async def test_a_question_goes_on_when_its_page_is_reloaded(tab: Tab, incident: str, gate: asyncio.Event) -> None:
    await _ask(tab, incident, f"why did checkout fail? {HOSTILE}")
    page = tab.page
    await page.reload()
    working = page.locator("[data-follow]")
    await expect(working.locator(".progress li").first).to_contain_text("planner looks around <img")
    await expect(page.locator(".asked")).to_contain_text("onerror=alert(1)")
    assert await tab.check_access() == []
    assert await page.locator("main img").count() == 0
    gate.set()
    await expect(page.locator(".answer .tag").first).to_contain_text("payment")
    await expect(working).to_have_count(0)
    await expect(page.locator(".asked")).to_have_count(1)


async def test_a_question_is_stopped_where_it_was_asked(
    tab: Tab, services: Services, incident: str, gate: asyncio.Event
) -> None:
    await _ask(tab, incident, "why did checkout fail?")
    page = tab.page
    await page.get_by_role("button", name="Stop").click()
    await expect(page.locator(".progress")).to_contain_text("Stopped.")
    await expect(page.get_by_role("button", name="Ask")).to_be_enabled()
    await page.reload()
    await expect(page.get_by_role("button", name="Ask")).to_be_visible()
    await expect(page.locator("[data-follow]")).to_have_count(0)


async def test_a_question_is_stopped_from_a_page_that_was_reloaded(
    tab: Tab, incident: str, gate: asyncio.Event
) -> None:
    await _ask(tab, incident, "why did checkout fail?")
    page = tab.page
    await page.reload()
    await page.locator("[data-follow]").get_by_role("button", name="Stop").click()
    await expect(page.locator("[data-follow]")).to_have_count(0)
    assert "thread=" in page.url
