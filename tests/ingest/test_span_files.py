"""A bucket of OTLP span files becomes blobs and indexes: once, in any state of crash, and back to the byte."""

from __future__ import annotations

import gzip
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import build_cli
from domain.errors import NotFound, StorageError, StorageFull
from ingest.span_files import SpanCompressor
from storage.objects import FolderObjects
from storage.prompts import PromptStore

TRACE = "5b8efff798038103d269b633813fc60c"
HISTORY = [
    {"role": "system", "content": "You help. " * 300},
    *({"role": "user", "content": f"line {n} " * 40} for n in range(9)),
]


def span(number: int, trace: str = TRACE, **texts: str) -> dict[str, Any]:
    return {
        "traceId": trace,
        "spanId": f"{number:016x}",
        "name": f"chat {number}",
        "startTimeUnixNano": str(10**18 + number),
        "attributes": [{"key": key.replace("__", "."), "value": {"stringValue": text}} for key, text in texts.items()],
    }


def document(*spans: dict[str, Any]) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}).encode()


def growing(trace: str = TRACE, turns: int = 9) -> dict[int, str]:
    return {n: json.dumps(HISTORY[: n + 1]) for n in range(1, turns)}


def put_raw(place: Path) -> dict[int, str]:
    texts, raw = growing(), FolderObjects(place)
    files = [
        document(*(span(n, gen_ai__input__messages=texts[n], output__value=f"answer {n}") for n in part))
        for part in ((1, 2, 3), (4, 5), (6, 7, 8))
    ]
    raw.put("raw-spans/a.json", files[0])
    raw.put("raw-spans/2026/b.json.gz", gzip.compress(files[1]))
    raw.put("raw-spans/c.json", files[2] + b"\n" + document(span(99, "f" * 32, x="short", long="z" * 600)))
    return texts


def compressor(place: Path, objects: Any = None, **more: Any) -> SpanCompressor:
    held = objects or FolderObjects(place)
    return SpanCompressor(held, PromptStore(held), **more)


def test_files_are_compressed_once_and_come_back_to_the_byte(tmp_path: Path) -> None:
    texts = put_raw(tmp_path)
    first = compressor(tmp_path)
    assert first.run_once() == 3 and first.run_once() == 0
    assert (first.counts.spans, first.counts.prompts, first.counts.waiting) == (9, 17, 0)
    again = compressor(tmp_path)
    assert again.run_once() == 0
    told = list(again.rebuild(TRACE))
    assert [text for _, field, text in told if field == "gen_ai.input.messages"] == list(texts.values())
    assert [text for _, field, text in told if field == "output.value"] == [f"answer {n}" for n in range(1, 9)]
    assert [(field, text) for _, field, text in again.rebuild("f" * 32)] == [("long", "z" * 600)]
    stored = sum(path.stat().st_size for path in tmp_path.glob("blobs/*"))
    assert stored < sum(map(len, texts.values())) / 5
    assert len(again.live_prompts()) == 17 and (tmp_path / "raw-spans" / "a.json").exists()
    with pytest.raises(NotFound):
        list(again.rebuild("0" * 32))


def test_a_new_version_of_a_file_is_compressed_again_and_a_late_one_joins_its_trace(tmp_path: Path) -> None:
    put_raw(tmp_path)
    worker = compressor(tmp_path)
    worker.run_once()
    FolderObjects(tmp_path).put("raw-spans/a.json", document(span(1, input__value="other")))
    FolderObjects(tmp_path).put("raw-spans/late.json", document(span(12, input__value="late")))
    assert worker.run_once() == 2
    spans = worker.index(TRACE)["spans"]
    assert len(spans) == 9
    told = {(span_id, text) for span_id, field, text in worker.rebuild(TRACE) if field == "input.value"}
    assert told == {(f"{1:016x}", "other"), (f"{12:016x}", "late")}


