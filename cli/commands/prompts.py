"""The prompt store: what it holds, where two prompts part, what a bucket's spans said, and compressing them."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Annotated

import typer

from cli.screen import make_console, print_json, styled

if TYPE_CHECKING:
    from ingest.span_files import SpanCompressor
    from storage.prompts import PromptStore

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Place = Annotated[str, typer.Option("--place", help="Folder or s3://bucket/prefix. Default: CAUSEGRAPH_PROMPT_STORE.")]


def stats(place: Place = "", as_json: JsonFlag = False) -> None:
    """Say how much the store holds."""
    found = _open(place).stats()
    told = {"nodes": found.nodes, "chunks": found.chunks, "packs": found.packs, "stored_bytes": found.stored_bytes}
    if as_json:
        print_json(told)
        return
    console = make_console()
    console.print(
        f"{found.nodes} messages in prompts, {found.chunks} chunks, {found.stored_bytes} bytes in {found.packs} packs"
    )


def show(
    prompt_id: Annotated[str, typer.Argument(help="The id of a prompt (40 hex characters), as traces name it.")],
    since: Annotated[str, typer.Option(help="Show only what is new since this prompt.")] = "",
    place: Place = "",
) -> None:
    """Print a prompt as it was, byte for byte (but for masked secrets), or only what is new since another."""
    store = _open(place)
    if since:
        first = store.first_difference(since, prompt_id)
        content = b"" if first is None else b"\n".join(store.messages_from(prompt_id, first)) + b"\n"
    else:
        content = store.get(prompt_id)
    _write(content)


def diff(
    one: Annotated[str, typer.Argument(help="The id of a prompt.")],
    other: Annotated[str, typer.Argument(help="The id of another prompt.")],
    place: Place = "",
    as_json: JsonFlag = False,
) -> None:
    """Say in which message two prompts first differ, by their hashes alone."""
    first = _open(place).first_difference(one, other)
    if as_json:
        print_json({"first_difference": first})
    else:
        make_console().print(
            "They are the same." if first is None else f"They differ from message {first} on (counted from 0)."
        )


def rebuild(
    trace_id: Annotated[str, typer.Argument(help="The id of a trace whose span files were compressed (32 hex).")],
    place: Place = "",
) -> None:
    """Print the texts of a compressed trace, one JSON object a line: span, field, text."""
    for span_id, field, text in _compressor(place).rebuild(trace_id):
        _write(json.dumps({"span_id": span_id, "field": field, "text": text}).encode() + b"\n")


def collect(
    yes: Annotated[
        bool, typer.Option("--yes", help="Nobody writes to the store now: servers and workers are stopped.")
    ] = False,
    place: Place = "",
    as_json: JsonFlag = False,
) -> None:
    """Drop the prompts that no stored trace and no index of span files names any more, and pack the others together.

    Stop `causegraph serve` and `causegraph compress-spans` first: what they write meanwhile could be lost.
    """
    if not yes:
        raise typer.BadParameter("stop the servers and workers that write to the store, then say --yes")
    freed = asyncio.run(_collect(place))
    if as_json:
        print_json({"freed_bytes": freed})
    else:
        make_console().print(f"{freed} bytes were freed.")


async def _collect(place: str) -> int:
    from cli.services import open_database
    from domain.settings import load_settings
    from storage.traces import TraceStore

    settings = load_settings()
    notes = make_console(stderr=True)
    async with open_database(settings, lambda line: notes.print(styled(line, "dim"))) as database:
        live = await TraceStore(database, settings.data_dir / "traces").live_prompts()
    compressor = _compressor(place)
    return await asyncio.to_thread(compressor.collect, live)


def compress_spans(
    place: Place = "",
    once: Annotated[bool, typer.Option("--once", help="End after one pass, for cron and tests.")] = False,
    poll: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks at raw-spans/.")] = 30.0,
    metrics_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Serve Prometheus metrics on this port of 127.0.0.1; 0: do not.")
    ] = 0,
    delete_raw: Annotated[
        bool, typer.Option("--delete-raw", help="Take raw files away once they are compressed.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Compress OTLP span files: raw-spans/ -> blobs/ and indexes/, each file once.

    Reads JSON, plain or gzip, as the OpenTelemetry Collector's file and S3 exporters write it. Prompts and replies go into the
    prompt store, where what repeats is kept once. `causegraph prompts rebuild` gives them back byte for byte.
    """
    from domain.errors import StorageError

    compressor = _compressor(place, delete_raw=delete_raw)
    serving = _serve_metrics(metrics_port, compressor) if metrics_port else None
    notes = make_console(stderr=True)
    try:
        while True:
            try:
                done = compressor.run_once()
            except StorageError as exc:
                if once:
                    raise
                notes.print(styled(f"{exc} Trying again in {poll:g} s.", "yellow"), soft_wrap=True)
            else:
                _tell_pass(compressor, done, as_json=as_json, once=once)
            if once:
                return
            time.sleep(poll)
    finally:
        if serving:
            serving.shutdown()


def _tell_pass(compressor: SpanCompressor, done: int, *, as_json: bool, once: bool) -> None:
    counts = compressor.counts
    if as_json:
        print_json({"files": done, "failed": counts.failed, "spans": counts.spans, "prompts": counts.prompts})
    elif done or once:
        make_console().print(
            f"{done} files compressed: {counts.spans} spans, {counts.prompts} texts so far, {counts.failed} failed"
        )


def _serve_metrics(port: int, compressor: SpanCompressor) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = compressor.render_metrics().encode()
            self.send_response(200 if self.path == "/metrics" else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True, name="metrics").start()
    return server


def _open(place: str) -> PromptStore:
    from cli.services import open_prompts
    from domain.settings import load_settings

    return open_prompts(load_settings(), place)


def _compressor(place: str, *, delete_raw: bool = False) -> SpanCompressor:
    from ingest.span_files import SpanCompressor

    store = _open(place)
    return SpanCompressor(store.objects, store, delete_raw=delete_raw)


def _write(content: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
