"""Compresses OTLP span files of a bucket: raw-spans/ -> blobs/ (the prompt store) + indexes/ (one JSON per trace).

    indexes/{trace_id}.json      {"trace_id", "spans": {span_id: {"name", "parent", "start_us", "prompts": {field: prompt id}}}}
    indexes/sources/{hash}.json  which version of which raw file is in them

A file is compressed once: after a crash it is done again, with the same result. The raw files are left alone, unless asked.
"""

from __future__ import annotations

import gzip
import io
import json
import logging
import re
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from domain.errors import NotFound, PayloadError, StorageError
from ingest.span_texts import read_span_texts
from storage.objects import Objects
from storage.prompts import PromptStore

logger = logging.getLogger(__name__)

RAW_PREFIX = "raw-spans/"
INDEX_PREFIX = "indexes/"
_SOURCE_PREFIX = "indexes/sources/"
_LARGEST = 1 << 30
_TRACE_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(slots=True)
class Counts:
    """What this process has done; as Prometheus metrics by `render`."""

    files: int = 0
    failed: int = 0
    spans: int = 0
    prompts: int = 0
    raw_bytes: int = 0
    prompt_bytes: int = 0
    waiting: int = 0
    last_pass_seconds: float = 0.0
    last_success: float = 0.0

    def render(self, store: PromptStore) -> str:
        """Return the metrics in Prometheus' text format."""
        stats = store.stats()
        told = (
            ("files_total", "counter", "Span files that were compressed.", self.files),
            ("files_failed_total", "counter", "Span files that could not be read.", self.failed),
            ("spans_total", "counter", "Spans in them.", self.spans),
            ("prompts_total", "counter", "Texts in those spans.", self.prompts),
            ("raw_bytes_total", "counter", "Bytes of the files, unpacked.", self.raw_bytes),
            ("prompt_bytes_total", "counter", "Bytes of the texts.", self.prompt_bytes),
            ("files_waiting", "gauge", "Span files found in the last pass and not compressed.", self.waiting),
            ("stored_bytes", "gauge", "Bytes of the prompt store.", stats.stored_bytes),
            ("stored_chunks", "gauge", "Chunks in the prompt store.", stats.chunks),
            ("last_pass_seconds", "gauge", "How long the last pass took.", self.last_pass_seconds),
            ("last_success_timestamp_seconds", "gauge", "When a pass last ended without an error.", self.last_success),
        )
        lines = []
        for name, kind, about, value in told:
            full = f"causegraph_compress_{name}"
            lines += [f"# HELP {full} {about}", f"# TYPE {full} {kind}", f"{full} {value}"]
        return "\n".join(lines) + "\n"


