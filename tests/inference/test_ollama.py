"""The Ollama embedder against what a real server says, also when it fails."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from domain.errors import EmbeddingError, SettingsError
from domain.settings import Settings
from inference.build import build_embedder
from inference.minilm import MiniLM
from inference.ollama import OllamaEmbedder
from inference.openai_embedder import OpenAIEmbedder
from tests.inference.fake_ollama import DIMENSION, FakeOllama, running


@pytest.fixture
def server() -> Iterator[FakeOllama]:
    with running() as found:
        yield found


async def test_texts_become_unit_vectors_in_order(server: FakeOllama) -> None:
    texts = ["x" * length for length in range(200)]
    vectors = await OllamaEmbedder(server.url, "emb", DIMENSION).embed(texts)
    assert vectors.shape == (200, DIMENSION)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    expected = np.arange(DIMENSION) + 150.0
    assert np.allclose(vectors[150], expected / np.linalg.norm(expected), atol=1e-6)
    assert len(server.asked) == 4  # in batches
    assert (await OllamaEmbedder(server.url, "emb", DIMENSION).embed([])).shape == (0, DIMENSION)


async def test_what_the_server_would_drop_or_cut_is_never_sent(server: FakeOllama) -> None:
    vectors = await OllamaEmbedder(server.url, "emb", DIMENSION).embed(["", "  ", "y" * 100_000])
    assert len(vectors) == 3
    assert all(0 < len(text) <= 1_000 for text in server.asked[0]["input"])


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, json.dumps({"error": 'model "emb" not found, try pulling it first'}), "ollama pull emb"),
        (404, "404 page not found", "CAUSEGRAPH_OLLAMA_URL"),
        (500, json.dumps({"error": "llama-server process has terminated: exit status 1"}), "exit status 1"),
        (503, json.dumps({"error": "server busy, please try again.  maximum pending requests exceeded"}), "busy"),
        (400, json.dumps({"error": "the input length exceeds the context length"}), "exceeds the context"),
        (200, json.dumps({"model": "emb", "embeddings": []}), "0 vectors"),
        (200, json.dumps({"model": "emb"}), "holds no embeddings"),
        (200, "<html>a gateway</html>", "holds no embeddings"),
        (200, json.dumps({"model": "emb", "embeddings": [[1.0] * 4]}), "DIMENSION"),
        (200, json.dumps({"model": "emb", "embeddings": [[0.0] * DIMENSION]}), "zero"),
    ],
)
async def test_what_goes_wrong_is_said(server: FakeOllama, status: int, body: str, said: str) -> None:
    server.replies += [(status, body)] * 2  # what it does not know it may know by its older name
    with pytest.raises(EmbeddingError, match=said):
        await OllamaEmbedder(server.url, "emb", DIMENSION).embed(["disk full"])


async def test_a_server_that_is_away_is_named() -> None:
    with running() as server:
        url = server.url
    with pytest.raises(EmbeddingError, match="does not answer"):
        await OllamaEmbedder(url, "emb", DIMENSION).embed(["disk full"])


async def test_a_server_of_long_ago_is_asked_for_one_text_after_the_other(server: FakeOllama) -> None:
    server.old = True
    embedder = OllamaEmbedder(server.url, "emb", DIMENSION)
    vectors = await embedder.embed(["a", "", "ccc"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    expected = np.arange(DIMENSION) + 3.0
    assert np.allclose(vectors[2], expected / np.linalg.norm(expected), atol=1e-6)
    await embedder.embed(["d"])
    assert server.paths == ["/api/embeddings"] * 4


async def test_any_openai_compatible_server_embeds(server: FakeOllama) -> None:
    named = Settings(embedder=f"openai:emb/{DIMENSION}", chat_url=f"{server.url}/v1", chat_key="k")
    embedder = build_embedder(named)
    assert embedder is not None
    vectors = await embedder.embed(["a" * n for n in range(1, 100)])
    assert vectors.shape == (99, DIMENSION)
    expected = np.arange(DIMENSION) + 70.0
    assert np.allclose(vectors[69], expected / np.linalg.norm(expected), atol=1e-6)
    assert server.headers[0]["authorization"] == "Bearer k"
    assert embedder.name == "openai/emb"


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, json.dumps({"error": {"message": "model 'emb' not found"}}), "has no model emb"),
        (200, json.dumps({"data": []}), "0 vectors"),
        (200, json.dumps({"data": [{"index": 0, "embedding": "AAAA"}]}), "DIMENSION"),
        (200, json.dumps({"data": [{"index": 0, "embedding": [float("nan")] * DIMENSION}]}), "NaN"),
        (200, json.dumps({"data": [{"index": 0, "embedding": [{}] * DIMENSION}]}), "numbers"),
        (200, "[]", "no JSON object"),
        (200, json.dumps({"list": 1}), "no embeddings"),
    ],
)
async def test_vectors_that_are_none_are_refused(server: FakeOllama, status: int, body: str, said: str) -> None:
    server.replies.append((status, body))
    with pytest.raises(EmbeddingError, match=said):
        await OpenAIEmbedder(f"{server.url}/v1", "emb", DIMENSION).embed(["disk full"])


def test_settings_choose_the_embedder() -> None:
    assert isinstance(build_embedder(Settings()), MiniLM)
    assert build_embedder(Settings(embedder="none")) is None
    found = build_embedder(Settings(embedder="ollama:nomic-embed-text:v1.5/768"))
    assert isinstance(found, OllamaEmbedder)
    assert (found.name, found.dimension) == ("ollama/nomic-embed-text:v1.5", 768)


@pytest.mark.parametrize(
    "name",
    ["ollama:emb", "ollama:/768", "ollama:emb/0", "ollama:emb/many", "openai:emb/8", "openai:emb", "gpt", "none:x"],
)
def test_other_embedders_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="CAUSEGRAPH_"):
        build_embedder(Settings(embedder=name))
