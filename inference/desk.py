"""What one investigation asks of models: typed answers or none, within its budget, and a word on what was missing."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from domain.errors import (
    ModelBusy,
    ModelError,
    ModelLoadFailed,
    ModelMissing,
    ModelRefused,
    ModelTimeout,
    ModelUnavailable,
    ReplyCut,
    ReplyInvalid,
)
from inference.budget import Budget
from inference.guard import Guard
from inference.prompts import Prompt
from tracing.trace import current_trace

if TYPE_CHECKING:
    from inference.build import ChatModels, Role
    from inference.model import ServedModel

logger = logging.getLogger(__name__)
# What chat servers call the roles that LangChain names otherwise.
_ROLES = {"human": "user", "ai": "assistant"}

type Keep = Callable[[Sequence[Mapping[str, Any]]], Awaitable[str]]

_PROBLEMS = 5
_SHOWN_REPLY = 2_000
_CHARACTERS_PER_TOKEN = 3
_RULES = 1_000  # characters of what is said beside prompt, schema and text
# After one of these a model is not asked again in the same investigation: the next call would only wait as long.
_GIVEN_UP = (ModelBusy, ModelLoadFailed, ModelMissing, ModelRefused, ModelTimeout, ModelUnavailable)


class ModelDesk:
    """Asks the model of a role, and its fallback where it fails. Never raises ModelError: without an answer it is None.

    `lost` says what was not answered and why, a line for each.
    """

    def __init__(self, models: ChatModels, guard: Guard, budget: Budget, keep: Keep | None = None) -> None:
        self._models = models
        self._keep = keep
        self._given_up: dict[str, str] = {}
        self.guard = guard
        self.budget = budget
        self.lost: list[str] = []

    def has(self, role: Role) -> bool:
        """Say whether a model is set for a role."""
        return self._models.has(role)

    def name_of(self, role: Role) -> str:
        """Return which model is set for a role, "" for none."""
        return self._models.name_of(role)

    def room(self, prompt: Prompt, form: type[BaseModel]) -> int:
        """Return about how many characters of text fit into a request."""
        settings = self.budget.settings
        tokens = 0.85 * (settings.chat_context_tokens - settings.chat_answer_tokens)
        fixed = len(prompt.text) + len(json.dumps(form.model_json_schema())) + _RULES
        return max(0, int(tokens * _CHARACTERS_PER_TOKEN) - fixed)

    async def ask[T: BaseModel](
        self, role: Role, prompt: Prompt, form: type[T], text: str, *, what: str, rule: str = "", max_tokens: int = 0
    ) -> T | None:
        """Return a reply of the form, or None. `what` names in `lost` what is missing without it.

        `text` is what the model reads, telemetry in it marked (`Guard.mark`), and `rule` what goes with the marks.
        """
        why = "no model is set"
        for model in self._models.for_role(role):
            if model.model_name in self._given_up:
                why = self._given_up[model.model_name]
                continue
            try:
                return await self._ask(model, prompt, form, text, rule, max_tokens)
            except ModelError as exc:
                # What the server said, and where it is, is for the log and the trace.
                why = str(type(exc)())
                logger.warning("A language model could not be used.", extra={"role": role, "reason": str(exc)})
                if isinstance(exc, _GIVEN_UP):
                    self._given_up[model.model_name] = why
        self.lost.append(f"{what}: {why}")
        return None

    async def _ask[T: BaseModel](
        self, model: ServedModel, prompt: Prompt, form: type[T], text: str, rule: str, max_tokens: int
    ) -> T:
        from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

        schema = form.model_json_schema()
        # The server's grammar holds the form; the model has to see it as well to fill it sensibly.
        told = (
            f"Answer with one JSON object of this schema and nothing else:\n{json.dumps(schema, separators=(',', ':'))}"
        )
        system = "\n\n".join(part for part in (prompt.text, rule, told) if part)
        messages: list[BaseMessage] = [SystemMessage(system), HumanMessage(text)]
        problem = ""
        for _ in range(2):
            reply, finish = await self._call(model, prompt, messages, schema, max_tokens)
            try:
                if finish == "length":
                    raise ReplyCut(f"{model.model_name} did not come to an end within its tokens.")
                return form.model_validate_json(reply)
            except ValidationError as exc:
                problem = _problems(exc)
            except ReplyCut as exc:
                problem, reply = f"{exc} Be shorter.", ""
            messages = [*messages[:2], *self._repair(reply, problem)]
        raise ReplyInvalid(f"{model.model_name} did not answer in the form that was asked for: {problem[:200]}")

    def _repair(self, reply: str, problem: str) -> list[Any]:
        from langchain_core.messages import AIMessage, HumanMessage

        asked = f"That was rejected: {self.guard.clean(problem, 800)}\nSend the corrected JSON object and nothing else."
        said = [AIMessage(self.guard.clean(reply, _SHOWN_REPLY))] if reply else []
        return [*said, HumanMessage(asked)]

    async def _call(
        self, model: ServedModel, prompt: Prompt, messages: list[Any], schema: Any, max_tokens: int
    ) -> tuple[str, str]:
        """Return (the reply, why it ended); whatever comes of it is counted and recorded."""
        bound = max_tokens or model.answer_tokens
        self.budget.check(sum(len(m.content) for m in messages) // _CHARACTERS_PER_TOKEN + bound)
        read = written = 0
        error = ""
        began = time.monotonic()
        facts: dict[str, Any] = {"prompt": prompt.name, "version": prompt.version, "digest": prompt.digest}
        with current_trace().stage("model", "model", **facts) as stage:
            try:
                async with asyncio.timeout(self.budget.seconds_left):
                    message = await model.ainvoke(messages, schema=schema, max_tokens=bound)
                usage = message.usage_metadata
                read, written = (usage["input_tokens"], usage["output_tokens"]) if usage else (0, 0)
                finish = str(message.response_metadata.get("finish_reason", ""))
                stage.note(finish=finish)
                return str(message.content), finish
            except TimeoutError as exc:
                error = f"{model.model_name} was not done when the budget of seconds was."
                raise ModelTimeout(error) from exc
            except ModelError as exc:
                error = str(exc)
                raise
            finally:
                seconds = time.monotonic() - began
                current_trace().model_call(
                    model.model_name,
                    prompt_tokens=read,
                    completion_tokens=written,
                    seconds=round(seconds, 3),
                    cost=self.budget.spend(read, written, seconds),
                    prompt=await self._kept(messages) or prompt.digest,
                    error=error,
                )

    async def _kept(self, messages: list[Any]) -> str:
        """Keep what was asked, for those who review the run; return its id, or nothing where it is not kept."""
        if self._keep is None:
            return ""
        said = [{"role": _ROLES.get(m.type, m.type), "content": str(m.content)} for m in messages]
        return await self._keep(said)


def _problems(exc: ValidationError) -> str:
    errors = exc.errors(include_input=False, include_url=False, include_context=False)[:_PROBLEMS]
    return "; ".join(f"{'.'.join(map(str, error['loc'])) or 'the reply'}: {error['msg']}" for error in errors)
