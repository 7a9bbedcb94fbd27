"""The built-in embedder against what the reference implementation says, and what callers may rely on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from domain.errors import EmbeddingError
from inference.minilm import MAX_TOKENS, MiniLM, find_weights
from inference.wordpiece import WordPiece

# Token numbers by Hugging Face's `tokenizers` and the first six numbers of the vector by a plain reading of the model's
# definition with it: an implementation that shares no code with ours.
REFERENCE = [
    (
        "order 17 failed: upstream payment returned 503",
        [101, 2344, 2459, 3478, 1024, 13909, 7909, 2513, 2753, 2509, 102],
        [-0.04336, 0.08204, 0.08684, -0.0831, 0.03425, -0.06531],
    ),
    (
        "Connection refused: db-primary:5432 (attempt <*> of <*>)",
        [
            101,
            4434,
            4188,
            1024,
            16962,
            1011,
            3078,
            1024,
            5139,
            16703,
            1006,
            3535,
            1026,
            1008,
            1028,
            1997,
            1026,
            1008,
            1028,
            1007,
            102,
        ],
        [0.04072, 0.01063, -0.05185, -0.02138, -0.0814, -0.04471],
    ),
    (
        'def charge(card: Card) -> Receipt:\n    """Take the money."""\n    return self._client.post(\'/charge\')',
        [
            101,
            13366,
            3715,
            1006,
            4003,
            1024,
            4003,
            1007,
            1011,
            1028,
            24306,
            1024,
            1000,
            1000,
            1000,
            2202,
            1996,
            2769,
            1012,
            1000,
            1000,
            1000,
            2709,
            2969,
            1012,
            1035,
            7396,
            1012,
            2695,
            1006,
            1005,
            1013,
            3715,
            1005,
            1007,
            102,
        ],
        [-0.05564, 0.14943, -0.06061, 0.03115, -0.02366, -0.07337],
    ),
    (
        "Straße und naïve café, ÉCOLE",
        [101, 2358, 27807, 6151, 15743, 7668, 1010, 12431, 102],
        [0.05049, 0.0157, -0.00504, 0.00486, -0.02953, 0.0312],
    ),
    (
        "日本語のログ: 接続が拒否されました",
        [
            101,
            1864,
            1876,
            1950,
            1671,
            30261,
            30228,
            1024,
            100,
            100,
            1651,
            100,
            100,
            1656,
            30214,
            30203,
            30183,
            30187,
            102,
        ],
        [0.03069, 0.11417, 0.05477, -0.02732, -0.00544, 0.09295],
    ),
    (
        "disk 💾 full at /var/lib/mysql",
        [101, 9785, 100, 2440, 2012, 1013, 13075, 1013, 5622, 2497, 1013, 2026, 2015, 4160, 2140, 102],
        [0.05184, -0.0619, -0.03436, -0.034, 0.02067, -0.09467],
    ),
    (
        "\x00ctrl\x07 \u200bzero width �",
        [101, 14931, 12190, 5717, 9381, 102],
        [0.06351, 0.02705, -0.06768, 0.03307, -0.0892, 0.0046],
    ),
    ("İstanbul ǅ ﬁ ½", [101, 9960, 100, 1984, 1092, 102], [0.03443, 0.02728, 0.04816, 0.04343, -0.10315, -0.0069]),
    (
        "हिन्दी का वाक्य",
        [101, 1339, 29877, 29863, 29861, 29878, 1315, 29876, 1335, 29876, 29851, 29868, 102],
        [0.01136, 0.05922, -0.03834, -0.00918, -0.06561, 0.00697],
    ),
    ("é combined", [101, 1041, 4117, 102], [0.02907, 0.07529, -0.00827, 0.02102, -0.01784, 0.0098]),
]


@pytest.fixture(scope="module")
def embedder() -> MiniLM:
    return MiniLM()


@pytest.fixture(scope="module")
def words() -> WordPiece:
    return WordPiece.load(find_weights() / "vocab.txt")


@pytest.mark.parametrize(("text", "tokens"), [(text, tokens) for text, tokens, _ in REFERENCE])
def test_tokens_are_those_of_the_reference(words: WordPiece, text: str, tokens: list[int]) -> None:
    assert words.encode(text, MAX_TOKENS) == tokens


def test_vectors_are_those_of_the_reference(embedder: MiniLM) -> None:
    vectors = embedder.embed_now([text for text, _, _ in REFERENCE])
    assert vectors.shape == (len(REFERENCE), embedder.dimension)
    assert np.allclose(vectors[:, :6], [numbers for _, _, numbers in REFERENCE], atol=2e-5)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_a_vector_does_not_depend_on_its_neighbours(embedder: MiniLM) -> None:
    texts = ["disk full", "the payment service refused the card " * 20, "", "a"]
    together = embedder.embed_now(texts)
    alone = np.concatenate([embedder.embed_now([text]) for text in texts])
    assert np.allclose(together, alone, atol=1e-5)


def test_likeness_of_meaning_outweighs_likeness_of_letters(embedder: MiniLM) -> None:
    question, fitting, lookalike = embedder.embed_now(
        [
            "the payment was declined",
            "charge refused: insufficient funds on the card",
            "the pavement was reclined",
        ]
    )
    assert question @ fitting > question @ lookalike


def test_a_control_token_in_a_text_is_text(words: WordPiece) -> None:
    begin, end = words.encode("", MAX_TOKENS)
    tokens = words.encode("[CLS] one [SEP] two", MAX_TOKENS)
    assert tokens.count(begin) == 1
    assert tokens.count(end) == 1


def test_a_long_text_is_cut_and_costs_no_more_than_its_head(words: WordPiece) -> None:
    assert len(words.encode("word " * 5_000, MAX_TOKENS)) == MAX_TOKENS
    assert len(words.encode("x" * 10_000_000, MAX_TOKENS)) == 3  # one word that is no word


async def test_embedding_does_not_hold_up_the_event_loop(embedder: MiniLM) -> None:
    assert (await embedder.embed([])).shape == (0, 384)
    assert np.allclose(await embedder.embed(["disk full"]), embedder.embed_now(["disk full"]), atol=1e-6)


def test_missing_and_changed_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EmbeddingError, match="cannot be read"):
        MiniLM(tmp_path).embed_now(["x"])
    (tmp_path / "vocab.txt").write_bytes((find_weights() / "vocab.txt").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    with pytest.raises(EmbeddingError, match="other weights"):
        MiniLM(tmp_path).embed_now(["x"])
