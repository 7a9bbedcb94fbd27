from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.telemetry import Level
from domain.times import format_us, to_us
from ingest.raw_lines import LineReader

NOW = to_us(datetime(2026, 11, 21, 14, tzinfo=UTC))
MESSAGES = [
    "user bob logged in",
    "cache miss for key 7",
    "request took 15 ms",
    "Session: 12 opened",
    "done",
    "[x] started",
]
HEADERS: dict[str, tuple[str, dict[str, Any]]] = {
    "syslog": ("Nov 21 10:00:{s:02} web1 {program}[{n}]: ", {"node": "web1", "pid": "{n}"}),
    "syslog 3164": ("<30>Nov 21 10:00:{s:02} web1 {program}[{n}]: ", {"node": "web1", "level": Level.INFO}),
    "log4j": ("2026-11-21 10:00:{s:02},123 INFO  [worker-{n}] com.acme.{program}: ", {"thread": "worker-{n}"}),
    "logback": ("10:00:{s:02}.123 [main] WARN  c.a.{program} - ", {"level": Level.WARN, "thread": "main"}),
    "python": ("2026-11-21 10:00:{s:02},123 - acme.{program} - ERROR - ", {"level": Level.ERROR}),
    "klog": ("E1121 10:00:{s:02}.123456 {n} {program}.go:12] ", {"level": Level.ERROR, "code.line.number": "12"}),
    "logcat": ("11-21 10:00:{s:02}.123  1702  {n} D {program}: ", {"level": Level.DEBUG, "thread": "{n}"}),
    "nginx": ("2026/11/21 10:00:{s:02} [error] {n}#12: ", {"level": Level.ERROR}),
    "apache": ("[Sat Nov 21 10:00:{s:02} 2026] [notice] ", {"level": Level.INFO}),
    "bars": ("20261121-10:00:{s:02}:123|{program}|{n}|", {}),
    "windows": ("2026-11-21 10:00:{s:02}, Info                  CBS    ", {"level": Level.INFO}),
    "hadoop": ("261121 1000{s:02} {n} INFO dfs.{program}: ", {"level": Level.INFO, "pid": "{n}"}),
    "host first": ("{n} node-7 2026-11-21T10:00:{s:02}Z SEVERE ", {"level": Level.ERROR}),
}


@pytest.mark.parametrize("name", HEADERS)
def test_the_header_of_a_source_is_learned(name: str) -> None:
    header, fields = HEADERS[name]
    chance = random.Random(7)
    reader = LineReader()
    said = [
        {"s": at % 60, "n": chance.randrange(100, 999), "program": chance.choice(["sshd", "cron", "worker"])}
        for at in range(120)
    ]
    lines = [(header.format(**values), MESSAGES[at % len(MESSAGES)], values) for at, values in enumerate(said)]
    reader.learn(name, [head + message for head, message, _ in lines], NOW)
    for head, message, values in lines:
        record = reader.read(name, head + message, NOW)
        assert (record.message, record.has_header) == (message, True)
        assert record.time_us is not None
        assert format_us(record.time_us)[:19] == f"2026-11-21T10:00:{values['s']:02}"
        for key, value in fields.items():
            found = record.attributes.get(key) if key not in ("node", "level") else getattr(record, key)
            assert found == (value.format(**values) if isinstance(value, str) else value)


def test_a_source_that_changes_its_header_is_learned_again() -> None:
    reader = LineReader()
    for at in range(60):
        reader.read("app", f"Nov 21 10:00:{at % 60:02} web1 app[{at}]: line {at}", NOW)
    for at in range(200):
        record = reader.read("app", f"{at} node-7 2026-11-21T10:00:{at % 60:02}Z blue/green SEVERE broken {at}", NOW)
    assert record.message == "broken 199"


@pytest.mark.parametrize(
    ("line", "message", "level", "service"),
    [
        ('{"ts":1795255200.5,"level":"warn","msg":"x failed","service":"a"}', "x failed", Level.WARN, "a"),
        ('time="2026-11-21T10:00:00Z" level=error msg="no \\"x\\"" app=b', 'no "x"', Level.ERROR, "b"),
        ('Nov 21 10:00:00 web1 app[1]: {"level":"error","message":"deep"}', "deep", Level.ERROR, "app"),
        ("INFO:root:hello", "hello", Level.INFO, ""),
        ("ERROR: it broke", "it broke", Level.ERROR, ""),
        ("just words", "just words", None, ""),
        ("", "", None, ""),
    ],
)
def test_single_lines_are_read_without_learning(line: str, message: str, level: Level | None, service: str) -> None:
    record = LineReader().read("x", line, NOW)
    assert (record.message, record.level, record.service) == (message, level, service)


def test_a_line_says_its_error_code_and_its_trace() -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    record = LineReader().read("x", f"2026-11-21T10:00:00Z ERROR boom trace_id={trace} ORA-00942", NOW)
    assert (record.trace_id, record.attributes["error.code"]) == (trace, "ORA-00942")
    assert LineReader().read("x", "connect ECONNREFUSED 1.2.3.4", NOW).attributes["error.code"] == "ECONNREFUSED"
    assert "error.code" not in LineReader().read("x", "EVERY THING IS FINE", NOW).attributes


def test_a_stack_trace_becomes_fields() -> None:
    text = (
        "2026-11-21 10:00:00,1 ERROR a.B: broke\njava.lang.IllegalStateException: no bean\n"
        "\tat com.foo.Bar.baz(Bar.java:123)\nCaused by: java.io.IOException: disk\n\tat com.foo.Disk.read(Disk.java:9)"
    )
    attributes = LineReader().read("x", text, NOW).attributes
    assert attributes["exception.type"] == "java.lang.IllegalStateException"
    assert attributes["exception.cause"] == "java.io.IOException"
    assert (attributes["code.file.path"], attributes["code.line.number"]) == ("Bar.java", 123)


pieces = st.sampled_from(
    ["Nov 21 10:00:00 ", "2026-11-21T10:00:00Z ", "[", "]", "{", "}", '"', "|", " - ", "INFO ", "a: ", "x[1]: ", "=",
     "E1121 ", "\n", "\tat a.b(C.java:1)", "Error", "Traceback (most recent call last):", "<34>", "1", "\x00", "é", "\ud800"]
)  # fmt: skip


@given(st.lists(st.lists(pieces, max_size=12).map("".join) | st.text(max_size=80), min_size=1, max_size=40))
@settings(max_examples=150, deadline=None)
def test_any_line_becomes_a_record(lines: list[str]) -> None:
    reader = LineReader()
    reader.learn("learned", lines, NOW)
    for line in lines:
        for source in ("learned", "new"):
            assert isinstance(reader.read(source, line, NOW).message, str)


@pytest.mark.parametrize(
    "piece", ["[", "a.", "Error", "a=b ", "Error.", 'x="', "1:", "File \"", "at (", "A::", "{\"a\":", "|", "- ", "status ", "\n#0 a("]
)  # fmt: skip
def test_hostile_lines_take_linear_time(piece: str) -> None:
    reader = LineReader()
    line = piece * (1_000_000 // len(piece))
    began = time.process_time()
    record = reader.read("x", f"2026-11-21T10:00:00Z ERROR {line}", NOW)
    assert time.process_time() - began < 3.0
    assert len(record.message.encode()) <= 64 * 1024
