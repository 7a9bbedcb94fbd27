"""Questions about code through `POST /chat`: answered from the index, cited, and without a verdict."""

from __future__ import annotations

import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agents.services import Services
from indexer.roots import make_root
from indexer.sync import Syncer
from storage.code import CodeService, CodeStore
from tests.api.conftest import _post

KILN = """def heat_kiln(degrees):
    if degrees > 1300:
        log.error("kiln at %d degrees is too hot for glaze", degrees)
    return degrees


def fire_pots(pots):
    return [heat_kiln(1200) for _ in pots]
"""


def _git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Ann Author", "-c", "user.email=ann@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
async def pottery(services: Services, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    folder = tmp_path_factory.mktemp("pottery")
    (folder / "kiln.py").write_text(KILN)
    _git(folder, "init", "-q")
    _git(folder, "add", "-A")
    _git(folder, "commit", "-qm", "Fire pots")
    store = CodeStore(services.database)
    root = await store.add_root(make_root(str(folder)))
    await store.set_services(root.id, [CodeService(root.id, "", "pottery")])
    await Syncer(store, services.settings).sync(root.id)
    yield folder
    await store.remove_root(root.id)


async def _ask(client: httpx.AsyncClient, question: str, environment: str, **more: str) -> dict[str, Any]:
    reply = await client.post("/chat", json={"question": question, "environment": environment} | more)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    assert answer["verdict"]["outcome"] == "" and answer["verdict"]["causes"] == []
    for claim in answer["claims"]:
        for evidence_id in claim["evidence"]:
            evidence = (await client.get(f"/evidence/{evidence_id}")).json()
            assert (evidence["kind"], evidence["state"]) in (("code", "unchanged"), ("change", "unchanged"))
            assert evidence_id in answer["answer"]
    return answer


async def test_where_a_line_is_logged(client: httpx.AsyncClient, pottery: Path, environment: str) -> None:
    answer = await _ask(client, "where is this logged: kiln at 1400 degrees is too hot for glaze", environment)
    assert answer["answer"].startswith("That is written at kiln.py:3.")
    (claim,) = answer["claims"]
    assert 'log.error("kiln at %d degrees is too hot for glaze", degrees)' in claim["text"]
    assert answer["judge"]["action"] == "ALLOW_ANSWER"
    kept = (await client.get(f"/incidents/{answer['incident_id']}")).json()
    assert kept["answer"]["answer"] == answer["answer"] and kept["outcome"] == ""
    trace = (await client.get(f"/traces/{answer['trace_id']}")).json()
    assert any("answered from the code index" in decision["what"] for decision in trace["decisions"])

    nothing = await _ask(client, "where is this logged: zebras graze on quinoa", environment)
    assert nothing["claims"] == [] and nothing["judge"]["action"] == "NEED_CLARIFICATION"


async def test_who_calls_a_function(client: httpx.AsyncClient, pottery: Path, environment: str) -> None:
    answer = await _ask(client, "who calls heat_kiln?", environment)
    (claim,) = answer["claims"]
    assert "fire_pots (kiln.py:8) calls heat_kiln: `return [heat_kiln(1200)" in claim["text"]
    nobody = await _ask(client, "who calls fire_pots()", environment)
    assert nobody["claims"] == [] and "Nothing in the indexed code calls fire_pots" in nobody["answer"]
    near = await _ask(client, "who calls heat_ki()", environment)
    assert "Names that begin so: heat_kiln" in near["answer"]
    defined = await _ask(client, "where is heat_kiln defined?", environment)
    assert defined["answer"].startswith("heat_kiln is defined at kiln.py:1.")


async def test_what_changed_in_a_service(client: httpx.AsyncClient, pottery: Path, environment: str) -> None:
    change = {"timestamp": time.time(), "service": "pottery", "kind": "deploy", "version": "7", "summary": "hotter"}
    await _post(client, "/ingest/changes", [change], environment)
    answer = await _ask(client, "what changed in pottery in the last 2 hours?", environment)
    assert [("Fire pots" in claim["text"], "hotter" in claim["text"]) for claim in answer["claims"]] == [
        (True, False),
        (False, True),
    ]
    assert "kiln.py" in answer["claims"][0]["text"] and answer["judge"]["action"] == "ALLOW_ANSWER"
    before = await _ask(client, "what changed in pottery?", environment, at="2020-01-01T00:00:00Z")
    assert before["claims"] == [] and "no time" in before["answer"]


async def test_a_question_within_an_incident_leaves_its_answer_alone(
    client: httpx.AsyncClient, pottery: Path, incident: str
) -> None:
    asked = {"question": "why did checkout fail?", "environment": incident}
    first = (await client.post("/chat", json=asked)).json()["incident_id"]
    kept = (await client.get(f"/incidents/{first}")).json()
    answer = await _ask(client, "who calls heat_kiln()?", incident, incident_id=first)
    assert answer["incident_id"] == first
    assert (await client.get(f"/incidents/{first}")).json() == kept


async def test_a_trace_is_placed(client: httpx.AsyncClient, pottery: Path, environment: str) -> None:
    frames = 'Traceback (most recent call last):\n  File "/srv/app/kiln.py", line 8, in fire_pots\n  File "/srv/app/kiln.py", line 3, in heat_kiln\n'
    answer = await _ask(client, f"which lines are in this stack trace?\n{frames}", environment)
    assert answer["answer"].startswith("The innermost frame of your code is kiln.py:3.")
