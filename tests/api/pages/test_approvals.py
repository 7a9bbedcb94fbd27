"""Approvals in the browser: the exact bytes are shown, and the decision is on those and no others."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import expect

from agents.services import Services
from domain.errors import ApprovalError
from domain.remedy import Actor, digest_of
from graph.topology import TopologyGraph
from storage.database import Database
from tests.api.pages.conftest import Tab
from tests.api.turning import turning_services


@pytest.fixture(scope="module")
async def services(
    database: Database, topology: TopologyGraph, data_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Services]:
    folder, title = tmp_path_factory.mktemp("remedy"), "Turn back <img src=x onerror=alert(1)>"
    async with turning_services(database, topology, data_dir, folder, title, "Turn <b>back</b>") as built:
        yield built


async def _ask(client: httpx.AsyncClient, environment: str) -> tuple[str, str]:
    body = (await client.post("/chat", json={"question": "why did checkout fail?", "environment": environment})).json()
    return str(body["incident_id"]), str(body["workflow"]["approval_id"])


async def test_what_is_shown_is_what_is_approved(
    tab: Tab, client: httpx.AsyncClient, services: Services, incident: str
) -> None:
    incident_id, approval_id = await _ask(client, incident)
    page = await tab.open(f"/ui/incidents/{incident_id}")
    await page.get_by_role("link", name="Look at it and decide").click()
    await page.wait_for_url(f"**/ui/approvals/{approval_id}")
    await page.wait_for_selector("html[data-script=ready]")
    approval = await services.remedy.approvals.get(approval_id)
    assert await page.locator("#digest").inner_text() == approval.digest == digest_of(approval.document)
    assert '"title":"Turn back <img src=x onerror=alert(1)>"' in await page.locator("#exact").inner_text()
    await expect(page.locator("main")).to_contain_text("from telemetry")
    assert await page.locator("main img, main ol.steps b b").count() == 0
    assert await tab.check_access() == []
    await page.get_by_label("Why").fill("seen it")
    await page.get_by_role("button", name="Approve these bytes").click()
    await expect(page.locator(".tags .tag").first).to_have_text("approved")
    await expect(page.locator("main")).to_contain_text("web")
    await expect(page.get_by_role("button", name="Approve these bytes")).to_have_count(0)
    for path in ("/ui/approvals", "/ui/workflows"):
        page = await tab.open(path)
        await expect(page.locator("table.rows")).to_contain_text("Turn back <img")
        assert await tab.check_access() == []
        assert await page.locator("main img").count() == 0


async def test_other_bytes_are_not_approved(
    tab: Tab, client: httpx.AsyncClient, services: Services, incident: str
) -> None:
    _, approval_id = await _ask(client, incident)
    page = await tab.open(f"/ui/approvals/{approval_id}")
    await page.locator("input[name=digest]").evaluate("(field) => { field.value = '0'.repeat(64) }")
    await page.get_by_role("button", name="Approve these bytes").click()
    await expect(page.locator("h1")).to_contain_text("what was seen is not what would be done")
    assert (await services.remedy.approvals.get(approval_id)).status == "pending"
    with pytest.raises(ApprovalError):
        await services.remedy.decide(approval_id, "approve", Actor("x", "admin", "web"), digest="0" * 64)
    page = await tab.open(f"/ui/approvals/{approval_id}")
    await page.get_by_role("button", name="Reject").click()
    await expect(page.locator(".tags .tag").first).to_have_text("rejected")
    tab.trouble[:] = [said for said in tab.trouble if "409" not in said]  # the browser tells of the refusal


async def test_a_workflow_is_tried_dry_and_proposed_from_its_incident(
    tab: Tab, client: httpx.AsyncClient, services: Services, incident: str
) -> None:
    incident_id, _ = await _ask(client, incident)
    page = await tab.open(f"/ui/incidents/{incident_id}")
    arguments = page.locator("input[name=arguments]")
    await arguments.fill("service=of-my-own")
    await page.get_by_role("button", name="Try it dry").click()
    await expect(page.locator("main")).to_contain_text("Nothing was changed")
    await expect(page.locator("main")).to_contain_text(re.compile(r"the valve would go from \d to 3"))
    before = len(await services.remedy.runs.list(incident))
    await page.get_by_role("button", name="Propose it").click()
    await page.wait_for_url("**/ui/approvals/apr-*")
    (run, *_) = await services.remedy.runs.list(incident)
    assert len(await services.remedy.runs.list(incident)) == before + 1
    assert (run.incident_id, run.request["arguments"]["service"]["value"]) == (incident_id, "of-my-own")
    page = await tab.open(f"/ui/incidents/{incident_id}")
    await expect(page.locator("main")).to_contain_text("Runs of workflows")
