"""What model servers say when they fail, as errors of ours.

Ollama wraps the error of the program that runs the model as JSON inside a string inside JSON; OpenAI's shape is an object.
The wordings are those that Ollama 0.33 and llama-server 0.7 were seen to use.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from domain.errors import (
    ContextOverflow,
    ModelBusy,
    ModelError,
    ModelLoadFailed,
    ModelMissing,
    ModelRefused,
    ModelUnavailable,
    ReplyBroken,
)

_NESTED = 4
_SHOWN = 300


def name_failure(status: int, body: str, *, model: str, url: str) -> ModelError:
    """Return the error that a server's refusal means; `status` is 0 for an error inside a stream that began well."""
    message, error = _unwrap(body)
    said, told = message[:_SHOWN].strip(), message.lower()
    code = error.get("code")
    if not status and isinstance(code, int):
        status = code
    if status in (429, 503):
        return ModelBusy(f"{url} is busy: {said}")
    if status == 404 and "model" in told:
        return ModelMissing(f"{url} has no model {model}: pull it there (`ollama pull {model}`), or correct its name.")
    if status == 404:
        return ModelRefused(f"{url} is no model server of the kind that is set: it answers {said!r}.")
    if status in (401, 403):
        return ModelRefused(f"{url} does not accept CAUSEGRAPH_CHAT_KEY: {said}")
    if error.get("type") == "exceed_context_size_error" or "context length" in told or "context size" in told:
        return ContextOverflow(f"{model} does not read that much: {said}")
    if "terminated" in told or "failed to load" in told or "runner to start" in told:
        return ModelLoadFailed(f"{url} could not load {model}: {said}")
    if status in (408, 502, 504):
        return ModelUnavailable(f"{url} cannot be reached ({status}): {said}")
    if 400 <= status < 500 or status == 501 or "must be of type" in told or told.startswith("invalid format"):
        return ModelRefused(f"{url} does not take the request ({status}): {said}")
    return ReplyBroken(f"{model} broke off: {said or 'the reply ended early'}")


def _unwrap(body: str) -> tuple[str, Mapping[str, Any]]:
    held: Any = body
    for _ in range(_NESTED):
        if isinstance(held, str):
            try:
                held = json.loads(held)
            except ValueError:
                return held, {}
        if not isinstance(held, dict):
            break
        if "error" not in held:
            return str(held.get("message", held)), held
        held = held["error"]
    return str(held), {}
