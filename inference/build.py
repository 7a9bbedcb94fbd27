"""The embedder that the settings name."""

from __future__ import annotations

from domain.embedding import MAX_DIMENSION, Embedder
from domain.errors import SettingsError
from domain.settings import Settings


def build_embedder(settings: Settings) -> Embedder | None:
    """Return the embedder of CAUSEGRAPH_EMBEDDER; None for `none`. Nothing is loaded or connected before its first use.

    Raises SettingsError for a name that is not known.
    """
    kind, _, model = settings.embedder.partition(":")
    match kind:
        case "none" if not model:
            return None
        case "builtin" if not model:
            from inference.minilm import MiniLM

            return MiniLM()
        case "ollama":
            name, _, dimension = model.rpartition("/")
            if name and dimension.isdecimal() and 0 < int(dimension) <= MAX_DIMENSION:
                from inference.ollama import OllamaEmbedder

                return OllamaEmbedder(settings.ollama_url, name, int(dimension))
    raise SettingsError(
        f"CAUSEGRAPH_EMBEDDER={settings.embedder} is not known: it is `builtin`, `none` or `ollama:MODEL/DIMENSION`."
    )
