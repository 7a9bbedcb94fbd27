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
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Embed the log templates that have no vector yet.

    `causegraph serve` does this by itself, a little at a time; this is for a database that was filled before, and for
    moving to another embedder (CAUSEGRAPH_EMBEDDER). Stopped at any moment it goes on where it was: what has a vector is
    not embedded again.
    """
    found = asyncio.run(_backfill(batch, delay, after, move, quiet=as_json))
    if as_json:
        print_json(found)
    else:
        make_console().print(styled(f"{found['new']} new vectors of {found['embedder']} in {found['seconds']:.1f} s"))


async def _backfill(batch: int, delay_s: float, after: int, move: bool, quiet: bool) -> dict[str, object]:
    from cli.services import open_database
    from domain.errors import EmbeddingError
    from domain.settings import load_settings
    from inference.build import build_embedder
    from retrieval.embedding import TemplateEmbedding, backfill_templates, prepare_space
    from storage.vectors import VectorStore

    settings = load_settings()
    embedder = build_embedder(settings)
    if embedder is None:
        raise EmbeddingError("CAUSEGRAPH_EMBEDDER is `none`: nothing can be embedded.")
    notes = make_console(stderr=True)
    began = time.perf_counter()

    def tell(last: int, done: int) -> None:
        if not quiet:
            rate = done / (time.perf_counter() - began)
            notes.print(styled(f"{done} vectors, {rate:.0f}/s; the last template was {last}", "dim"))

    async with open_database(settings) as database:
        vectors = VectorStore(database)
        await prepare_space(vectors, "template", embedder, move)
        embedding = TemplateEmbedding(vectors, embedder)
        new = await backfill_templates(embedding, after=after, batch=batch, delay_s=delay_s, told=tell)
    return {"embedder": embedder.name, "new": new, "seconds": round(time.perf_counter() - began, 3)}
