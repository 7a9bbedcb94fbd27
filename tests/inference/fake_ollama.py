"""A server that answers as Ollama 0.33 does, word for word where it fails, over real HTTP; also by its OpenAI face.

What it says was compared with exchanges recorded from a real server: see test_recorded.py. Replies can be scripted:
`server.script(Fault("cut", 8), "a text", {"json": 1})`; without a script a chat is answered with the smallest instance of
the schema that was asked for, or an echo.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DIMENSION = 8
CONTEXT = 4096
EMBED_TOKENS = 512
CAPABILITIES = {
    "tiny": {"completion", "tools"},
    "tiny-think": {"completion", "tools", "thinking"},
    "emb": {"embedding"},
}
_COUNTS = {
    "total_duration": 10_000_000,
    "load_duration": 1_000_000,
    "prompt_eval_duration": 2_000_000,
    "eval_duration": 7_000_000,
}
_FLOAT_OPTIONS = ("temperature", "top_p", "min_p")
_INTEGER_OPTIONS = ("num_predict", "num_ctx", "seed", "top_k")


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to fail: `busy`, `load_fail`, `cut` (n tokens), `midstream`, `eof` (after n pieces), `think_only`, `empty`,
    `slow` (n seconds before anything), `stall` (n seconds after the first piece), `unread` (a prompt cut in silence), `html`,
    `garbage` (a line that is no JSON)."""

    kind: str
    amount: float = 0.0


@dataclass(frozen=True, slots=True)
class Chat:
    """A reply to be written: the pieces of its text, and how it ends."""

    pieces: tuple[str, ...]
    thinking: str
    reason: str
    prompt_tokens: int
    fault: Fault = Fault("")

    @property
    def tokens(self) -> int:
        return len(self.pieces) + (count_tokens(self.thinking) if self.thinking else 0)


type Scripted = str | Mapping[str, Any] | Fault | Callable[[dict[str, Any]], Any]


