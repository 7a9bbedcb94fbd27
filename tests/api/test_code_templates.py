"""Log statements and what they wrote, both ways, over HTTP."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from agents.services import Services
from domain.times import SECOND_US
from indexer.roots import make_root
from indexer.sync import Syncer
from storage.code import CodeService, CodeStore
from tests.api.conftest import _post

TILL = """def open_till(till):
    log.info("till %s of the bakery is open", till)


def close_till(till, rest):
    if rest:
        log.error("till %s of the bakery is short of %d crumbs", till, rest)
    log.info("till %s of the bakery is closed", till)
"""
SAME = 'def nap():\n    log.debug("napping for %d s", 1)\n\ndef doze():\n    log.debug("napping for %d s", 2)\n'


@pytest.fixture(scope="module")
async def bakery(services: Services, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    folder = tmp_path_factory.mktemp("bakery")
    (folder / "till.py").write_text(TILL)
    (folder / "naps.py").write_text(SAME)
    store = CodeStore(services.database)
    root = await store.add_root(make_root(str(folder)))
    await store.set_services(root.id, [CodeService(root.id, "", "bakery")])
    await Syncer(store, services.settings).sync(root.id)
    yield folder
    await store.remove_root(root.id)


@pytest.fixture
async def written(client: httpx.AsyncClient, bakery: Path, environment: str) -> str:
    now = time.time_ns() // 1000
    lines = [("bakery", f"till {n} of the bakery is short of {3 * n} crumbs", "error", 60 * n) for n in range(1, 6)]
    lines += [("bakery", "till 7 of the bakery is open", "info", 30), ("bakery", "napping for 3 s", "debug", 20)]
    lines += [("bakery", "till 9 of the bakery is short of 1 crumbs", "error", 36 * 3600)]
    lines += [("elsewhere", "till 7 of the bakery is closed", "info", 10), ("bakery", "who wrote this", "info", 10)]
    body = [
        {"timestamp": now - ago * SECOND_US, "service": service, "level": level, "message": message}
        for service, message, level, ago in lines
    ]
    await _post(client, "/ingest/logs", body, environment)
    return environment


async def test_what_a_line_of_code_wrote(client: httpx.AsyncClient, written: str) -> None:
    asked = {"place": "till.py:7", "environment": written}
    body = (await client.get("/code/templates", params=asked)).json()
    (statement,) = body["statements"]
    assert (statement["path"], statement["line"], statement["symbol"]) == ("till.py", 7, "close_till")
    (template,) = statement["templates"]
    assert template["text"].startswith("till <*> of the bakery is short of")
    assert (template["lines"], template["before"], template["services"]) == (5, 1, ["bakery"])
    assert (template["level"], template["sure"]) == ("ERROR", True)

    both = (await client.get("/code/templates", params={"place": "close_till", "environment": written})).json()
    assert [(s["line"], len(s["templates"])) for s in both["statements"]] == [
        (7, 1),
        (8, 0),
    ]  # closed: by another service
    naps = (await client.get("/code/templates", params={"place": "nap", "environment": written})).json()
    assert [t["sure"] for t in naps["statements"][0]["templates"]] == [False]
    elsewhere = (await client.get("/code/templates", params=asked | {"environment": "another"})).json()
    assert elsewhere["statements"][0]["templates"] == []


@pytest.mark.parametrize("place", ["till.py:5", "absent.py:1", "nobody", " "])
async def test_where_no_statement_is_that_is_said(client: httpx.AsyncClient, bakery: Path, place: str) -> None:
    reply = await client.get("/code/templates", params={"place": place})
    assert reply.status_code == 422, reply.text


async def test_families_of_templates_name_the_line_that_writes_them(client: httpx.AsyncClient, written: str) -> None:
    asked = {"order": "top", "environment": written}
    plain = (await client.get("/query/logs", params=asked)).json()["families"]
    assert not any("code" in one for one in plain)
    found = (await client.get("/query/logs", params=asked | {"code": "true"})).json()["families"]
    places = {(one["service"], one["text"]): one["code"] and one["code"]["line"] for one in found}
    assert {line for (service, _), line in places.items() if service == "bakery"} == {7, 2, None}
