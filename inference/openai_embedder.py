"""Embeddings of any OpenAI-compatible server, over `/embeddings`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.errors import EmbeddingError, ModelError
from inference.http import ModelServer
from inference.vectors import BATCH, clean_texts, read_vectors
from inference.wire import Deadlines

_SECONDS = 120.0


class OpenAIEmbedder:
    """An `Embedder` (domain.embedding) on a model of an OpenAI-compatible server; its address ends with `/v1`."""

    def __init__(self, url: str, model: str, dimension: int, key: str = "") -> None:
        self._server = ModelServer(url, model, Deadlines(), key)
        self._model = model
        self.name = f"openai/{model}"
        self.dimension = dimension

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit vector per text, shape (len(texts), dimension); raises EmbeddingError."""
        parts = [await self._embed(texts[at : at + BATCH]) for at in range(0, len(texts), BATCH)]
        return np.concatenate([np.zeros((0, self.dimension), np.float32), *parts])

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()

    async def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        given = clean_texts(texts)
        try:
            reply = await self._server.post("/embeddings", {"model": self._model, "input": given}, _SECONDS)
        except ModelError as exc:
            raise EmbeddingError(str(exc)) from exc
        return read_vectors(_in_order(reply.get("data")), len(given), self.dimension, self._model, "openai")


def _in_order(data: Any) -> list[Any]:
    try:
        return [item["embedding"] for item in sorted(data, key=lambda item: item["index"])]
    except (TypeError, KeyError) as exc:
        raise EmbeddingError("The server's reply holds no embeddings.") from exc
