"""Record the prompts of real runs on the example shop, for `python -m bench.prompts --corpus FILE`.

    python -m bench.shop_prompts [--fault NAME ...] [--warmup S] [--broken S] [--turns N] [--out FILE]

The shop runs with one fault after the other, watched by a server of the bench's own. Two kinds of runs look into each:

- the product's own agents answer questions, with a scripted model in place of a real one: their prompts are what it is sent;
- assistants read the logs through the tools that the server offers them (`api/mcp.py`), one page after the other: each prompt is
  all that was said before, so that histories grow. No log line is read by two of them.

One line per run goes to the file: the prompts as compact JSON, in order. Only the model is scripted; what it reads is real.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import zstandard

from api.mcp import INSTRUCTIONS, build_mcp
from bench.replay import ask
from bench.server import Server, start_server
from examples.shop.faults import FAULTS
from examples.shop.shop import Shop

QUESTIONS = (
    "why did checkout fail?",
    "warum geht checkout nicht?",
    "why is payment slow?",
    "what is wrong with inventory?",
    "pourquoi storefront est en panne ?",
)
_PAGE = 45
_RECORD = re.compile(r"^data-[0-9a-f]{8} (E\d+)\| (.*)$", re.MULTILINE)
_SETTINGS = ("CAUSEGRAPH_CHAT_MODEL", "CAUSEGRAPH_JUDGE_MODEL", "CAUSEGRAPH_CHAT_URL", "CAUSEGRAPH_CHAT_BUDGET_TOKENS")

type Message = Mapping[str, Any]


class ScriptedModel(ThreadingHTTPServer):
    """A model on a port of its own that answers the product's prompts sensibly, and keeps what it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[list[Message]] = []

    def take(self) -> list[list[Message]]:
        """Return what was asked since the last time."""
        asked, self.asked = self.asked, []
        return asked


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedModel
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body["messages"])
        text = json.dumps(_reply(body))
        chunk = {"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]}
        usage = {"choices": [], "usage": {"prompt_tokens": len(str(body["messages"])) // 4, "completion_tokens": 50}}
        said = "".join(f"data: {json.dumps(part)}\n\n" for part in (chunk, usage)) + "data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the parent's
        pass


def _reply(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fill the form that is asked for: quote records, agree, know nothing of the question."""
    wanted = body["response_format"]["json_schema"]["schema"]["properties"]
    shown = _RECORD.findall(body["messages"][1]["content"])
    if "opinion" in wanted:
        return {"opinion": "agree", "why": "none", "look_at": "nothing"}
    if "intent" in wanted:
        return {"intent": "why", "language": "de", "minutes_ago": -1, "services": []}
    if "headline" in wanted:
        sentences = [{"text": text.partition(" | ")[0][:300], "evidence": [short]} for short, text in shown[:8]]
        return {"headline": "it began there", "sentences": sentences}
    quote = shown[0][1].partition(": ")[2][:60] if shown else "nothing is there"
    return {name: {"quote": quote, "holds": True} for name in wanted}


@contextmanager
def scripted_model() -> Iterator[ScriptedModel]:
    """Serve a scripted model for the time of a block, and let servers that are started meanwhile use it."""
    before = {name: os.environ.get(name) for name in _SETTINGS}
    with ScriptedModel() as model:
        threading.Thread(target=model.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{model.server_port}/v1"
        os.environ |= dict(zip(_SETTINGS, ("openai:scripted", "openai:scripted", url, "1000000"), strict=True))
        try:
            yield model
        finally:
            model.shutdown()
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def record_fault(server: Server, model: ScriptedModel, name: str, given: argparse.Namespace) -> Iterator[list[str]]:
    """Run the shop with one fault and yield the prompts of each run that looked into it."""
    environment = f"shop-{name}"
    with tempfile.TemporaryDirectory(prefix="shop-") as state:
        shop = Shop.watched_by(server.url, Path(state), headers=server.headers, environment=environment, seed=7)
        with shop:
            shop.load(given.rps)
            time.sleep(given.warmup)
            shop.inject(name)
            time.sleep(given.broken)
            for question in QUESTIONS:
                model.take()
                ask(server, {"question": question, "environment": environment})
                yield [_compact(messages) for messages in model.take()]
    yield from read_logs(server, environment, given.turns)


def read_logs(server: Server, environment: str, turns: int) -> Iterator[list[str]]:
    """Let assistants read everything that was logged, so many pages each; yield the prompts of each."""
    tools = asyncio.run(_tools())
    until = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
    with server.client() as client:
        pages = _pages(client, environment, until)
        number = 0
        while prompts := _one_assistant(pages, tools, environment, until, number, turns):
            yield prompts
            number += 1


def _one_assistant(
    pages: Iterator[tuple[Mapping[str, Any], str]], tools: str, environment: str, until: str, number: int, turns: int
) -> list[str]:
    """Return the prompts of one assistant: before each model call everything that was said so far."""
    messages: list[Message] = [
        {"role": "system", "content": f"{INSTRUCTIONS}\nTools:\n{tools}\nIt is {until}. This is run {number:05d}."},
        {"role": "user", "content": f"{QUESTIONS[number % len(QUESTIONS)]} Look at {environment}."},
    ]
    prompts = []
    for turn in range(turns):
        prompts.append(_compact(messages))
        asked = next(pages, None)
        if asked is None:
            return prompts if turn else []
        arguments, text = asked
        call = {"id": f"call_{secrets.token_hex(6)}", "name": "search_logs", "arguments": arguments}
        messages.append({"role": "assistant", "content": f"Step {turn}: look further back.", "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": text})
    return prompts


def _pages(client: httpx.Client, environment: str, until: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield the log, newest first, as arguments of a tool and what it returns, until there is no more."""
    seen: set[int] = set()
    cursor = ""
    while True:
        query: dict[str, str | int] = {"environment": environment, "to": until, "limit": _PAGE}
        query |= {"before": cursor} if cursor else {}
        reply = client.get("/query/logs", params=query)
        reply.raise_for_status()
        body = reply.json()
        ids = {int(line["id"]) for line in body["lines"]}
        if ids & seen:
            raise SystemExit("a log line was read twice: the corpus would be easier than it says")
        seen |= ids
        if body["lines"]:
            yield query, json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        cursor = body["cursor"]
        if not cursor:
            return


async def _tools() -> str:
    """Return the tools that the server offers, as a model is told of them."""

    @contextmanager
    def nowhere(headers: Mapping[str, str]) -> Iterator[Any]:
        raise AssertionError("no tool is called here")
        yield

    connect: Callable[..., Any] = nowhere
    tools = await build_mcp(connect).list_tools()
    return json.dumps([tool.model_dump(mode="json", exclude_none=True) for tool in tools], ensure_ascii=False)


def _compact(messages: list[Message]) -> str:
    return json.dumps(messages, ensure_ascii=False, separators=(",", ":"))


def read_corpus(path: Path) -> list[list[str]]:
    """Return the runs of a recording, each the prompts of its model calls."""
    text = zstandard.ZstdDecompressor().stream_reader(path.open("rb")).read().decode()
    return [json.loads(line) for line in text.splitlines()]


def main() -> None:
    """Record and say how much it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault", nargs="*", choices=list(FAULTS), default=["bad-deploy", "slow-dependency", "none"])
    parser.add_argument("--rps", type=float, default=20.0, help="customers per second")
    parser.add_argument("--warmup", type=float, default=12.0, help="seconds of healthy work before the fault")
    parser.add_argument("--broken", type=float, default=15.0, help="seconds between the fault and the questions")
    parser.add_argument("--turns", type=int, default=9, help="pages that one assistant reads")
    parser.add_argument("--out", type=Path, default=Path("shop-prompts.jsonl.zst"))
    given = parser.parse_args()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    runs: list[list[str]] = []
    with scripted_model() as model, start_server() as server:
        for name in given.fault:
            before = len(runs)
            runs += [run for run in record_fault(server, model, name, given) if run]
            size = sum(len(prompt) for run in runs[before:] for prompt in run)
            print(f"{name}: {len(runs) - before} runs, {size / 1e6:.1f} MB of prompts", flush=True)
    text = "".join(json.dumps(run, ensure_ascii=False) + "\n" for run in runs)
    given.out.write_bytes(zstandard.ZstdCompressor(level=10, threads=1).compress(text.encode()))
    print(f"{len(runs)} runs are in {given.out}, {given.out.stat().st_size / 1e6:.1f} MB as packed here")


if __name__ == "__main__":
    main()
