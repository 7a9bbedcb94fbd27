"""Models of a few megabytes for a real server to run: one that chats, one that embeds. Nothing is trained or fetched.

The chat model has learned which token follows which in made-up incident reports, in closed form: its output head is the truncated
SVD of their log-probabilities, its layers are small noise, so that the whole path of a real model runs. Its words are word-like and
come to an end, and mean nothing. The embedding model is the built-in all-MiniLM-L6-v2 in another file.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.gguf_file import Tensor, Value, write_gguf

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
_WORD = re.compile(r" ?[A-Za-z]+| ?\d+| ?[^\sA-Za-z\d]+|\s+")
_MERGES, _WIDTH, _LAYERS, _HEADS, _KV_HEADS, _CONTEXT = 400, 256, 2, 4, 2, 32_768
_NORMAL, _IS_CONTROL, _UNUSED = 1, 3, 5


def write_chat_model(path: Path, seed: int = 0) -> None:
    """Write the chat model: llama architecture, byte-level BPE, ChatML."""
    texts = list(_reports(random.Random(seed)))  # noqa: S311 - the same texts every time
    merges = _learn_merges(texts)
    tokens = [*CONTROL, *_byte_letters(), *("".join(pair) for pair in merges)]
    numbers = {token: number for number, token in enumerate(tokens)}
    end = numbers["<|im_end|>"]
    learned = _learn_pairs([[numbers[token] for token in row] for row in _split_all(texts, merges)], len(tokens), end)
    told: dict[str, Value] = {
        "general.architecture": "llama",
        "general.name": "tiny-incidents",
        "general.file_type": 1,
        "llama.context_length": _CONTEXT,
        "llama.embedding_length": _WIDTH,
        "llama.block_count": _LAYERS,
        "llama.feed_forward_length": 2 * _WIDTH,
        "llama.attention.head_count": _HEADS,
        "llama.attention.head_count_kv": _KV_HEADS,
        "llama.attention.layer_norm_rms_epsilon": 1e-6,
        "llama.rope.dimension_count": _WIDTH // _HEADS,
        "llama.rope.freq_base": 10_000.0,
        "llama.vocab_size": len(tokens),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [_IS_CONTROL if token in CONTROL else _NORMAL for token in tokens],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in merges],
        "tokenizer.ggml.bos_token_id": numbers["<|endoftext|>"],
        "tokenizer.ggml.eos_token_id": end,
        "tokenizer.ggml.eot_token_id": end,
        "tokenizer.ggml.padding_token_id": numbers["<|endoftext|>"],
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": _TEMPLATE,
    }
    write_gguf(path, told, {**_outer_tensors(*learned), **_noise(np.random.default_rng(seed))})


def _reports(rng: random.Random) -> Iterator[str]:
    services = ("checkout", "payment", "auth", "inventory", "gateway", "search", "orders")
    troubles = ("connection pool exhausted", "error rate rising", "out of memory", "disk full", "lookup failed")
    for _ in range(1_000):
        service, other, trouble = rng.choice(services), rng.choice(services), rng.choice(troubles)
        yield f"The {service} service shows {trouble} because {other} is slow."
        yield f"2026-11-{rng.randint(10, 28)}T{rng.randint(10, 23)}:{rng.randint(10, 59)}:00Z ERROR {service} {trouble}"
        yield json.dumps(
            {"service": service, "headline": trouble, "evidence": [f"E{rng.randint(1, 9)}"], "holds": True}
        )


def _byte_letters() -> list[str]:
    """Return the letter that GPT-2's vocabularies have for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def _words(text: str) -> list[tuple[str, ...]]:
    letters = _byte_letters()
    return [tuple(letters[byte] for byte in word.encode()) for word in _WORD.findall(text)]


def _learn_merges(texts: Sequence[str]) -> list[tuple[str, str]]:
    words = Counter(word for text in texts for word in _words(text))
    merges: list[tuple[str, str]] = []
    while len(merges) < _MERGES:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in itertools.pairwise(word):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = Counter({_merge(word, best): count for word, count in words.items()})
    return merges


def _merge(word: Sequence[str], pair: tuple[str, str]) -> tuple[str, ...]:
    merged: list[str] = []
    for letter in word:
        if merged and (merged[-1], letter) == pair:
            merged[-1] += letter
        else:
            merged.append(letter)
    return tuple(merged)


def _split_all(texts: Sequence[str], merges: Sequence[tuple[str, str]]) -> list[list[str]]:
    held = [_words(text) for text in texts]
    known = {word: word for words in held for word in words}
    for word in known:
        for pair in merges:
            known[word] = _merge(known[word], pair)
    return [[token for word in words for token in known[word]] for words in held]


