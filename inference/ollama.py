"""Embeddings of an Ollama server, through its own client, with its ways of failing made plain."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
import numpy as np
from numpy.typing import NDArray
from ollama import AsyncClient, ResponseError

from domain.errors import EmbeddingError

_BATCH = 64
_SECONDS = 120.0  # the first request may have to load the model
# Long enough for 256 tokens of anything; the server would cut what is longer in silence, or refuse it.
_CHARACTERS = 1_000


class OllamaEmbedder:
    """An `Embedder` (domain.embedding) on a model of an Ollama server. Texts are cut to 1,000 characters."""

    def __init__(self, url: str, model: str, dimension: int) -> None:
        self._client = AsyncClient(host=url, timeout=_SECONDS)
        self._url = url
        self._model = model
        self.name = f"ollama/{model}"
        self.dimension = dimension

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit vector per text, shape (len(texts), dimension); raises EmbeddingError."""
        parts = [await self._embed(texts[at : at + _BATCH]) for at in range(0, len(texts), _BATCH)]
        return np.concatenate([np.zeros((0, self.dimension), np.float32), *parts])

    async def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        # An empty text gets no vector at all from some versions, which would shift all that follow.
        given = [text[:_CHARACTERS].strip() or "(empty)" for text in texts]
        try:
            reply = await self._client.embed(self._model, given)
        except ResponseError as exc:
            raise EmbeddingError(self._explain(exc)) from exc
        except (ConnectionError, httpx.HTTPError) as exc:
            raise EmbeddingError(f"Ollama at {self._url} does not answer: {exc or type(exc).__name__}.") from exc
        found = reply.embeddings
        if len(found) != len(given) or any(len(vector) != self.dimension for vector in found):
            sizes = sorted({len(vector) for vector in found})
            raise EmbeddingError(
                f"{self._model} returned {len(found)} vectors of {sizes} numbers for {len(given)} texts of "
                f"{self.dimension}: write the model's dimension as CAUSEGRAPH_EMBEDDER=ollama:{self._model}/DIMENSION."
            )
        vectors = np.asarray(found, np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(vectors).all() or lengths.min() < 1e-6:
            raise EmbeddingError(f"{self._model} returned vectors that are none (zero, NaN or infinite).")
        return np.asarray(vectors / lengths, np.float32)

    def _explain(self, error: ResponseError) -> str:
        if error.status_code == 404 and "model" in error.error:
            return f"Ollama at {self._url} has no model {self._model}: run `ollama pull {self._model}` there."
        if error.status_code == 404:
            return f"{self._url} is no Ollama server: it knows no /api/embed. Check CAUSEGRAPH_OLLAMA_URL."
        return f"Ollama at {self._url} refused to embed ({error.status_code}): {error.error[:300]}"
