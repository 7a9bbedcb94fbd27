"""What a real Ollama was recorded to reply, byte for byte, read by our own clients: what each makes of it, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from domain.errors import (
    ContextOverflow,
    EmbeddingError,
    ModelError,
    ModelMissing,
    ModelRefused,
    ReplyBroken,
)
from domain.settings import Settings
from inference.build import ModelName, build_model
from inference.model import ServedModel
from inference.ollama import OllamaEmbedder
from inference.openai_embedder import OpenAIEmbedder
from tests.inference.fake_ollama import FakeOllama, running

HELD = Path(__file__).with_name("transcripts.json").read_text(encoding="utf-8")
RECORDED: dict[str, dict[str, Any]] = {record["what"]: record for record in json.loads(HELD)}
ASKED: list[BaseMessage] = [HumanMessage("Why is checkout slow?")]
CHATS = [name for name, record in RECORDED.items() if record["path"] in ("/api/chat", "/v1/chat/completions")]
_TRIES = 3


@pytest.fixture
def server() -> Iterator[FakeOllama]:
    with running() as found:
        yield found


def replay(server: FakeOllama, what: str) -> dict[str, Any]:
    """Let the server reply with what was recorded, as often as it is asked."""
    record = RECORDED[what]
    load = RECORDED["empty messages = load"]
    server.replies += [(load["status"], load["body"])] if record["path"] == "/api/chat" else []
    server.replies += [(record["status"], record["body"])] * _TRIES
    return record


@asynccontextmanager
async def opened(server: FakeOllama, path: str, **more: Any) -> AsyncIterator[ServedModel]:
    kind, url = ("ollama", server.url) if path == "/api/chat" else ("openai", f"{server.url}/v1")
    model = build_model(ModelName(kind, "tiny", url, False), Settings(**more))  # type: ignore[arg-type]
    model.pause_seconds = 0.01
    yield model
    await model.close()


@pytest.mark.parametrize("what", CHATS)
async def test_a_recorded_reply_is_read_as_it_is_or_refused(server: FakeOllama, what: str) -> None:
    record = replay(server, what)
    async with opened(server, record["path"]) as model:
        try:
            reply = await model.ainvoke(ASKED)
        except ModelError as exc:
            # A class of its own that says what to do, and never the words of a half reply.
            assert type(exc) is not ModelError
            return
    assert record["status"] == 200
    assert reply.content == _content(record["body"])
    assert reply.response_metadata["finish_reason"] in ("stop", "length")
    assert reply.usage_metadata is not None and reply.usage_metadata["input_tokens"] > 0


def _content(body: str) -> str:
    read = [json.loads(line.removeprefix("data: ")) for line in body.splitlines() if line and "[DONE]" not in line]
    said = [
        line["message"] if "message" in line else choice["delta"]
        for line in read
        for choice in line.get("choices", [{}])
    ]
    return "".join(part.get("content") or "" for part in said)


@pytest.mark.parametrize(
    ("what", "content", "finish", "tokens"),
    [
        ("chat stream", "2026-11-", "length", 23),
        ("v1 stream", "2026-11", "length", 23),
        ("format schema cut", '{"confidence": 0.47, "evidence":', "length", 23),
        ("keep_alive 10m", None, "stop", 23),
    ],
)
async def test_what_is_read_of_a_reply(
    server: FakeOllama, what: str, content: str | None, finish: str, tokens: int
) -> None:
    record = replay(server, what)
    async with opened(server, record["path"]) as model:
        reply = await model.ainvoke(ASKED)
    assert reply.content == content if content else reply.content
    assert reply.response_metadata["finish_reason"] == finish
    assert reply.usage_metadata is not None and reply.usage_metadata["input_tokens"] == tokens


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("chat missing model stream", ModelMissing),
        ("v1 missing", ModelMissing),
        ("bad option type", ModelRefused),
        ("format bad schema", ModelRefused),
        ("think on non-thinking model", ModelRefused),
        ("embed model in chat", ModelRefused),
        ("ctx truncate=false", ContextOverflow),
        ("one huge truncate=false", ContextOverflow),
        ("empty messages = load", ReplyBroken),
        ("v1 chat", ReplyBroken),
    ],
)
async def test_what_is_made_of_a_refusal(server: FakeOllama, what: str, error: type[ModelError]) -> None:
    record = replay(server, what)
    async with opened(server, record["path"]) as model:
        with pytest.raises(error):
            await model.ainvoke(ASKED)
    sent = [body for body in server.asked if body["messages"]]
    assert len(sent) == (_TRIES if error is ReplyBroken else 1)


async def test_a_history_that_was_cut_in_silence_is_seen_by_its_count(server: FakeOllama) -> None:
    record = replay(server, "ctx small: many msgs dropped silently")
    turns: list[BaseMessage] = []
    for number in range(60):
        turns += [HumanMessage(f"turn {number} " + "checkout timeout " * 10), AIMessage("yes")]
    async with opened(server, record["path"], chat_context_tokens=16_384) as model:
        with pytest.raises(ContextOverflow):
            await model.ainvoke(turns)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("embed empty list", "0 vectors"),
        ("embed empty string", "0 vectors"),
        ("embed dims", "DIMENSION"),
        ("embed long truncate=false", "exceeds the context length"),
        ("embed missing model", "ollama pull"),
        ("embed w/ chat model", "not support embeddings"),
        ("embeddings legacy empty", "holds no embeddings"),
    ],
)
async def test_what_is_made_of_recorded_embeddings(server: FakeOllama, what: str, said: str) -> None:
    replay(server, what)
    with pytest.raises(EmbeddingError, match=said):
        await OllamaEmbedder(server.url, "emb", 384).embed(["disk full"])


@pytest.mark.parametrize(("what", "said"), [("v1 emb missing", "has no model"), ("v1 emb empty", "invalid input")])
async def test_what_is_made_of_recorded_embeddings_of_the_other_face(server: FakeOllama, what: str, said: str) -> None:
    replay(server, what)
    embedder = OpenAIEmbedder(f"{server.url}/v1", "emb", 384)
    with pytest.raises(EmbeddingError, match=said):
        await embedder.embed(["disk full"])
    await embedder.close()


async def test_a_recorded_vector_becomes_a_unit_vector(server: FakeOllama) -> None:
    replay(server, "embed dims")
    vectors = await OllamaEmbedder(server.url, "emb", 8).embed(["a"])
    assert vectors.shape == (1, 8)
    assert abs(float((vectors[0] ** 2).sum()) - 1.0) < 1e-5