class SpanCompressor:
    """Compresses what is in a bucket. Run one at a time on a place: indexes are read, changed and written."""

    def __init__(self, objects: Objects, store: PromptStore, *, delete_raw: bool = False) -> None:
        self._objects = objects
        self._store = store
        self._delete_raw = delete_raw
        self.counts = Counts()

    def run_once(self) -> int:
        """Compress every file that was not compressed yet and return how many those were; raises StorageError."""
        began = time.monotonic()
        waiting = [
            (name, version) for name, version in self._objects.list(RAW_PREFIX) if not self._is_done(name, version)
        ]
        self.counts.waiting = len(waiting)
        failed = 0
        for name, version in waiting:
            try:
                self._compress(name, version)
            except (PayloadError, NotFound) as exc:
                # Marked too: the same bytes would fail again; a new version of the file is tried.
                failed += 1
                logger.warning("A span file cannot be read", extra={"file": name, "reason": str(exc)})
                self._mark_done(name, version, {"error": str(exc)[:500]})
            self.counts.waiting -= 1
        self.counts.failed += failed
        self.counts.last_pass_seconds = time.monotonic() - began
        self.counts.last_success = time.time()
        return len(waiting) - failed

    def _compress(self, name: str, version: str) -> None:
        body = _unpack(name, self._objects.get(name))
        spans: dict[str, dict[str, Any]] = {}
        for number, value in enumerate(_documents(name, body)):
            for trace_id, span_id, facts, texts in read_span_texts(value, f"{name}, document {number + 1}"):
                prompts = {field: self._store.put_text(text) for field, text in texts.items()}
                spans.setdefault(trace_id, {})[span_id] = {**facts, "prompts": prompts}
                self.counts.spans += 1
                self.counts.prompts += len(prompts)
                self.counts.prompt_bytes += sum(len(text.encode("utf-8", "replace")) for text in texts.values())
        self._store.flush()  # before the indexes that name them
        for trace_id, found in spans.items():
            held = self.index(trace_id, missing={"trace_id": trace_id, "spans": {}})
            held["spans"] |= found
            content = json.dumps(held, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
            self._objects.put(f"{INDEX_PREFIX}{trace_id}.json", content)
        self._mark_done(name, version, {"spans": sum(map(len, spans.values()))})
        self.counts.files += 1
        self.counts.raw_bytes += len(body)
        if self._delete_raw:
            self._objects.delete(name)

    def index(self, trace_id: str, missing: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the index of a trace; raises NotFound, unless `missing` stands in."""
        if not _TRACE_ID.fullmatch(trace_id):
            raise NotFound(f"{trace_id[:80]!r} is not the id of a trace (32 hex characters).")
        try:
            held = json.loads(self._objects.get(f"{INDEX_PREFIX}{trace_id}.json"))
            if not isinstance(held.get("spans"), dict):
                raise ValueError("it holds no spans")
            return dict(held)
        except NotFound:
            if missing is None:
                raise
            return missing
        except (ValueError, AttributeError) as exc:
            raise StorageError(f"{INDEX_PREFIX}{trace_id}.json is damaged: {exc}.") from exc

    def render_metrics(self) -> str:
        """Return the counts in Prometheus' text format."""
        return self.counts.render(self._store)

    def rebuild(self, trace_id: str) -> Iterator[tuple[str, str, str]]:
        """Yield every text of a trace as it was: the span's id, the field, the text. Raises NotFound or StorageError."""
        spans = self.index(trace_id)["spans"]
        for span_id in sorted(spans, key=lambda span_id: (spans[span_id].get("start_us", 0), span_id)):
            for field, prompt_id in spans[span_id].get("prompts", {}).items():
                yield span_id, field, self._store.get(prompt_id).decode("utf-8", "surrogatepass")

    def live_prompts(self) -> set[str]:
        """Return every prompt that an index names."""
        live: set[str] = set()
        for name, _ in self._objects.list(INDEX_PREFIX):
            if _TRACE_ID.fullmatch(trace_id := name.removeprefix(INDEX_PREFIX).removesuffix(".json")):
                for span in self.index(trace_id)["spans"].values():
                    live.update(span.get("prompts", {}).values())
        return live

    def collect(self, live: set[str]) -> int:
        """Drop the prompts that neither `live` nor an index names; return the bytes freed. See `PromptStore.collect`."""
        return self._store.collect(live | self.live_prompts())

    def _source(self, name: str) -> str:
        return f"{_SOURCE_PREFIX}{blake3(name.encode()).hexdigest(length=16)}.json"

    def _is_done(self, name: str, version: str) -> bool:
        try:
            return bool(json.loads(self._objects.get(self._source(name))).get("version") == version)
        except (NotFound, ValueError, AttributeError):
            return False

    def _mark_done(self, name: str, version: str, facts: dict[str, Any]) -> None:
        content = json.dumps({"file": name, "version": version, **facts}, ensure_ascii=False).encode()
        self._objects.put(self._source(name), content)


def _unpack(name: str, content: bytes) -> bytes:
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        with gzip.open(io.BytesIO(content)) as file:
            body = file.read(_LARGEST + 1)
    except (OSError, EOFError, zlib.error) as exc:
        raise PayloadError(f"{name} is not gzip: {exc}") from exc
    if len(body) > _LARGEST:
        raise PayloadError(f"{name} is larger than {_LARGEST} bytes when unpacked.")
    return body


def _documents(name: str, body: bytes) -> Iterator[Any]:
    """Yield the JSON documents of a file: one, or one a line as the collector's file exporter writes them."""
    try:
        yield json.loads(body)
        return
    except ValueError as exc:
        if b"\n" not in body.strip():
            raise PayloadError(f"{name} is not JSON: {exc}") from exc
    for number, line in enumerate(body.split(b"\n"), 1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as exc:
                raise PayloadError(f"{name}, line {number}, is not JSON: {exc}") from exc
