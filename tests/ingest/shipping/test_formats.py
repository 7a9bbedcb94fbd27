"""Lines of container runtimes and of syslog daemons: their parts, their split lines, and the names in their paths."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import SettingsError
from domain.telemetry import Level
from domain.times import format_us, parse_time_us
from ingest.line_rules import LineRule
from ingest.raw_lines import LineReader
from ingest.shipping.assembly import Assembler, Naming
from ingest.shipping.filtering import Action, Filter
from ingest.shipping.formats import Form, read_entries, sniff_form
from ingest.shipping.line import Line, guess_level
from ingest.shipping.naming import name_container
from ingest.shipping.tail import Chunk, Cursor, Piece
from ingest.shipping.zones import local_zone, read_zone

FORMS: tuple[Form, ...] = ("plain", "cri", "docker", "syslog")


def _assemble(form: Form | None, *lines: str) -> list[Line]:
    assembler = Assembler(Cursor("x", 0, 0), Naming("svc", "node"), form, joins=True, encoding="utf-8")
    done = assembler.add(Chunk([line.encode() for line in lines], 0), 1)
    return done + assembler.flush()


def test_what_lines_say_of_themselves_becomes_fields() -> None:
    cursor, naming = Cursor("x", 0, 0), Naming("app", "node")
    assembler = Assembler(cursor, naming, "plain", joins=True, encoding="utf-8", reader=LineReader())
    json_line = {"time": "2026-11-21T10:00:02Z", "level": "warn", "msg": "slow", "service": "cart", "ms": 7}
    raw = [
        "2026-11-21 10:00:00,5 ERROR no stock",
        "Traceback (most recent call last):",
        "ValueError: x",
        json.dumps(json_line | {"trace_id": "0af7651916cd43dd8448eb211c80319c", "host": "elsewhere"}),
        "plain",
    ]
    now_us = parse_time_us("2026-11-21T12:00:00Z")
    lines = assembler.add(Chunk([line.encode() for line in raw], 0), now_us) + assembler.flush()
    assert [(line.message, line.level, line.service) for line in lines] == [
        ("no stock\nTraceback (most recent call last):\nValueError: x", "error", "app"),
        ("slow", "warn", "cart"),
        ("plain", "", "app"),
    ]
    assert [format_us(line.timestamp)[:19] for line in lines] == [
        "2026-11-21T10:00:00",
        "2026-11-21T10:00:02",
        "2026-11-21T12:00:00",
    ]
    assert lines[1].trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert (lines[1].node, lines[1].attributes["ms"]) == ("node", 7)


@pytest.mark.parametrize(
    ("zone", "line", "moment"),
    [
        ("", "2026-11-21 10:00:00,500 ERROR x", "2026-11-21T10:00:00.500000Z"),
        ("Europe/Berlin", "2026-11-21 10:00:00,500 ERROR x", "2026-11-21T09:00:00.500000Z"),
        ("Europe/Berlin", "2026-07-21 10:00:00,500 ERROR x", "2026-07-21T08:00:00.500000Z"),
        ("Europe/Berlin", "2026-11-21T10:00:00Z ERROR x", "2026-11-21T10:00:00Z"),
        ("Europe/Berlin", "2026-11-21 10:00:00 +0530 ERROR x", "2026-11-21T04:30:00Z"),
        ("Europe/Berlin", '{"time": "2026-11-21T10:00:00", "msg": "x"}', "2026-11-21T09:00:00Z"),
        ("Europe/Berlin", '{"time": "2026-11-21 10:00:00.25", "msg": "x"}', "2026-11-21T09:00:00.250000Z"),
        ("Europe/Berlin", '{"time": "2026-11-21T10:00:00Z", "msg": "x"}', "2026-11-21T10:00:00Z"),
        ("Europe/Berlin", '{"time": 1795255200, "msg": "x"}', "2026-11-21T10:00:00Z"),
        ("Europe/Berlin", '{"time": "21/Nov/2026:10:00:00 +0000", "msg": "x"}', "2026-11-21T10:00:00Z"),
        ("Europe/Berlin", '{"time": "Nov 21 10:00:00", "msg": "x"}', "2026-11-21T09:00:00Z"),
        ("Asia/Tokyo", "00:30:00 ERROR x", "2026-11-21T15:30:00Z"),
        ("America/New_York", "I1121 23:30:00.000000 1 a.go:1] x", "2026-11-22T04:30:00Z"),
    ],
)
def test_times_without_a_zone_are_of_the_zone_of_their_source(zone: str, line: str, moment: str) -> None:
    cursor, naming = Cursor("x", 0, 0), Naming("app", "node")
    assembler = Assembler(cursor, naming, "plain", joins=True, encoding="utf-8", reader=LineReader(read_zone(zone)))
    now_us = parse_time_us("2026-11-21T15:31:00Z" if "Tokyo" in zone else "2026-11-22T05:00:00Z")
    (found,) = assembler.add(Chunk([line.encode()], 0), now_us) + assembler.flush()
    assert (format_us(found.timestamp), found.message) == (moment, "x")


def test_the_zone_of_files_of_syslog_is_that_of_the_machine_unless_another_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    local_zone.cache_clear()
    try:
        moments = [
            next(iter(read_entries("syslog", ["Nov 21 13:49:40 web-1 cart: x"], {}, zone))).time_us
            for zone in (None, read_zone("local"), read_zone("UTC"))
        ]
    finally:
        local_zone.cache_clear()
    assert [format_us(moment)[4:] for moment in moments] == ["-11-21T04:49:40Z", "-11-21T04:49:40Z", "-11-21T13:49:40Z"]
    with pytest.raises(SettingsError, match="no time zone 'Europe/Nowhere'"):
        read_zone("Europe/Nowhere")


@pytest.mark.parametrize("when", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-13-01T00:00:00Z"])
def test_a_runtime_that_knows_no_time_costs_no_line(when: str) -> None:
    (docker,) = _assemble("docker", json.dumps({"log": "x\n", "stream": "stdout", "time": when}))
    (cri,) = _assemble("cri", f"{when} stdout F x")
    assert (docker.timestamp, cri.timestamp) == (2, 2)  # that of their reading


def test_cri_lines_with_split_ones_of_two_streams() -> None:
    lines = _assemble(
        None,
        "2026-11-21T10:00:00.123456789Z stdout P first ",
        "2026-11-21T10:00:00.2Z stderr F ERROR between",
        "2026-11-21T10:00:00.3+01:00 stdout F half",
        "2026-11-21T10:00:01Z stdout F ",
        "not of this form",
    )
    found = {line.message: (line.timestamp, line.attributes) for line in lines}
    assert found.keys() == {"first half", "ERROR between", "not of this form"}
    assert found["first half"] == (parse_time_us("2026-11-21T09:00:00.3Z"), {"log.iostream": "stdout"})
    assert found["ERROR between"][1] == {"log.iostream": "stderr"}


def test_docker_lines_with_a_split_one() -> None:
    def line(log: str) -> str:
        return json.dumps({"log": log, "stream": "stderr", "time": "2026-11-21T10:00:00.123456789Z"})

    lines = _assemble(None, line("split "), line("line\n"), line("  at x\n"), "{broken")
    assert [found.message for found in lines] == ["split line\n  at x", "{broken"]
    assert lines[0].timestamp == parse_time_us("2026-11-21T10:00:00.123456Z")


def test_the_parts_of_a_split_line_are_bounded() -> None:
    pieces: dict[str, Piece] = {}
    part = "2026-11-21T10:00:00.1Z stdout P " + "x" * 16_000
    assert list(read_entries("cri", [part] * 1000, pieces)) == []
    assert len(pieces["stdout"].text) <= 65_536
    (entry,) = read_entries("cri", ["2026-11-21T10:00:00.1Z stdout F end"], pieces)
    assert entry.cut == 16_000 * 1000 + 3 - len(entry.text)


def test_syslog_lines_of_both_forms() -> None:
    now = datetime.now().astimezone()
    lines = _assemble(
        "syslog",
        f"{now:%b} {now.day:>2} {now:%H:%M:%S} web-1 sshd[812]: Failed password for root",
        "<11>2026-11-21T10:00:00.5+00:00 web-2 shop: ready",
        "no header",
    )
    found = {line.message: line for line in lines}
    ssh = found["Failed password for root"]
    assert (ssh.service, ssh.node, ssh.attributes) == ("sshd", "web-1", {"process.pid": "812"})
    assert format_us(ssh.timestamp)[:19] == f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%S}"
    shop = found["ready"]
    assert (shop.service, shop.node, shop.level, shop.timestamp) == (
        "shop",
        "web-2",
        "error",
        parse_time_us("2026-11-21T10:00:00.5Z"),
    )
    assert found["no header"].service == "svc"


@given(st.sampled_from(FORMS), st.lists(st.text().filter(lambda text: "\n" not in text)))
def test_no_text_is_too_strange(form: Form, lines: list[str]) -> None:
    _assemble(form, *lines)
    if lines:
        sniff_form(lines[0])
        name_container(lines[0])


@pytest.mark.parametrize(
    ("path", "service", "attributes"),
    [
        (
            "/var/log/pods/shop_checkout-6d4cf56db6-x7k2p_0a1b/app/3.log",
            "checkout",
            {
                "k8s.namespace.name": "shop",
                "k8s.pod.name": "checkout-6d4cf56db6-x7k2p",
                "k8s.container.name": "app",
                "k8s.pod.uid": "0a1b",
                "k8s.container.restart_count": 3,
            },
        ),
        ("/var/log/pods/shop_db-0_0a1b/mariadb/0.log", "db", None),
        ("/var/log/pods/kube-system_kube-proxy-x7k2p_0a1b/kube-proxy/0.log.20261121-100000", "kube-proxy", None),
        ("/var/log/containers/checkout-6d4cf56db6-x7k2p_shop_app-" + "a" * 64 + ".log", "checkout", None),
        ("/srv/other.log", "", {}),
    ],
)
def test_names_of_pods(path: str, service: str, attributes: dict[str, object] | None) -> None:
    found, told = name_container(path)
    assert found == service
    assert attributes is None or told == attributes


def test_names_of_docker_containers(tmp_path: Path) -> None:
    container = "0123456789abcdef" * 4
    log = tmp_path / container / f"{container}-json.log"
    log.parent.mkdir()
    assert name_container(str(log)) == ("0123456789ab", {"container.id": container})
    config = log.with_name("config.v2.json")
    config.write_text(json.dumps({"Name": "/shop-db-1", "Config": {"Labels": None}}))
    assert name_container(str(log))[0] == "shop-db-1"
    config.write_text(json.dumps({"Name": "/shop-db-1", "Config": {"Labels": {"com.docker.compose.service": "db"}}}))
    assert name_container(str(log)) == ("db", {"container.id": container, "container.name": "shop-db-1"})


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("2026-11-21 10:00:00,123 INFO started", "info"),
        ("2026/11/21 10:00:00 [error] 12#12: no such file", "error"),
        ("time=2026-11-21 level=warning msg=full", "warn"),
        ("WARN: full", "warn"),
        ("an error was expected here", ""),
        ("", ""),
    ],
)
def test_levels_of_raw_lines(text: str, level: str) -> None:
    assert guess_level(text) == level


def test_the_first_rule_that_holds_decides() -> None:
    rules: list[tuple[LineRule, Action]] = [
        (LineRule("important", keyword="payment"), "keep"),
        (LineRule("quiet", below=Level.INFO), "drop"),
        (LineRule("access", service="web"), "count"),
        (LineRule("errors of others", level=Level.ERROR), "drop"),
    ]
    applied = Filter(rules)
    lines = [
        Line(1, "web", "payment probe", "debug"),
        Line(1, "web", "probe", "debug"),
        Line(1, "web", "GET /", "info"),
        Line(1, "shop", "no level"),
        Line(1, "shop", "failed", "error"),
    ]
    assert [line.message for line in applied.apply(lines)] == ["payment probe", "no level"]
    assert applied.dropped == {"quiet": 1, "errors of others": 1}
    assert applied.counted == {("access", "web"): 1}
