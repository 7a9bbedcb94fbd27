"""Code that is indexed, asked over HTTP, and behind the errors of an incident: the line, and the commit that broke it."""

from __future__ import annotations

import shutil
import subprocess
import time
import traceback
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agents.services import Services
from domain.times import SECOND_US
from examples.shop.releases.payment_2_4_0 import amount_due
from graph.code import CodeGraph
from indexer.code_graph import CodeGraphUpdate
from indexer.roots import make_root
from indexer.sync import Syncer
from storage.code import CodeService, CodeStore
from storage.code_links import CodeLinkStore
from tests.api.conftest import _post, _resource, _span

SHOP = Path(__file__).parents[2] / "examples" / "shop"
SUBJECT = "Gift cards may be in another currency"


def _git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Ann Author", "-c", "user.email=ann@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
async def shop(services: Services, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """A repository with the shop in it, indexed as the code of payment and checkout."""
    folder = tmp_path_factory.mktemp("shop")
    shutil.copytree(SHOP, folder / "shop", ignore=shutil.ignore_patterns("__pycache__", "payment_2_4_0.py"))
    _git(folder, "init", "-q")
    _git(folder, "add", "-A")
    _git(folder, "commit", "-qm", "The shop")
    shutil.copy(SHOP / "releases" / "payment_2_4_0.py", folder / "shop" / "releases")
    _git(folder, "add", "-A")
    _git(folder, "commit", "-qm", SUBJECT)
    store = CodeStore(services.database)
    root = await store.add_root(make_root(str(folder)))
    await store.set_services(root.id, [CodeService(root.id, "", name) for name in ("payment", "checkout")])
    await Syncer(store, services.settings).sync(root.id)
    graph = CodeGraph(services.graph.connection)
    await CodeGraphUpdate(store, CodeLinkStore(services.database), services.code, lambda: graph).update(root.id)
    yield folder
    await graph.drop(root.id)
    await store.remove_root(root.id)


def _traceback() -> str:
    """A real one, of a release that runs elsewhere."""
    try:
        amount_due(10.0, "EUR", {"value": 3.0})
    except KeyError:
        return traceback.format_exc().replace(str(SHOP.parent), "/srv/payment/2.4.0")
    raise AssertionError("the release does not fail any more")


def _origin() -> dict[str, Any]:
    """Where the shop writes such a line, as its own telemetry says."""
    lines = (SHOP / "service.py").read_text(encoding="utf-8").split("\n")
    number = next(n for n, line in enumerate(lines, 1) if "self.log.exception(" in line and "type(error)" in line)
    path = "/srv/payment/2.4.0/shop/service.py"
    return {"code.file.path": path, "code.line.number": number, "code.function.name": "_run"}


async def test_search_over_http(client: httpx.AsyncClient, shop: Path) -> None:

    symbol = (await client.get("/code/symbol", params={"name": "convert"})).json()["results"]
    assert [(s["path"], s["symbol"]) for s in symbol] == [("shop/releases/payment_2_4_0.py", "convert")]
    assert [(c["symbol"], c["sure"]) for c in symbol[0]["callers"]] == [("amount_due", True)]
    far = (await client.get("/code/symbol", params={"name": "convert", "hops": 2})).json()
    assert far["note"] == "" and [c["hops"] for c in far["results"][0]["callers"]] == [1]
    text = (await client.get("/code/search", params={"q": "gift card currency rate"})).json()["results"]
    assert text[0]["path"] == "shop/releases/payment_2_4_0.py"
    place = (await client.post("/code/trace", json={"text": _traceback(), "service": "payment"})).json()["results"][0]
    assert (place["path"], place["symbol"], place["sure"]) == ("shop/releases/payment_2_4_0.py", "convert", True)
    line = (await client.get("/code/log", params={"text": "TLS handshake with 10.0.0.7:41022 failed: EOF"})).json()[
        "results"
    ][0]
    assert (line["path"], line["sure"]) == ("shop/server.py", True)
    diff = (await client.get("/code/diff", params={"service": "payment"})).json()
    assert [(c["subject"], c["author"]) for c in diff["commits"]] == [
        (SUBJECT, "Ann Author"),
        ("The shop", "Ann Author"),
    ]
    (root,) = (await client.get("/code/status")).json()["roots"]
    assert root["symbols"] > 100
    assert root["calls"] > root["guessed_calls"]


async def test_what_cannot_be_answered_says_why(client: httpx.AsyncClient, shop: Path) -> None:
    for path, values in (("trace", {"text": "all is well"}), ("search", {"q": " "})):
        reply = await client.get(f"/code/{path}", params=values)
        assert reply.status_code == 422, reply.text
    assert (await client.get("/code/diff", params={"service": "bank"})).status_code == 404
    assert (await client.get("/code/log", params={"text": "zebra quagga okapi"})).json()["results"] == []


async def test_an_answer_cites_the_line_and_the_commit_that_broke_it(
    client: httpx.AsyncClient, shop: Path, environment: str, services: Services
) -> None:
    await _send_incident(client, environment)
    reply = await client.post("/chat", json={"question": "why did checkout fail?", "environment": environment})
    answer = reply.json()
    (cause,) = answer["verdict"]["causes"]
    assert cause["service"] == "payment"
    path = "shop/releases/payment_2_4_0.py"
    source = (shop / path).read_text(encoding="utf-8").split("\n")
    assert cause["code"]["file"] == path
    assert cause["code"]["symbol"] == "convert"
    assert 'gift_card["currency"]' in source[cause["code"]["line"] - 1]
    (claim, *_) = [c for c in answer["claims"] if f"{path}:{cause['code']['line']}" in c["text"]]
    assert SUBJECT in claim["text"]
    assert "Ann Author" in claim["text"]
    assert "called by amount_due" in claim["text"]
    assert "to try: handle a value without 'currency'" in claim["text"]
    (evidence_id,) = claim["evidence"]
    evidence = (await client.get(f"/evidence/{evidence_id}")).json()
    assert (evidence["kind"], evidence["state"]) == ("code", "unchanged"), evidence
    written = _origin()["code.line.number"]
    assert any(f"is written at shop/service.py:{written} in Service._run" in c["text"] for c in answer["claims"])

    (shop / path).write_text("# moved\n" + "\n".join(source), encoding="utf-8")
    root = make_root(str(shop))
    await Syncer(CodeStore(services.database), services.settings).sync(root.id)
    assert (await client.get(f"/evidence/{evidence_id}")).json()["state"] == "changed"


async def _send_incident(client: httpx.AsyncClient, environment: str) -> None:
    now = time.time_ns() // 1000
    onset = now - 60 * SECOND_US
    spans: dict[str, list[dict[str, Any]]] = {"checkout": [], "payment": []}
    for number in range(180):
        start = now - (180 - number) * SECOND_US
        bad = start >= onset
        trace = f"{now:016x}{number:016x}"
        spans["checkout"].append(_span(trace, 1, 0, "POST /checkout", 2, start, 90_000, bad, "payment failed"))
        spans["checkout"].append(_span(trace, 2, 1, "POST", 3, start + 1000, 80_000, bad, "payment failed"))
        spans["payment"].append(_span(trace, 3, 2, "POST /charges", 2, start + 2000, 60_000, bad, "'currency'"))
    body = {"resourceSpans": [_resource(service, environment, held) for service, held in spans.items()]}
    await _post(client, "/v1/traces", body, "")
    logs = [
        {
            "timestamp": onset + n * SECOND_US,
            "service": "payment",
            "level": "error",
            "message": "POST /charges failed: KeyError: 'currency'",
            "attributes": _origin() | {"exception.type": "KeyError", "exception.stacktrace": _traceback()},
        }
        for n in range(50)
    ]
    await _post(client, "/ingest/logs", logs, environment)