class FakeOllama(ThreadingHTTPServer):
    """Knows the models of CAPABILITIES. `replies` are taken one by one before it answers by itself: (status, body)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies: list[tuple[int, str]] = []
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.headers: list[Mapping[str, str]] = []
        self.loaded: dict[str, int] = {}
        self.loads = 0
        self.load_seconds = 0.0
        self.old = False  # from before `/api/embed`
        self.responder: Callable[[dict[str, Any]], Any] | None = None
        self.at_work = 0
        self.most_at_work = 0
        self.guard = threading.Lock()
        self._script: deque[Scripted] = deque()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def script(self, *replies: Scripted) -> None:
        """Answer the next chats like this, in this order."""
        self._script.extend(replies)

    def next_reply(self, body: dict[str, Any]) -> Any:
        with self.guard:
            held = self._script.popleft() if self._script else self.responder
        return held(body) if callable(held) else held

    def load(self, model: str, context: int) -> bool:
        """Load a model unless it is; another context loads it anew. False if the client left meanwhile."""
        with self.guard:
            if self.loaded.get(model) == context:
                return True
            self.loads += 1
        time.sleep(self.load_seconds)
        with self.guard:
            self.loaded[model] = context
        return True


class _Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class _Post:
    """A request that was read."""

    path: str
    body: dict[str, Any]
    v1: bool = field(init=False)

    def __post_init__(self) -> None:
        self.v1 = self.path.startswith("/v1/")


class _Handler(BaseHTTPRequestHandler):
    server: FakeOllama
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        tags = [_tag(name) for name in CAPABILITIES]
        listed = [
            {"id": f"{name}:latest", "object": "model", "created": 0, "owned_by": "library"} for name in CAPABILITIES
        ]
        known: dict[str, Any] = {
            "/api/version": {"version": "0.33.0"},
            "/api/tags": {"models": tags},
            "/v1/models": {"object": "list", "data": listed},
        }
        if self.path in known:
            self._json(200, known[self.path])
        elif self.path == "/":
            self._text(200, "Ollama is running")
        elif self.path == "/api/chat":
            self._text(405, "405 method not allowed")
        else:
            self._text(404, "404 page not found")

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            with suppress(BrokenPipeError, ConnectionResetError):
                self._post(raw)
        except _Refusal as refusal:
            kinds = {400: "invalid_request_error", 404: "not_found_error"}
            error: Any = str(refusal)
            if self.path.startswith("/v1/"):
                error = {"message": error, "type": kinds.get(refusal.status, "api_error"), "param": None, "code": None}
            with suppress(BrokenPipeError, ConnectionResetError):
                self._json(refusal.status, {"error": error})

    def _post(self, raw: bytes) -> None:
        known = ("/api/show", "/api/chat", "/api/embed", "/api/embeddings", "/v1/chat/completions", "/v1/embeddings")
        if self.path not in known or (self.server.old and self.path == "/api/embed"):
            return self._text(404, "404 page not found")
        if not raw:
            raise _Refusal(400, "missing request body")
        try:
            post = _Post(self.path, json.loads(raw))
        except ValueError as exc:
            raise _Refusal(
                400, f"invalid character '{raw[1:2].decode()}' looking for beginning of object key string"
            ) from exc
        with self.server.guard:
            self.server.asked.append(post.body)
            self.server.paths.append(self.path)
            self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        if self.server.replies:
            status, text = self.server.replies.pop(0)
            return self._text(status, text, "application/json" if text.startswith("{") else "text/plain")
        _check_model(post)
        if post.path == "/api/show":
            return self._json(
                200, {"modelfile": "", "template": "", "details": {}, "model_info": {}, "capabilities": []}
            )
        if "embed" in post.path:
            return self._json(200, _embed(post))
        with self.server.guard:
            self.server.at_work += 1
            self.server.most_at_work = max(self.server.most_at_work, self.server.at_work)
        try:
            return self._chat(post)
        finally:
            with self.server.guard:
                self.server.at_work -= 1

    def _chat(self, post: _Post) -> None:
        _check_chat(post)
        model, context = _name(post.body), (post.body.get("options") or {}).get("num_ctx") or CONTEXT
        if not post.body.get("messages"):
            return self._load(post, model, context)
        reply = self.server.next_reply(post.body)
        fault = reply if isinstance(reply, Fault) else Fault("")
        match fault.kind:
            case "busy":
                raise _Refusal(503, "server busy, please try again.  maximum pending requests exceeded")
            case "load_fail":
                raise _Refusal(500, "llama-server process has terminated: exit status 1: error: failed to load model")
            case "html":
                return self._text(502, "<html>Bad Gateway</html>", "text/html")
            case "slow":
                time.sleep(fault.amount)
        self.server.load(model, context)
        chat = _write(post, reply, fault, context)
        if post.v1:
            return self._chat_v1(post, chat)
        return self._chat_native(post, chat)

    def _load(self, post: _Post, model: str, context: int) -> None:
        if post.v1:
            raise _Refusal(400, "[] is too short - 'messages'")
        reason = "load"
        if post.body.get("keep_alive") == 0:
            self.server.loaded.pop(model, None)
            reason = "unload"
        elif (reply := self.server.next_reply(post.body) if self.server.load_seconds < 0 else None) is not None:
            raise _Refusal(500, str(reply))
        else:
            self.server.load(model, context)
        message = {"role": "assistant", "content": ""}
        self._json(
            200,
            {
                "model": post.body["model"],
                "created_at": _now(),
                "message": message,
                "done": True,
                "done_reason": reason,
            },
        )

    def _chat_native(self, post: _Post, chat: Chat) -> None:
        head = {"model": post.body["model"], "created_at": _now()}
        counts = _COUNTS | {"prompt_eval_count": chat.prompt_tokens, "eval_count": chat.tokens}
        end = {"done": True, "done_reason": chat.reason, **counts}
        broken = chat.fault.kind in ("midstream", "eof")
        if post.body.get("stream") is False:
            if broken:
                raise _Refusal(500, "an error was encountered while running the model: unexpected EOF")
            thought = {"thinking": chat.thinking} if chat.thinking else {}
            message = {"role": "assistant", "content": "".join(chat.pieces), **thought}
            return self._json(200, {**head, "message": message, **end})
        self._begin("application/x-ndjson")
        said = [{"content": "", "thinking": chat.thinking}] if chat.thinking else []
        for number, delta in enumerate([*said, *({"content": piece} for piece in chat.pieces)]):
            if self._breaks(
                chat, number, b'{"error":"an error was encountered while running the model: unexpected EOF"}\n'
            ):
                return None
            self._line({**head, "message": {"role": "assistant", **delta}, "done": False})
        if not broken:
            self._line({**head, "message": {"role": "assistant", "content": ""}, **end})
        return self._end()

    def _chat_v1(self, post: _Post, chat: Chat) -> None:
        head = {"id": "chatcmpl-1", "created": 1, "model": post.body["model"], "system_fingerprint": "fp_ollama"}
        usage = {"prompt_tokens": chat.prompt_tokens, "completion_tokens": chat.tokens}
        usage["total_tokens"] = sum(usage.values())
        if not post.body.get("stream"):
            thought = {"reasoning": chat.thinking} if chat.thinking else {}
            message = {"role": "assistant", "content": "".join(chat.pieces), **thought}
            choice = {"index": 0, "message": message, "finish_reason": chat.reason}
            return self._json(200, {**head, "object": "chat.completion", "choices": [choice], "usage": usage})
        self._begin("text/event-stream")
        head["object"] = "chat.completion.chunk"
        deltas: list[dict[str, str]] = [{"content": "", "reasoning": chat.thinking}] if chat.thinking else []
        for number, delta in enumerate([*deltas, *({"content": piece} for piece in chat.pieces)]):
            if self._breaks(chat, number, b'data: {"error":{"message":"unexpected EOF","type":"api_error"}}\n\n'):
                return None
            self._event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        self._event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": chat.reason}]})
        if (post.body.get("stream_options") or {}).get("include_usage"):
            self._event({**head, "choices": [], "usage": usage})
        self._chunk(b"data: [DONE]\n\n")
        return self._end()

    def _breaks(self, chat: Chat, number: int, error: bytes) -> bool:
        """Fail in the middle, if that is what was asked for."""
        match chat.fault.kind:
            case "stall" if number == 1:
                time.sleep(chat.fault.amount)
            case "garbage" if number == 1:
                self._chunk(b"data: {nope\n\n" if self.path.startswith("/v1/") else b"<nope>\n")
            case "midstream" if number == int(chat.fault.amount):
                self._chunk(error)
                self._end()
                return True
            case "eof" if number == int(chat.fault.amount):
                self._end()
                return True
        return False

    # -- writing -------------------------------------------------------------------------------------------------------

    def _begin(self, content_type: str) -> None:
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("transfer-encoding", "chunked")
        self.send_header("connection", "close")  # clients that nobody closes leave nothing open
        self.end_headers()

    def _line(self, value: Any) -> None:
        self._chunk(json.dumps(value).encode() + b"\n")

    def _event(self, value: Any) -> None:
        self._chunk(b"data: " + json.dumps(value).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _end(self) -> None:
        self.wfile.write(b"0\r\n\r\n")

    def _json(self, status: int, value: Any) -> None:
        kind = (
            "application/json" if self.path.startswith("/v1/") and status == 200 else "application/json; charset=utf-8"
        )
        self._text(status, json.dumps(value), kind)

    def _text(self, status: int, text: str, kind: str = "text/plain") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(text.encode())))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


# -- what is refused ---------------------------------------------------------------------------------------------------


def _name(body: Mapping[str, Any]) -> str:
    return str(body.get("model") or "").removesuffix(":latest")


def _check_model(post: _Post) -> None:
    name = str(post.body.get("model") or "")
    if not name:
        raise _Refusal(400, "model is required")
    if _name(post.body) in CAPABILITIES:
        return
    if "chat" in post.path:
        raise _Refusal(404, f"model '{name}' not found")
    if post.path == "/api/show":
        raise _Refusal(404, f"model '{name}:latest' not found")
    raise _Refusal(404, f'model "{name}" not found, try pulling it first')


def _check_chat(post: _Post) -> None:
    body, name = post.body, str(post.body["model"])
    capabilities = CAPABILITIES[_name(body)]
    if "completion" not in capabilities:
        raise _Refusal(400, f'"{name}" does not support chat')
    if post.v1:
        return
    kept = body.get("keep_alive")
    if isinstance(kept, str) and not re.fullmatch(r"-?(\d+(\.\d+)?(ns|us|ms|s|m|h))+|-?\d+", kept):
        raise _Refusal(400, f'time: invalid duration "{kept}"')
    if any(not isinstance(message.get("content", ""), str) for message in body.get("messages") or ()):
        raise _Refusal(400, "json: cannot unmarshal array into Go struct field Alias.content of type string")
    think = body.get("think")
    if think not in (None, True, False, "high", "medium", "low", "max"):
        raise _Refusal(400, f'invalid think value: "{think}" (must be "high", "medium", "low", "max", true, or false)')
    if think and "thinking" not in capabilities:
        raise _Refusal(400, f'"{name}" does not support thinking')
    for option, value in (body.get("options") or {}).items():
        if option in _INTEGER_OPTIONS and not isinstance(value, int):
            raise _Refusal(500, f'option "{option}" must be of type integer')
        if option in _FLOAT_OPTIONS and not isinstance(value, int | float):
            raise _Refusal(500, f'option "{option}" must be of type float32')
    form = body.get("format")
    if isinstance(form, str) and form not in ("", "json"):
        raise _Refusal(500, f'invalid format: "\\"{form}\\""; expected "json" or a valid JSON Schema object')


# -- what is answered --------------------------------------------------------------------------------------------------


def _write(post: _Post, reply: Any, fault: Fault, context: int) -> Chat:
    body = post.body
    prompt = _read_prompt(body, context, fault)
    schema = body.get("format") if not post.v1 else _schema_v1(body)
    if isinstance(reply, str):
        text = reply
    elif reply is not None and not isinstance(reply, Fault):
        text = json.dumps(reply)
    elif isinstance(schema, dict) and schema:
        text = json.dumps(example(schema, schema))
    else:
        text = "You said: " + str(body["messages"][-1].get("content"))[:60]
    pieces = tuple(re.findall(r"\s*\S+|\s+$", text)) or ("",)
    thinks = "thinking" in CAPABILITIES[_name(body)] and body.get("think") is not False
    bound = body.get("max_tokens", -1) if post.v1 else (body.get("options") or {}).get("num_predict", -1)
    if fault.kind == "cut":
        bound = int(fault.amount)
    if fault.kind == "think_only":
        return Chat(("",), "I wonder " * 20, "length", prompt)
    if fault.kind == "empty":
        return Chat(("",), "", "stop", prompt)
    cut = 0 < bound < len(pieces)
    return Chat(
        pieces[:bound] if cut else pieces, "Let me think." if thinks else "", "length" if cut else "stop", prompt, fault
    )


def _schema_v1(body: Mapping[str, Any]) -> Any:
    form = body.get("response_format") or {}
    return (form.get("json_schema") or {}).get("schema")


def _read_prompt(body: Mapping[str, Any], context: int, fault: Fault) -> int:
    """Return how many tokens are read: the oldest messages are dropped in silence, unless `truncate` is false."""
    kept = list(body["messages"])

    def cost() -> int:
        return sum(count_tokens(str(message.get("content") or "")) + 4 for message in kept)

    if body.get("truncate", True):
        while cost() > context and sum(message["role"] != "system" for message in kept) > 1:
            kept.pop(next(at for at, message in enumerate(kept) if message["role"] != "system"))
    if cost() > context:
        said = f"request ({cost()} tokens) exceeds the available context size ({context} tokens), try increasing it"
        error = {"code": 400, "message": said, "type": "exceed_context_size_error", "n_prompt_tokens": cost()}
        raise _Refusal(400, json.dumps({"error": error}))
    return 64 if fault.kind == "unread" else cost()


def _embed(post: _Post) -> dict[str, Any]:
    if "embedding" not in CAPABILITIES[_name(post.body)]:
        raise _Refusal(501, "This server does not support embeddings. Start it with `--embeddings`")
    legacy = post.path == "/api/embeddings"
    given = post.body.get("prompt") if legacy else post.body.get("input")
    texts = ([given] if given else []) if isinstance(given, str) else given or []
    if not all(isinstance(text, str) for text in texts):
        raise _Refusal(400, "invalid input type")
    if post.v1 and not texts:
        raise _Refusal(400, "invalid input")
    if any(count_tokens(text) > EMBED_TOKENS for text in texts) and (legacy or post.body.get("truncate") is False):
        raise _Refusal(500 if legacy else 400, "the input length exceeds the context length")
    vectors = [[float(len(text) + at) for at in range(DIMENSION)] for text in texts]
    if legacy:
        return {"embedding": vectors[0] if vectors else []}
    if post.v1:
        data = [{"object": "embedding", "embedding": v, "index": at} for at, v in enumerate(vectors)]
        return {
            "object": "list",
            "data": data,
            "model": post.body["model"],
            "usage": {"prompt_tokens": 1, "total_tokens": 1},
        }
    counts = {"total_duration": 1, "load_duration": 1, "prompt_eval_count": 1} if vectors else {}
    return {"model": post.body["model"], "embeddings": vectors, **counts}


def example(schema: Any, root: Any) -> Any:
    """Return the smallest instance of what pydantic writes as JSON Schema."""
    if "$ref" in schema:
        target = root
        for step in schema["$ref"].lstrip("#/").split("/"):
            target = target[step]
        return example(target, root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return example(schema[several][0], root)
    match schema.get("type"):
        case "object":
            wanted = schema.get("required", [])
            return {name: example(held, root) for name, held in schema.get("properties", {}).items() if name in wanted}
        case "array":
            return [example(schema.get("items", {}), root) for _ in range(schema.get("minItems", 0))]
        case "integer" | "number":
            return schema.get("minimum", 0)
        case "boolean":
            return False
        case "null":
            return None
    return ("fake" + "x" * schema.get("minLength", 0))[: schema.get("maxLength", 1_000)]


def count_tokens(text: str) -> int:
    return max(1, -(-len(text) // 4))


def _tag(name: str) -> dict[str, Any]:
    return {
        "name": f"{name}:latest",
        "model": f"{name}:latest",
        "modified_at": _now(),
        "size": 1,
        "digest": "0" * 64,
        "details": {},
    }


def _now() -> str:
    return "2026-11-20T18:30:23.587435518Z"


@contextmanager
def running() -> Iterator[FakeOllama]:
    """A server for the time of a block."""
    with FakeOllama() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()
