"""Embeddings of an Ollama server, through its own client, with its ways of failing made plain."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
import numpy as np
from numpy.typing import NDArray
from ollama import AsyncClient, ResponseError

from domain.errors import EmbeddingError
from inference.vectors import BATCH, clean_texts, read_vectors

_SECONDS = 120.0  # the first request may have to load the model


class OllamaEmbedder:
    """An `Embedder` (domain.embedding) on a model of an Ollama server. Texts are cut to 1,000 characters."""

    def __init__(self, url: str, model: str, dimension: int) -> None:
        self._client = AsyncClient(host=url, timeout=_SECONDS)
        self._url = url
        self._model = model
        self.name = f"ollama/{model}"
        self.dimension = dimension
        self._old = False

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit vector per text, shape (len(texts), dimension); raises EmbeddingError."""
        parts = [await self._embed(texts[at : at + BATCH]) for at in range(0, len(texts), BATCH)]
        return np.concatenate([np.zeros((0, self.dimension), np.float32), *parts])

    async def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        given = clean_texts(texts)
        try:
            found = await self._ask(given)
        except ResponseError as exc:
            raise EmbeddingError(self._explain(exc)) from exc
        except (ConnectionError, httpx.HTTPError) as exc:
            raise EmbeddingError(f"Ollama at {self._url} does not answer: {exc or type(exc).__name__}.") from exc
        except ValueError as exc:  # no JSON, or none with vectors
            raise EmbeddingError(f"{self._url} replied with something that holds no embeddings.") from exc
        return read_vectors(found, len(given), self.dimension, self._model, "ollama")

    async def _ask(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Ask for all at once; a server from before `/api/embed` is asked for one after the other."""
        if not self._old:
            try:
                return (await self._client.embed(self._model, texts)).embeddings
            except ResponseError as exc:
                if exc.status_code not in (404, 405) or "model" in exc.error:
                    raise
        found = [(await self._client.embeddings(self._model, text)).embedding for text in texts]
        self._old = True
        return found

    def _explain(self, error: ResponseError) -> str:
        if error.status_code == 404 and "model" in error.error:
            return f"Ollama at {self._url} has no model {self._model}: run `ollama pull {self._model}` there."
        if error.status_code == 404:
            return f"{self._url} is no Ollama server: it knows neither /api/embed nor /api/embeddings. Check CAUSEGRAPH_OLLAMA_URL."
        return f"Ollama at {self._url} refused to embed ({error.status_code}): {error.error[:300]}"