def _learn_pairs(rows: Sequence[Sequence[int]], size: int, end: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (embeddings, output head), of which the product is the log-probability of each token after another.

    The embeddings have one length, so that the normalisation before the head is a constant factor.
    """
    counts = np.full((size, size), 0.002)
    start = 3 + ord("\n")
    for row in rows:
        for one, other in itertools.pairwise([start, *row, end]):
            counts[one, other] += 1
    logs = np.log(counts / counts.sum(1, keepdims=True))
    logs -= logs.mean(1, keepdims=True)
    left, values, right = np.linalg.svd(logs)
    rank = _WIDTH - 1
    root = np.sqrt(values[:rank])
    embeddings, head = left[:, :rank] * root, right[:rank].T * root
    lengths = (embeddings**2).sum(1)
    longest = float(lengths.max()) * 1.001
    embeddings = np.concatenate([embeddings, np.sqrt(longest - lengths)[:, None]], 1)
    scale = np.sqrt(_WIDTH / longest)
    return embeddings * scale, np.concatenate([head, np.zeros((size, 1))], 1) / scale


def _outer_tensors(embeddings: NDArray[np.float64], head: NDArray[np.float64]) -> dict[str, Tensor]:
    return {
        "token_embd.weight": embeddings.astype(np.float16),
        "output.weight": head.astype(np.float16),
        "output_norm.weight": np.ones(_WIDTH, np.float32),
    }


def _noise(rng: np.random.Generator) -> dict[str, Tensor]:
    narrow = _KV_HEADS * _WIDTH // _HEADS
    shapes = {
        "attn_q": (_WIDTH, _WIDTH), "attn_k": (narrow, _WIDTH), "attn_v": (narrow, _WIDTH), "attn_output": (_WIDTH, _WIDTH),
        "ffn_gate": (2 * _WIDTH, _WIDTH), "ffn_up": (2 * _WIDTH, _WIDTH), "ffn_down": (_WIDTH, 2 * _WIDTH),
    }  # fmt: skip
    tensors: dict[str, Tensor] = {}
    for layer in range(_LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            tensors[f"blk.{layer}.{name}.weight"] = np.ones(_WIDTH, np.float32)
        for name, shape in shapes.items():
            noise = rng.standard_normal(shape) * (0.02 / np.sqrt(shape[1]))
            tensors[f"blk.{layer}.{name}.weight"] = noise.astype(np.float16)
    return tensors


def write_embedding_model(path: Path, weights: Path) -> None:
    """Write the embedding model from the folder of the built-in embedder's weights."""
    from safetensors.numpy import load_file

    held = load_file(weights / "model.safetensors")
    words = (weights / "vocab.txt").read_text(encoding="utf-8").split("\n")
    words = words[: held["embeddings.word_embeddings.weight"].shape[0]]
    marks = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    unused = [word.startswith("[unused") for word in words]
    told: dict[str, Value] = {
        "general.architecture": "bert",
        "general.name": "all-MiniLM-L6-v2",
        "general.file_type": 1,
        "bert.context_length": 512,
        "bert.embedding_length": 384,
        "bert.block_count": 6,
        "bert.feed_forward_length": 1536,
        "bert.attention.head_count": 12,
        "bert.attention.layer_norm_epsilon": 1e-12,
        "bert.attention.causal": False,
        "bert.pooling_type": 1,
        "bert.vocab_size": len(words),
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.pre": "jina-v2-en",
        # llama.cpp marks the beginning of a word, where the vocabulary marks its continuation.
        "tokenizer.ggml.tokens": [
            word if word in marks or off else word[2:] if word.startswith("##") else f"\u2581{word}"
            for word, off in zip(words, unused, strict=True)
        ],
        "tokenizer.ggml.token_type": [
            _IS_CONTROL if word in marks else _UNUSED if off else _NORMAL
            for word, off in zip(words, unused, strict=True)
        ],
        "tokenizer.ggml.unknown_token_id": words.index("[UNK]"),
        "tokenizer.ggml.seperator_token_id": words.index("[SEP]"),
        "tokenizer.ggml.padding_token_id": words.index("[PAD]"),
        "tokenizer.ggml.mask_token_id": words.index("[MASK]"),
        "tokenizer.ggml.cls_token_id": words.index("[CLS]"),
        "tokenizer.ggml.bos_token_id": words.index("[CLS]"),
        "tokenizer.ggml.eos_token_id": words.index("[SEP]"),
    }
    write_gguf(path, told, {name: _small(name, held[source]) for name, source in _bert_tensors()})


def _small(name: str, tensor: NDArray[np.float32]) -> Tensor:
    keep = tensor.ndim == 1 or name in ("position_embd.weight", "token_types.weight")
    return tensor.astype(np.float32) if keep else tensor.astype(np.float16)


def _bert_tensors() -> Iterator[tuple[str, str]]:
    outer = {
        "token_embd": "word_embeddings",
        "position_embd": "position_embeddings",
        "token_types": "token_type_embeddings",
    }
    for name, source in outer.items():
        yield f"{name}.weight", f"embeddings.{source}.weight"
    inner = {
        "attn_q": "attention.self.query", "attn_k": "attention.self.key", "attn_v": "attention.self.value",
        "attn_output": "attention.output.dense", "attn_output_norm": "attention.output.LayerNorm",
        "ffn_up": "intermediate.dense", "ffn_down": "output.dense", "layer_output_norm": "output.LayerNorm",
    }  # fmt: skip
    for part in ("weight", "bias"):
        yield f"token_embd_norm.{part}", f"embeddings.LayerNorm.{part}"
        for layer in range(6):
            for name, source in inner.items():
                yield f"blk.{layer}.{name}.{part}", f"encoder.layer.{layer}.{source}.{part}"
