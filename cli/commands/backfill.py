"""`causegraph backfill`: vectors for texts that have none."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import typer

from cli.screen import make_console, print_json, styled


def backfill(
    batch: Annotated[int, typer.Option(min=1, max=4096, help="Texts per batch.")] = 256,
    delay: Annotated[float, typer.Option(min=0.0, help="Seconds to wait between batches.")] = 0.0,
    after: Annotated[int, typer.Option(help="Begin after this template id, as an earlier run printed it.")] = -1,
    move: Annotated[
        bool, typer.Option("--move", help="Drop the vectors of another embedder and begin anew with this one.")
    ] = False,
    only: Annotated[
        str, typer.Option(help="`templates` (of logs), `runbooks`, `incidents` or `code`; default: all.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Embed the log templates, sections of runbooks, incidents and pieces of indexed code that have no vector yet.

    `causegraph serve` does this by itself, a little at a time; this is for a database that was filled before, and for
    moving to another embedder (CAUSEGRAPH_EMBEDDER). Stopped at any moment it goes on where it was: what has a vector is
    not embedded again.
    """
    if only not in ("", "templates", "runbooks", "incidents", "code"):
        raise typer.BadParameter("--only is `templates`, `runbooks`, `incidents` or `code`.")
    found = asyncio.run(_backfill(batch, delay, after, move, only, quiet=as_json))
    if as_json:
        print_json(found)
    else:
        if found["refused"]:
            make_console(stderr=True).print(
                styled(f"{found['refused']} log templates get no vector of this embedder: {found['reason']}", "yellow")
            )
        make_console().print(styled(f"{found['new']} new vectors of {found['embedder']} in {found['seconds']:.1f} s"))


async def _backfill(batch: int, delay_s: float, after: int, move: bool, only: str, quiet: bool) -> dict[str, object]:
    from agents.runbook_search import RunbookSearch
    from agents.runbook_sources import RunbookSources
    from cli.services import open_database
    from domain.errors import EmbeddingError
    from domain.settings import load_settings
    from inference.build import build_embedder
    from retrieval.chunk_embedding import ChunkEmbedder, ChunkEmbedding, backfill_chunks
    from retrieval.embedding import TemplateEmbedding, backfill_templates, prepare_space
    from retrieval.incident_vectors import IncidentEmbedding
    from storage.code import CodeStore
    from storage.search import SearchStore
    from storage.vectors import VectorStore

    settings = load_settings()
    embedder = build_embedder(settings)
    if embedder is None:
        raise EmbeddingError("CAUSEGRAPH_EMBEDDER is `none`: nothing can be embedded.")
    notes = make_console(stderr=True)
    began = time.perf_counter()

    def tell(text: str) -> None:
        if not quiet:
            notes.print(styled(text, "dim"))

    templates = sections = incidents = chunks = 0
    refused: list[str] = []
    async with open_database(settings) as database:
        vectors, store = VectorStore(database), CodeStore(database)
        if only in ("", "templates"):
            await prepare_space(vectors, "template", embedder, move)
            embedding = TemplateEmbedding(vectors, embedder)
            templates = await backfill_templates(
                embedding,
                after=after,
                batch=batch,
                delay_s=delay_s,
                told=lambda last, done: tell(f"{done:,} log templates; the last was {last}"),
            )
            refused = list(embedding.refused.values())
        if only in ("", "runbooks"):
            await prepare_space(vectors, "runbook", embedder, move)
            search = RunbookSearch(RunbookSources(settings).library, vectors, embedder)
            while new := await search.advance():
                sections += new
                tell(f"{sections:,} sections of runbooks")
                await asyncio.sleep(delay_s)
        if only in ("", "incidents"):
            await prepare_space(vectors, "incident", embedder, move)
            past = IncidentEmbedding(SearchStore(database), vectors, embedder)
            while new := await past.advance():
                incidents += new
                tell(f"{incidents:,} incidents")
                await asyncio.sleep(delay_s)
        if only in ("", "code"):
            await prepare_space(vectors, "chunk", ChunkEmbedder(embedder), move)
            waiting = _Waiting(*await store.count_chunks())
            chunks = await backfill_chunks(
                ChunkEmbedding(store, vectors, embedder),
                batch=batch,
                delay_s=delay_s,
                told=lambda done: tell(waiting.tell(done)),
            )
    return {
        "embedder": embedder.name,
        "new": templates + sections + incidents + chunks,
        "templates": templates,
        "runbooks": sections,
        "incidents": incidents,
        "chunks": chunks,
        "refused": len(refused),
        "reason": refused[0] if refused else "",
        "seconds": round(time.perf_counter() - began, 3),
    }


class _Waiting:
    """How much is left, and for how long at the rate so far."""

    def __init__(self, every: int, embedded: int) -> None:
        self._left = every - embedded
        self._began = time.perf_counter()

    def tell(self, done: int) -> str:
        rate = done / max(1e-6, time.perf_counter() - self._began)
        left = max(0, self._left - done)
        return f"{done:,} of {self._left:,} pieces of code, {rate:.0f}/s, {left / max(rate, 1e-6):.0f} s left"
