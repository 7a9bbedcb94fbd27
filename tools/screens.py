"""Takes the pictures of docs/screens.md: the example shop is broken twice, asked about, and each screen looked at.

With `--url` and `--key` the pictures are of a server that runs already.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from playwright.async_api import Browser, ViewportSize, async_playwright

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cli.server import find_server, read_local_key  # noqa: E402 - the folder above is on the path only now
from tools.chromium import FLAGS, provide_chromium  # noqa: E402

_FAULTS = ("slow-dependency", "bad-deploy")
_DESK: ViewportSize = {"width": 1360, "height": 850}
_PHONE: ViewportSize = {"width": 390, "height": 760}


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture: its name, the page, and what to do there before."""

    name: str
    path: str
    dark: bool = False
    phone: bool = False
    click: Sequence[str] = ()
    scroll: str = ""


def main() -> int:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="", help="a server that runs already")
    parser.add_argument("--key", default="", help="its API key")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "screens", help="the folder for the pictures")
    parser.add_argument("--only", default="", help="only pictures whose name holds this")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.url:
        asyncio.run(take(given.url, given.key, given.out, given.only))
        return 0
    with tempfile.TemporaryDirectory(prefix="causegraph-screens-") as folder:
        environ = {**os.environ, "CAUSEGRAPH_DATA_DIR": folder}
        try:
            for fault in _FAULTS:
                _causegraph(environ, "demo", "--fault", fault, "--warmup", "40", "--broken", "30")
            server = find_server(Path(folder))
            if server is None:
                raise SystemExit("The demo's server is not there any more.")
            asyncio.run(take(server.address, read_local_key(Path(folder)), given.out, given.only))
        finally:
            _causegraph(environ, "down")
    return 0


def _causegraph(environ: Mapping[str, str], *words: str) -> None:
    subprocess.run([sys.executable, "-m", "cli.main", *words], cwd=ROOT, env=environ, check=False)


async def take(address: str, key: str, out: Path, only: str) -> None:
    """Take every picture of a server's pages."""
    async with httpx.AsyncClient(base_url=address, headers={"X-API-Key": key}, timeout=60) as client:
        await _fill(client)
        shots = await _plan(client)
        found = await asyncio.to_thread(provide_chromium, print)
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=found.path, args=list(FLAGS), env={**os.environ, **found.environ}
            )
            for shot in shots:
                if only in shot.name:
                    link = (await client.post("/session-links")).json()["url"]
                    await _shoot(browser, address, link, shot, out / f"{shot.name}.png")
                    print(f"{shot.name}.png", flush=True)
            await browser.close()


async def _fill(client: httpx.AsyncClient) -> None:
    """Ask more of the shop, and say of most answers whether they are right, so that no screen of review is empty."""
    incidents = (await client.get("/incidents")).json()["incidents"]
    places = sorted({str(line["environment"]) for line in incidents})
    questions = [f"why did {service} fail?" for service in ("checkout", "storefront", "payment", "inventory")] * 3
    questions += ["how many errors were there in payment?", "who calls payment?", "what changed in inventory?"]
    for number, (question, place) in enumerate((question, place) for question in questions for place in places):
        body = {"question": question, "environment": place}
        reply = await client.post("/chat", json=body)
        reply.raise_for_status()
        if number % 4:
            said = {
                "passed": number % 3 > 0,
                "note": "looked at the records",
                "tags": ["right" if number % 3 else "wrong"],
            }
            (await client.post(f"/traces/{reply.json()['trace_id']}/reviews", json=said)).raise_for_status()


async def _plan(client: httpx.AsyncClient) -> list[Shot]:
    incidents: list[dict[str, Any]] = (await client.get("/incidents")).json()["incidents"]
    about = [line for line in incidents if "checkout" in line["question"]] or incidents
    told = next((line for line in about if line["outcome"] == "CONFIRMED"), about[0])
    other = next((line for line in about if line["environment"] != told["environment"]), told)
    thread = f"thread={quote(told['thread_id'])}&environment={quote(told['environment'])}"
    trace, environment = told["trace_id"], quote(told["environment"])
    cases = (await client.get("/cases")).json()["cases"]
    cited = (await client.get(f"/traces/{trace}")).json()["cited"]
    return [
        Shot("home", "/"),
        Shot("chat", f"/ui/chat?{thread}", click=(".answer details summary",)),
        Shot("incidents", "/ui/incidents"),
        Shot("incident", f"/ui/incidents/{told['id']}"),
        Shot("claims", f"/ui/incidents/{told['id']}", click=("details.claim summary",)),
        Shot("incident-dark", f"/ui/incidents/{told['id']}", dark=True),
        Shot("incident-phone", f"/ui/incidents/{told['id']}", phone=True),
        Shot("timeline", f"/ui/incidents/{told['id']}", scroll=".acts"),
        Shot("symptoms", "/ui/symptoms"),
        Shot("runs", "/ui/traces"),
        Shot("runs-phone", "/ui/traces", phone=True),
        Shot("run", f"/ui/traces/{trace}", click=(".tree a:nth-child(4)",)),
        Shot("run-dark", f"/ui/traces/{trace}", dark=True),
        Shot("compare", f"/ui/compare?a={trace}&b={other['trace_id']}"),
        Shot("topology", f"/ui/topology?environment={environment}"),
        Shot("logs", f"/ui/logs?environment={environment}&order=new"),
        Shot("code", "/ui/code?q=gift+card+currency"),
        Shot("approvals", "/ui/approvals"),
        Shot("workflows", "/ui/workflows"),
        Shot("evidence", f"/ui/evidence/{quote(cited[0])}"),
        Shot("queue", "/ui/queue"),
        Shot("cases", "/ui/cases"),
        *(Shot("case", f"/ui/cases/{case['id']}") for case in cases[:1]),
        Shot("policies", "/ui/policies"),
        Shot("policy", "/ui/policies/default", click=("button[value=try]",)),
        Shot("calibration", "/ui/calibration"),
    ]


async def _shoot(browser: Browser, address: str, link: str, shot: Shot, file: Path) -> None:
    context = await browser.new_context(
        color_scheme="dark" if shot.dark else "light", viewport=_PHONE if shot.phone else _DESK
    )
    page = await context.new_page()
    await page.goto(link)
    await page.wait_for_url(f"{address}/")
    await page.goto(f"{address}{shot.path}")
    await page.wait_for_selector("html[data-script=ready]")
    for selector in shot.click:
        await page.locator(selector).first.click()
        await page.wait_for_load_state("networkidle")
    if shot.scroll:
        await page.locator(shot.scroll).first.scroll_into_view_if_needed()
    await page.screenshot(path=file)
    await context.close()


if __name__ == "__main__":
    raise SystemExit(main())
