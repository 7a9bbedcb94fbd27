"""The prompts of a run, one step after the other: of each only what is new since a prompt before it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from storage.prompt_keeper import NewMessages, PromptKeeper
from tracing.view import ModelCall, TraceView

_STEPS = 100
_BACK = 8  # prompts before one that it may go on from
_SHOWN = 20_000  # characters of a message


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a prompt; `cut` says how many characters of it are not shown."""

    role: str
    text: str
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """The prompt of one model call: `shared` messages are as in a step before, `messages` are new. None: it is not kept here."""

    number: int
    call: ModelCall
    shared: int
    messages: tuple[Message, ...] | None


async def read_steps(view: TraceView, keeper: PromptKeeper | None) -> list[Step]:
    """Return the first hundred model calls of a run with what is new in each prompt."""
    steps: list[Step] = []
    before: list[str] = []
    for number, call in enumerate(view.model_calls[:_STEPS], start=1):
        new = await keeper.read_new(call.prompt, before[-_BACK:]) if keeper and call.prompt else None
        steps.append(Step(number, call, new.shared if new else 0, _messages(new)))
        if new is not None:
            before.append(call.prompt)
    return steps


def _messages(new: NewMessages | None) -> tuple[Message, ...] | None:
    return None if new is None else tuple(_read(content) for content in new.messages)


def _read(content: bytes) -> Message:
    text = content.decode("utf-8", "replace")
    try:
        held = json.loads(text)
    except ValueError:
        return _message("text", text)
    if not isinstance(held, dict):
        return _message("text", text)
    role = str(held.get("role", "text"))
    said = held.get("content")
    rest = {name: value for name, value in held.items() if name not in ("role", "content")}
    parts = [said if isinstance(said, str) else _indented(said) if said else "", _indented(rest) if rest else ""]
    return _message(role, "\n".join(part for part in parts if part))


def _message(role: str, text: str) -> Message:
    return Message(role, text[:_SHOWN], max(0, len(text) - _SHOWN))


def _indented(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)


def steps_of(steps: Sequence[Step], span_id: str) -> list[Step]:
    """Return the steps of one stage."""
    return [step for step in steps if step.call.span_id == span_id]
