"""The embedder and the chat models that the settings name."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from domain.embedding import MAX_DIMENSION, Embedder
from domain.errors import ModelError, SettingsError
from domain.settings import Settings

if TYPE_CHECKING:
    from inference.model import ServedModel
    from inference.wire import Wire

logger = logging.getLogger(__name__)

type Role = Literal["plan", "explain", "judge"]


def build_embedder(settings: Settings) -> Embedder | None:
    """Return the embedder of CAUSEGRAPH_EMBEDDER; None for `none`. Nothing is loaded or connected before its first use.

    Raises SettingsError for a name that is not known.
    """
    kind, _, model = settings.embedder.partition(":")
    name, _, dimension = model.rpartition("/")
    sized = bool(name) and dimension.isdecimal() and 0 < int(dimension) <= MAX_DIMENSION
    match kind:
        case "none" if not model:
            return None
        case "builtin" if not model:
            from inference.minilm import MiniLM

            return MiniLM()
        case "ollama" if sized:
            from inference.ollama import OllamaEmbedder

            return OllamaEmbedder(settings.ollama_url, name, int(dimension))
        case "openai" if sized:
            from inference.openai_embedder import OpenAIEmbedder

            url = _address(settings.chat_url, "CAUSEGRAPH_CHAT_URL")
            return OpenAIEmbedder(url, name, int(dimension), settings.chat_key)
    raise SettingsError(
        f"CAUSEGRAPH_EMBEDDER={settings.embedder} is not known: it is `builtin`, `none`, `ollama:MODEL/DIMENSION` or "
        "`openai:MODEL/DIMENSION`."
    )


@dataclass(frozen=True, slots=True)
class ModelName:
    """A model as a setting names it: `ollama:MODEL` or `openai:MODEL`, with `@URL` for a server of its own."""

    kind: Literal["ollama", "openai"]
    model: str
    url: str
    own_server: bool

    @classmethod
    def read(cls, setting: str, text: str, settings: Settings) -> ModelName | None:
        """Read a setting; None for `none` and for nothing. Raises SettingsError."""
        if text in ("", "none"):
            return None
        kind, _, rest = text.partition(":")
        model, at, url = rest.partition("@")
        if kind not in ("ollama", "openai") or not model or (at and not url):
            raise SettingsError(
                f"{setting}={text} is not known: it is `none`, `ollama:MODEL` or `openai:MODEL`, with `@URL` for a server "
                "of its own."
            )
        usual = settings.ollama_url if kind == "ollama" else settings.chat_url
        place = "CAUSEGRAPH_OLLAMA_URL" if kind == "ollama" else "CAUSEGRAPH_CHAT_URL"
        known: Literal["ollama", "openai"] = "ollama" if kind == "ollama" else "openai"
        return cls(known, model, _address(url or usual, setting if url else place), bool(url))


class ChatModels:
    """The chat models of a process, by what they are for. Nothing is connected before its first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        chat = ModelName.read("CAUSEGRAPH_CHAT_MODEL", settings.chat_model, settings)
        plan = ModelName.read("CAUSEGRAPH_PLAN_MODEL", settings.plan_model, settings) or chat
        explain = ModelName.read("CAUSEGRAPH_EXPLAIN_MODEL", settings.explain_model, settings) or chat
        judge = ModelName.read("CAUSEGRAPH_JUDGE_MODEL", settings.judge_model, settings)
        self._fallback = ModelName.read("CAUSEGRAPH_FALLBACK_MODEL", settings.fallback_model, settings)
        self._names: dict[Role, ModelName | None] = {"plan": plan, "explain": explain, "judge": judge}

    def has(self, role: Role) -> bool:
        """Say whether there is a model for a role."""
        return self._names[role] is not None

    def name_of(self, role: Role) -> str:
        """Return the setting's word for the model of a role, "" where none is set."""
        name = self._names[role]
        return f"{name.kind}:{name.model}" if name else ""

    def for_role(self, role: Role) -> tuple[ServedModel, ...]:
        """Return the model of a role and the one to ask where that one fails; empty where none is set."""
        name = self._names[role]
        if name is None:
            return ()
        # What one judge says is not what another would: there is no second one.
        names = (name,) if role == "judge" else (name, self._fallback)
        return tuple(self._models[one] for one in dict.fromkeys(names) if one is not None)

    async def run(self, stop: asyncio.Event) -> None:
        """Load the models, so that the first question need not wait for it, and hold them until `stop` is set."""
        if any(self._names.values()):
            for model in self._models.values():
                try:
                    await model.load()
                except ModelError as exc:
                    logger.warning("A language model could not be loaded.", extra={"reason": str(exc)})
        await stop.wait()

    async def close(self) -> None:
        """Close the connections that were opened."""
        if "_models" in self.__dict__:
            for model in self._models.values():
                await model.close()

    @cached_property
    def _models(self) -> dict[ModelName, ServedModel]:
        # Here, since the import takes a second that who sets no model need not wait.
        named = {name for name in (*self._names.values(), self._fallback) if name is not None}
        return {name: build_model(name, self._settings) for name in named}


def build_model(name: ModelName, settings: Settings) -> ServedModel:
    """Return one model with the bounds of the settings."""
    from inference.http import ModelServer
    from inference.model import ServedModel
    from inference.ollama_chat import OllamaChat
    from inference.openai_chat import OpenAIChat
    from inference.wire import Deadlines

    first, total = settings.chat_first_seconds, settings.chat_budget_seconds
    # The key is that of one server: it is not shown to another.
    key = settings.chat_key if name.kind == "openai" and not name.own_server else ""
    server = ModelServer(name.url, name.model, Deadlines(first=first, idle=first, total=total), key)
    wire: Wire = OllamaChat(server, settings.chat_context_tokens) if name.kind == "ollama" else OpenAIChat(server)
    return ServedModel(
        wire,
        concurrency=settings.chat_concurrency,
        load_seconds=settings.chat_load_seconds,
        context_tokens=settings.chat_context_tokens,
        answer_tokens=min(settings.chat_answer_tokens, settings.chat_context_tokens // 2),
        total_seconds=total,
    )


def _address(url: str, setting: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"{setting}: {url or 'nothing'!r} is not the address of a server, `http://host:port`.")
    return url.rstrip("/")
