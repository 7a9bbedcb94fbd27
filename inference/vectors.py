"""What every embedder on a server does with texts before they are sent, and with vectors when they come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain.errors import EmbeddingError

BATCH = 64
# Long enough for 256 tokens of anything; servers cut what is longer in silence, or refuse it.
_CHARACTERS = 1_000


def clean_texts(texts: Sequence[str]) -> list[str]:
    """Return texts that every server gives a vector to: an empty one gets none from some, which shifts all that follow."""
    return [text[:_CHARACTERS].strip() or "(empty)" for text in texts]


def read_vectors(found: Sequence[Any], wanted: int, dimension: int, model: str, kind: str) -> NDArray[np.float32]:
    """Return unit vectors, shape (wanted, dimension); raises EmbeddingError for anything that is none."""
    if len(found) != wanted or any(not isinstance(v, Sequence) or len(v) != dimension for v in found):
        sizes = sorted({len(vector) for vector in found if isinstance(vector, Sequence)})
        raise EmbeddingError(
            f"{model} returned {len(found)} vectors of {sizes} numbers for {wanted} texts of {dimension}: write the "
            f"model's dimension as CAUSEGRAPH_EMBEDDER={kind}:{model}/DIMENSION."
        )
    try:
        vectors = np.asarray(found, np.float32)
    except (TypeError, ValueError) as exc:
        raise EmbeddingError(f"{model} returned vectors that are not made of numbers.") from exc
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(vectors).all() or (lengths.size and lengths.min() < 1e-6):
        raise EmbeddingError(f"{model} returned vectors that are none (zero, NaN or infinite).")
    return np.asarray(vectors / lengths, np.float32)
