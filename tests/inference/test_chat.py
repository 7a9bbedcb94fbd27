"""The same contract for a model behind Ollama's own protocol and behind OpenAI's, with every way of failing that was seen.

model not there                            a_model_that_is_not_there_is_named_with_what_to_do
another server, a gateway's page           another_server_than_expected_is_said
options, schemas or thinking refused       test_transcripts: what_is_made_of_a_refusal (asked once)
history dropped in silence                 a_prompt_that_was_cut_in_silence_is_noticed; test_transcripts
one message longer than the context        a_prompt_that_is_too_long_is_not_sent; test_model_server
no num_ctx, another one each time          what_is_always_sent
cold load longer than the patience         a_load_goes_on_when_nobody_waits_any_more
load fails                                 a_load_that_fails_is_said_and_tried_again_by_the_next_question
queue full                                 what_passes_is_tried_again, what_stays_is_said_after_three_tries
runner dies in the middle, no end mark     the same; test_model_server: a_server_that_is_killed_while_it_writes
late, stalled, endless                     what_would_only_happen_again..., a_stall_in_the_middle..., the_whole_has_a_deadline...
thinking on by default                     what_is_always_sent, a_reply_of_thinking_alone_is_no_reply
JSON cut, JSON of another form             a_reply_that_was_cut_says_so; agents/test_wording: a_reply_of_a_wrong_form_is_repaired_once
format "json" without an end               what_is_always_sent (always a schema, always a bound)
tools called in text, or unasked           tools_are_never_offered; test_transcripts: a_recorded_reply_is_read_as_it_is_or_refused
embeddings none, cut, wrong, NaN, too long test_ollama, test_transcripts, test_model_server
control tokens in records                  test_guard; test_model_server: control_tokens_in_records_are_only_text
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from domain.errors import (
    ContextOverflow,
    ModelBusy,
    ModelError,
    ModelLoadFailed,
    ModelMissing,
    ModelRefused,
    ModelTimeout,
    ModelUnavailable,
    ReplyBroken,
    ReplyEmpty,
    SettingsError,
)
from domain.settings import Settings
from inference.build import ChatModels, ModelName, build_model
from inference.model import ServedModel
from tests.inference.fake_ollama import FakeOllama, Fault, running

KINDS = ("ollama", "openai")
ASKED: list[BaseMessage] = [SystemMessage("You are an SRE."), HumanMessage("Why is checkout slow?")]


@pytest.fixture
def server() -> Iterator[FakeOllama]:
    with running() as found:
        yield found


@asynccontextmanager
async def opened(server: FakeOllama, kind: str, model: str = "tiny", **more: Any) -> AsyncIterator[ServedModel]:
    settings = Settings(**{"chat_first_seconds": 20.0, "chat_budget_seconds": 30.0, **more})
    name = ModelName(kind, model, server.url + ("/v1" if kind == "openai" else ""), False)  # type: ignore[arg-type]
    built = build_model(name, settings)
    built.pause_seconds = 0.01
    yield built
    await built.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_reply_comes_with_its_tokens_and_its_end(server: FakeOllama, kind: str) -> None:
    server.script("payment is slow")
    async with opened(server, kind) as model:
        reply = await model.ainvoke(ASKED)
    assert reply.content == "payment is slow"
    assert reply.usage_metadata is not None
    assert reply.usage_metadata["input_tokens"] > 0
    assert reply.usage_metadata["output_tokens"] == 3
    assert reply.response_metadata == {"finish_reason": "stop", "model_name": f"{kind}/tiny"}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_reply_can_be_followed_piece_by_piece_and_by_callbacks(server: FakeOllama, kind: str) -> None:
    class Heard(AsyncCallbackHandler):
        def __init__(self) -> None:
            self.tokens: list[str] = []
            self.ended: list[Any] = []

        async def on_llm_new_token(self, token: Any, **rest: Any) -> None:
            self.tokens += [token] if token else []

        async def on_llm_end(self, response: Any, **rest: Any) -> None:
            self.ended.append(response.generations[0][0].message.usage_metadata)

    heard = Heard()
    server.script("one two three")
    async with opened(server, kind) as model:
        pieces = [piece async for piece in model.astream(ASKED, config={"callbacks": [heard]})]
    assert "".join(str(piece.content) for piece in pieces) == "one two three"
    assert heard.tokens == ["one", " two", " three"]
    assert heard.ended[0]["output_tokens"] == 3


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_always_sent(server: FakeOllama, kind: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    async with opened(server, kind, chat_context_tokens=2048) as model:
        await model.ainvoke(ASKED)
        await model.ainvoke(ASKED, schema=schema, max_tokens=100, seed=7)
    sent = [body for body in server.asked if body["messages"]]
    assert len(sent) == 2
    assert all("tools" not in body for body in sent)
    if kind == "ollama":
        assert [body["options"]["num_ctx"] for body in sent] == [2048, 2048]
        assert all(body["think"] is False and body["truncate"] is False for body in sent)
        assert sent[1]["options"] == {"num_ctx": 2048, "num_predict": 100, "temperature": 0.0, "seed": 7}
        assert sent[1]["format"] == schema
        assert server.loads == 1
    else:
        assert sent[1]["max_tokens"] == 100
        assert sent[1]["response_format"]["json_schema"]["schema"] == schema


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "fault", [Fault("busy"), Fault("midstream", 2), Fault("eof", 1), Fault("html"), Fault("garbage")]
)
async def test_what_passes_is_tried_again(server: FakeOllama, kind: str, fault: Fault) -> None:
    server.script(fault, "fine now")
    async with opened(server, kind) as model:
        assert (await model.ainvoke(ASKED)).content == "fine now"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("busy"), ModelBusy),
        (Fault("midstream", 1), ReplyBroken),
        (Fault("eof", 1), ReplyBroken),
        (Fault("html"), ModelUnavailable),
    ],
)
async def test_what_stays_is_said_after_three_tries(
    server: FakeOllama, kind: str, fault: Fault, error: type[ModelError]
) -> None:
    server.script(*[fault] * 5)
    async with opened(server, kind) as model:
        with pytest.raises(error):
            await model.ainvoke(ASKED)
    assert len([body for body in server.asked if body["messages"]]) == 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("fault", "error"),
    [(Fault("load_fail"), ModelLoadFailed), (Fault("empty"), ReplyEmpty), (Fault("slow", 3), ModelTimeout)],
)
async def test_what_would_only_happen_again_is_not_tried_again(
    server: FakeOllama, kind: str, fault: Fault, error: type[ModelError]
) -> None:
    server.script(fault)
    async with opened(server, kind, chat_first_seconds=0.5) as model:
        with pytest.raises(error):
            await model.ainvoke(ASKED)
    assert len([body for body in server.asked if body["messages"]]) == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stall_in_the_middle_ends_after_the_idle_time(server: FakeOllama, kind: str) -> None:
    server.script(Fault("stall", 10))
    async with opened(server, kind, chat_first_seconds=0.7) as model:
        began = time.monotonic()
        with pytest.raises(ModelTimeout, match="wrote nothing"):
            await model.ainvoke(ASKED)
    assert time.monotonic() - began < 8


async def test_the_whole_has_a_deadline_however_it_is_spread(server: FakeOllama) -> None:
    server.script(*[Fault("busy")] * 3)
    async with opened(server, "ollama") as model:
        await model.load()
        model.total_seconds, model.pause_seconds = 0.3, 5.0
        with pytest.raises(ModelTimeout, match="had not replied"):
            await model.ainvoke(ASKED)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_model_that_is_not_there_is_named_with_what_to_do(server: FakeOllama, kind: str) -> None:
    async with opened(server, kind, "nope") as model:
        with pytest.raises(ModelMissing, match="ollama pull nope"):
            await model.ainvoke(ASKED)


async def test_another_server_than_expected_is_said(server: FakeOllama) -> None:
    async with opened(server, "openai") as model:
        model._wire._server._client.base_url = f"{server.url}/nowhere/"  # type: ignore[attr-defined]
        with pytest.raises(ModelRefused, match="no model server of the kind"):
            await model.ainvoke(ASKED)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_is_away_is_said(kind: str) -> None:
    with running() as server:
        pass
    async with opened(server, kind) as model:
        with pytest.raises(ModelUnavailable, match="does not answer"):
            await model.ainvoke(ASKED)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_prompt_that_is_too_long_is_not_sent(server: FakeOllama, kind: str) -> None:
    async with opened(server, kind, chat_context_tokens=1024) as model:
        with pytest.raises(ContextOverflow, match="CAUSEGRAPH_CHAT_CONTEXT_TOKENS"):
            await model.ainvoke([HumanMessage("x" * 9000)])
        room = model.room(ASKED)
        assert 0 < room < 1024 * 3
        await model.ainvoke([*ASKED, HumanMessage("y" * room)])
    assert len([body for body in server.asked if body["messages"]]) == 1


async def test_a_server_that_reads_less_than_we_think_refuses_instead_of_cutting(server: FakeOllama) -> None:
    async with opened(server, "ollama", chat_context_tokens=1024) as model:
        model._characters = 100.0  # our estimate is far too low
        with pytest.raises(ContextOverflow, match="exceeds the available context"):
            await model.ainvoke([HumanMessage("checkout timeout " * 1000)])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_prompt_that_was_cut_in_silence_is_noticed(server: FakeOllama, kind: str) -> None:
    server.script(Fault("unread"))
    async with opened(server, kind) as model:
        with pytest.raises(ContextOverflow, match="in silence"):
            await model.ainvoke([HumanMessage("word " * 2000)])


@pytest.mark.parametrize("kind", KINDS)
async def test_a_reply_of_thinking_alone_is_no_reply(server: FakeOllama, kind: str) -> None:
    server.script(Fault("think_only"))
    async with opened(server, kind, "tiny-think") as model:
        with pytest.raises(ReplyEmpty, match="180 characters of thinking"):
            await model.ainvoke(ASKED)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_reply_that_was_cut_says_so(server: FakeOllama, kind: str) -> None:
    server.script(Fault("cut", 2))
    async with opened(server, kind) as model:
        reply = await model.ainvoke(ASKED)
    assert reply.response_metadata["finish_reason"] == "length"


async def test_a_load_goes_on_when_nobody_waits_any_more(server: FakeOllama) -> None:
    server.load_seconds = 1.0
    async with opened(server, "ollama", chat_first_seconds=0.5) as model:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await model.ainvoke(ASKED)
        assert (await model.ainvoke(ASKED)).content  # although the load takes longer than the first token may
    assert server.loads == 1


async def test_a_load_that_fails_is_said_and_tried_again_by_the_next_question(server: FakeOllama) -> None:
    server.replies.append((500, '{"error":"llama-server process has terminated: exit status 1"}'))
    async with opened(server, "ollama") as model:
        with pytest.raises(ModelLoadFailed):
            await model.ainvoke(ASKED)
        assert (await model.ainvoke(ASKED)).content


async def test_requests_wait_for_their_turn(server: FakeOllama) -> None:
    server.script(*[Fault("slow", 0.1)] * 6)
    async with opened(server, "openai", chat_concurrency=2) as model:
        await asyncio.gather(*(model.ainvoke(ASKED) for _ in range(6)))
    assert server.most_at_work <= 2


async def test_leaving_a_stream_early_leaves_the_model_free(server: FakeOllama) -> None:
    async with opened(server, "openai") as model:
        async for _ in model.astream(ASKED):
            break
        async with asyncio.timeout(10):
            assert (await model.ainvoke(ASKED)).content


async def test_tools_are_never_offered(server: FakeOllama) -> None:
    async with opened(server, "ollama") as model:
        with pytest.raises(ModelError, match="No tools"):
            await model.ainvoke(ASKED, tools=[{"type": "function"}])
        with pytest.raises(NotImplementedError):
            model.bind_tools([])


async def test_a_key_is_sent_to_its_own_server_only(server: FakeOllama) -> None:
    settings = Settings(
        chat_model="openai:tiny",
        chat_url=f"{server.url}/v1",
        chat_key="k1",
        fallback_model=f"openai:tiny@{server.url}/v1/",
    )
    models = ChatModels(settings)
    first, second = models.for_role("plan")
    await first.ainvoke(ASKED)
    await second.ainvoke(ASKED)
    await models.close()
    assert [sent.get("authorization") for sent in server.headers] == ["Bearer k1", None]


def test_roles_fall_back_to_the_one_model() -> None:
    models = ChatModels(Settings(chat_model="ollama:qwen3:4b", plan_model="ollama:qwen3:0.6b"))
    assert [model.model_name for model in models.for_role("plan")] == ["ollama/qwen3:0.6b"]
    assert [model.model_name for model in models.for_role("explain")] == ["ollama/qwen3:4b"]
    assert not ChatModels(Settings()).has("plan")
    assert ChatModels(Settings()).for_role("explain") == ()


@pytest.mark.parametrize(
    "name", ["gpt", "ollama:", "ollama:x@", "openai:x", "openai:x@ftp://host", "none:x", "ollama:x@host"]
)
def test_names_that_make_no_sense_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="CAUSEGRAPH_"):
        ChatModels(Settings(chat_model=name))