@pytest.mark.parametrize(
    "content", [b"{", b"[1]", b'{"resourceSpans": 1}', gzip.compress(b"{}" * 99, mtime=0)[:-9], b"{}\nnot json"]
)
def test_a_file_that_cannot_be_read_does_not_hold_up_the_others(tmp_path: Path, content: bytes) -> None:
    put_raw(tmp_path)
    FolderObjects(tmp_path).put("raw-spans/0.json", content)
    worker = compressor(tmp_path)
    assert worker.run_once() == 3 and worker.counts.failed == 1
    assert compressor(tmp_path).run_once() == 0


def test_whatever_write_fails_the_next_pass_completes_it(tmp_path: Path) -> None:
    class Failing(FolderObjects):
        writes = 0

        def put(self, name: str, content: bytes) -> None:
            self.writes -= 1
            if self.writes < 0:
                raise StorageFull
            super().put(name, content)

    texts = put_raw(tmp_path)
    failing = Failing(tmp_path)
    for allowed in range(12):
        failing.writes = allowed % 4
        try:
            compressor(tmp_path, failing).run_once()
        except StorageError:
            continue
    compressor(tmp_path).run_once()
    worker = compressor(tmp_path)
    assert worker.run_once() == 0
    told = [text for _, field, text in worker.rebuild(TRACE) if field == "gen_ai.input.messages"]
    assert told == list(texts.values())


def test_raw_files_go_only_when_asked_and_dead_prompts_are_collected(tmp_path: Path) -> None:
    put_raw(tmp_path)
    worker = compressor(tmp_path, delete_raw=True)
    worker.run_once()
    assert list(FolderObjects(tmp_path).list("raw-spans/")) == []
    FolderObjects(tmp_path).delete(f"indexes/{'f' * 32}.json")
    opened = PromptStore(FolderObjects(tmp_path))
    assert opened.collect(worker.live_prompts()) > 0
    assert len(list(compressor(tmp_path).rebuild(TRACE))) == 16


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = put_raw(tmp_path)
    FolderObjects(tmp_path).put("raw-spans/s.json", document(span(50, "a" * 32, input__value="password=hunter22")))
    monkeypatch.setenv("CAUSEGRAPH_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CAUSEGRAPH_PROMPT_STORE", str(tmp_path))

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(build_cli(), list(arguments))
        assert done.exit_code == 0, done.output
        return done.stdout

    assert json.loads(run("compress-spans", "--once", "--json"))["files"] == 4
    assert "0 files compressed" in run("compress-spans", "--once")
    lines = [json.loads(line) for line in run("prompts", "rebuild", TRACE).splitlines()]
    assert [line["text"] for line in lines if line["field"] == "gen_ai.input.messages"] == list(texts.values())
    assert "hunter22" not in run("prompts", "rebuild", "a" * 32)
    spans = compressor(tmp_path).index(TRACE)["spans"]
    one, other = (spans[f"{n:016x}"]["prompts"]["gen_ai.input.messages"] for n in (3, 6))
    assert run("prompts", "show", one) == texts[3]
    assert [json.loads(line) for line in run("prompts", "show", other, "--since", one).splitlines()] == HISTORY[4:7]
    assert json.loads(run("prompts", "diff", one, other, "--json")) == {"first_difference": 4}
    assert "the same" in run("prompts", "diff", one, one)
    assert json.loads(run("prompts", "stats", "--json"))["packs"] >= 1


def test_metrics_are_what_prometheus_reads(tmp_path: Path) -> None:
    import httpx

    from cli.commands.prompts import _serve_metrics

    put_raw(tmp_path)
    worker = compressor(tmp_path)
    worker.run_once()
    server = _serve_metrics(0, worker)
    try:
        text = httpx.get(f"http://127.0.0.1:{server.server_port}/metrics").text
        assert httpx.get(f"http://127.0.0.1:{server.server_port}/other").status_code == 404
    finally:
        server.shutdown()
        server.server_close()
        for thread in threading.enumerate():
            if thread.name == "metrics":
                thread.join(5)
    held = dict(line.split(" ") for line in text.splitlines() if not line.startswith("#"))
    assert held["causegraph_compress_files_total"] == "3" and float(held["causegraph_compress_stored_bytes"]) > 0
    assert text.count("# TYPE") == text.count("# HELP") == len(held)
