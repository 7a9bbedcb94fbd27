"""What every part that compares texts by meaning asks of an embedder; `inference` provides it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

MAX_DIMENSION = 16_383
"""The longest vector that MariaDB stores."""


class Embedder(Protocol):
    """Turns texts into unit vectors. Two embedders with the same `name` give vectors that can be compared."""

    @property
    def name(self) -> str:
        """The model with its version, such as `all-MiniLM-L6-v2/53aa5117`: stored beside every vector."""
        ...

    @property
    def dimension(self) -> int:
        """How many numbers a vector has."""
        ...

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit vector per text, shape (len(texts), dimension); raises EmbeddingError."""
        ...
