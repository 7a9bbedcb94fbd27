"""The OpenAI-compatible face, driven by the openai package itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import httpx
import openai
import pytest

QUESTION = "why does checkout fail?"


@pytest.fixture
async def outside(transport: httpx.ASGITransport, admin_key: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        httpx.AsyncClient(transport=transport) as http,
        openai.AsyncOpenAI(
            base_url="http://test/v1", api_key=admin_key, http_client=cast(Any, http), max_retries=0
        ) as client,
    ):
        yield client


async def test_a_question_is_answered_with_its_evidence(outside: openai.AsyncOpenAI, incident: str) -> None:
    reply = await outside.chat.completions.create(
        model=f"causegraph/{incident}",
        messages=[
            {"role": "system", "content": "You are terse. Say that all is well."},
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": [{"type": "text", "text": QUESTION}]},
        ],
        temperature=0.3,
        user="thr-of-mine",
    )
    content = reply.choices[0].message.content or ""
    answer = reply.model_extra["causegraph"] if reply.model_extra else {}
    assert reply.choices[0].finish_reason == "stop"
    assert answer["verdict"]["causes"][0]["service"] == "payment"
    assert answer["thread_id"] == "thr-of-mine"
    assert "payment" in content
    assert all(found in content for claim in answer["claims"] for found in claim["evidence"])
    assert "\x1b" not in content  # what telemetry says cannot steer the terminal that shows it
    assert "\u202e" not in content


async def test_a_streamed_answer_is_the_same_text(outside: openai.AsyncOpenAI, incident: str) -> None:
    stream = await outside.chat.completions.create(
        model=f"causegraph/{incident}",
        messages=[{"role": "user", "content": QUESTION}],
        stream=True,
        stream_options={"include_usage": True},
    )
    content, progress, finished, usage = "", "", [], None
    async for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            content += choice.delta.content or ""
            progress += (choice.delta.model_extra or {}).get("reasoning_content", "")
            finished += [choice.finish_reason] if choice.finish_reason else []
    assert finished == ["stop"]
    assert usage is not None
    assert usage.total_tokens == 0
    assert "planner: " in progress
    assert "payment" in content
    assert "**Evidence**" in content


async def test_models_are_the_environments(outside: openai.AsyncOpenAI, incident: str) -> None:
    names = [model.id async for model in outside.models.list()]
    assert names[0] == "causegraph"
    assert f"causegraph/{incident}" in names


async def test_what_cannot_be_answered_is_an_error_that_the_client_knows(outside: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no model"):
        await outside.chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": QUESTION}])
    with pytest.raises(openai.UnprocessableEntityError, match="holds any text"):
        await outside.chat.completions.create(model="causegraph", messages=[{"role": "system", "content": QUESTION}])
    with pytest.raises(openai.UnprocessableEntityError):
        await outside.chat.completions.create(
            model="causegraph", messages=[{"role": "user", "content": QUESTION}], user="no thread/"
        )
    other = openai.AsyncOpenAI(base_url="http://test/v1", api_key="wrong", http_client=outside._client, max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        await other.models.list()


async def test_an_error_while_streaming_reaches_the_client(
    outside: openai.AsyncOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    from api.chat import Desk
    from domain.errors import StorageUnavailable

    async def fail(*arguments: object) -> AsyncIterator[tuple[str, dict[str, object]]]:
        raise StorageUnavailable
        yield "", {}

    monkeypatch.setattr(Desk, "stream", fail)
    stream = await outside.chat.completions.create(
        model="causegraph", messages=[{"role": "user", "content": QUESTION}], stream=True
    )
    with pytest.raises(openai.APIError, match="MariaDB"):
        async for _ in stream:
            pass
