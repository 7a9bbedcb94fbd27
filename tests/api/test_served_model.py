"""An investigation with a real model server behind it, whose tiny model writes nonsense: the answer is that of the rules."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import httpx
import pytest

from agents.replies import make_question
from agents.services import Services
from cli.services import build_services
from domain.errors import StackError
from tests.api.test_model_answers import as_json, by_rules, settled
from tools.model_server import provide_llama, provide_models, serving


@pytest.fixture(scope="module")
async def models() -> tuple[Path, Path]:
    return await asyncio.to_thread(provide_models)


@pytest.mark.long
@pytest.mark.model_server
async def test_nonsense_of_a_real_server_changes_no_verdict(
    client: httpx.AsyncClient, services: Services, incident: str, models: tuple[Path, Path]
) -> None:
    try:
        llama = await asyncio.to_thread(provide_llama)
    except StackError as exc:
        pytest.skip(f"no llama-server: {exc}")
    now = time.time_ns() // 1000
    with serving(llama, models[0], "tiny", "-c", "16384", "-np", "1", "--jinja") as (url, _):
        named = {"chat_model": f"openai:tiny@{url}/v1", "chat_context_tokens": 16_384}
        served = build_services(services.settings.model_copy(update=named), services.database, services.graph)
        for question in ("why does checkout fail?", "Warum ist alles kaputt?"):
            body = as_json(await served.investigator.ask(make_question(question, incident, at_us=now)))
            rules = await by_rules(services, incident, question, now)
            # It may doubt: that makes the verdict milder, and never names another cause.
            assert [c["service"] for c in body["verdict"]["causes"]] == ["payment"]
            assert body["verdict"]["outcome"] in (rules["verdict"]["outcome"], "LIKELY")
            assert settled(body)["claims"] == settled(rules)["claims"]
            assert rules["claims"][0]["text"] in body["answer"]
            assert body["budget"]["tokens"] > 0
            trace = (await client.get(f"/traces/{body['trace_id']}")).json()
            assert trace["model"]["calls"] >= 2
        await served.models.close()
