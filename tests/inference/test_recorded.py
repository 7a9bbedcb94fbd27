"""The fake Ollama says what a real one was recorded to say: status, kind of content, fields, and every refusal word for word."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.errors import ModelError
from inference.failures import name_failure
from tests.inference.fake_ollama import FakeOllama, running

FACTS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("recorded.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def server() -> Iterator[FakeOllama]:
    with running() as found:
        yield found


@pytest.mark.parametrize("fact", FACTS, ids=[fact["what"] for fact in FACTS])
def test_the_fake_answers_as_the_real_one_did(server: FakeOllama, fact: dict[str, Any]) -> None:
    given = fact["body"]
    body = {"content": given} if isinstance(given, str) else {} if given is None else {"json": given}
    reply = httpx.request(fact["method"], server.url + fact["path"], timeout=30, **body)
    assert reply.status_code == fact["status"]
    assert reply.headers["content-type"].split(";")[0] == fact["type"]
    last = _last(reply.text)
    if "error" in fact:
        assert (last["error"] if last else reply.text) == fact["error"]
    if "keys" in fact:
        assert last is not None
        assert sorted(last) == fact["keys"]


REFUSED = [fact for fact in FACTS if "error" in fact and fact["method"] == "POST"]


@pytest.mark.parametrize("fact", REFUSED, ids=[fact["what"] for fact in REFUSED])
def test_each_recorded_refusal_has_an_error_with_the_servers_words(fact: dict[str, Any]) -> None:
    body = json.dumps({"error": fact["error"]}) if fact["type"] == "application/json" else fact["error"]
    error = name_failure(fact["status"], body, model="nope", url="http://server")
    said = fact["error"]["message"] if isinstance(fact["error"], dict) else fact["error"]
    assert type(error) is not ModelError
    assert "http://server" in str(error)
    assert said[:60] in str(error) or "has no model nope" in str(error)


def _last(text: str) -> Any:
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.strip() and "[DONE]" not in line]
    try:
        read = json.loads(lines[-1])
    except ValueError:
        return None
    return read if isinstance(read, dict) else None
