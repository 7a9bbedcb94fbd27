"""Syslog as RFC 5424 and RFC 3164 ask for it, and as it comes."""

from __future__ import annotations

from ipaddress import ip_network
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import PayloadError, SettingsError
from domain.telemetry import Level, LogEvent
from domain.times import parse_time_us
from ingest.syslog import Frame, SyslogRules, decode_frames, encode_frames
from ingest.syslog_framing import Framer
from ingest.syslog_settings import read_networks, read_rules, read_tls
from storage.batch import Batch, prepare

NOW = parse_time_us("2024-03-01T10:45:00Z")
RULES = SyslogRules(ZoneInfo("UTC"))


def read(content: bytes | str, peer: str = "10.1.2.3", rules: SyslogRules = RULES) -> LogEvent:
    raw = content.encode() if isinstance(content, str) else content
    decoded = decode_frames(rules, encode_frames([Frame(peer, NOW, raw)]), "", "default", NOW)
    (event,) = decoded.records
    return event


def test_rfc_5424_with_structured_data_and_a_byte_order_mark() -> None:
    event = read(
        b'<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog 8710 ID47 [exampleSDID@32473 iut="3" '
        b'eventSource="App\\"li\\]cation\\\\" eventID="1011"][trace trace_id="0123456789abcdef0123456789ABCDEF"] '
        b"\xef\xbb\xbfAn application event log entry \xc3\xa9"
    )
    assert (event.message, event.level) == ("An application event log entry é", Level.INFO)
    assert event.time_us == parse_time_us("2003-10-11T22:14:15.003Z")
    assert (event.service, event.node, event.trace_id) == (
        "evntslog", "mymachine.example.com", "0123456789abcdef0123456789abcdef",
    )  # fmt: skip
    assert event.attributes == {
        "syslog.facility": "local4", "process.pid": "8710", "syslog.msgid": "ID47", "exampleSDID@32473.iut": "3",
        "exampleSDID@32473.eventSource": 'App"li]cation\\', "exampleSDID@32473.eventID": "1011",
        "trace.trace_id": "0123456789abcdef0123456789ABCDEF",
    }  # fmt: skip


def test_rfc_5424_may_leave_everything_out() -> None:
    event = read("<0>1 - - - - - -")
    assert (event.message, event.service, event.node, event.time_us, event.level) == (
        "", "unknown_service", "10.1.2.3", NOW, Level.FATAL,
    )  # fmt: skip
    assert read("<14>1 2024-03-01T11:42:00+01:00 h app - - - text").time_us == parse_time_us("2024-03-01T10:42:00Z")


@pytest.mark.parametrize(
    ("text", "node", "service", "pid", "message", "time"),
    [
        ("<34>Oct 11 22:14:15 mymachine su: 'su root' failed", "mymachine", "su", None, "'su root' failed", "2023-10-11T22:14:15Z"),
        ("<13>Mar  1 10:42:00 web-1 cart[4711]: started", "web-1", "cart", "4711", "started", "2024-03-01T10:42:00Z"),
        ("<13>Mar  1 10:42:00 cart[4711]: started", "10.1.2.3", "cart", "4711", "started", "2024-03-01T10:42:00Z"),
        ("<13>2024-03-01T11:42:00.5+01:00 web-1 cart: up", "web-1", "cart", None, "up", "2024-03-01T10:42:00.5Z"),
        ("<13>Mar  1 10:42:00 web-1 no tag here", "web-1", "unknown_service", None, "no tag here", "2024-03-01T10:42:00Z"),
        ("<13>cart: no time", "10.1.2.3", "cart", None, "no time", "2024-03-01T10:45:00Z"),
        ("<13>just text", "10.1.2.3", "unknown_service", None, "just text", "2024-03-01T10:45:00Z"),
        ("no priority", "10.1.2.3", "unknown_service", None, "no priority", "2024-03-01T10:45:00Z"),
        ("<999>odd", "10.1.2.3", "unknown_service", None, "<999>odd", "2024-03-01T10:45:00Z"),
    ],
)  # fmt: skip
def test_rfc_3164_and_what_goes_by_its_name(
    text: str, node: str, service: str, pid: str | None, message: str, time: str
) -> None:
    event = read(text)
    assert (event.node, event.service, event.attributes.get("process.pid"), event.message) == (
        node,
        service,
        pid,
        message,
    )
    assert event.time_us == parse_time_us(time)


def test_times_without_a_zone_are_of_the_zone_that_is_set() -> None:
    rules = read_rules("Europe/Berlin", "")
    assert read("<13>Mar  1 11:42:00 h app: x", rules=rules).time_us == parse_time_us("2024-03-01T10:42:00Z")
    assert read("<13>2024-03-01T10:42:00Z h app: x", rules=rules).time_us == parse_time_us("2024-03-01T10:42:00Z")


def test_the_environment_is_what_the_message_says_else_that_of_the_narrowest_network() -> None:
    rules = read_rules("UTC", "10.0.0.0/8=wide, 10.1.0.0/16=narrow,fd00::/8=six")
    assert [read("x", peer, rules).environment for peer in ("10.1.2.3", "10.2.2.3", "::ffff:10.1.0.1", "fd00::1%eth0", "1.1.1.1")] == [
        "narrow", "wide", "narrow", "six", "default",
    ]  # fmt: skip
    assert read('<13>1 - h a - - [meta@1 environment="said"] x', "10.1.2.3", rules).environment == "said"


@pytest.mark.parametrize(
    "wrong", ["10.0.0.0/8", "10.0.0.0/8=", "nonsense=prod", "10.0.0.0/99=prod", "10.0.0.0/8=" + "e" * 65]
)
def test_wrong_settings_are_named(wrong: str) -> None:
    with pytest.raises(SettingsError, match="CAUSEGRAPH_SYSLOG_ENVIRONMENTS"):
        read_rules("UTC", wrong)
    with pytest.raises(SettingsError, match="CAUSEGRAPH_SYSLOG_ZONE"):
        read_rules("Mars/Base", "")
    with pytest.raises(SettingsError, match="CAUSEGRAPH_SYSLOG_ALLOW"):
        read_networks("syslog_allow", "10.0.0.0/8,x")
    assert read_networks("syslog_allow", "10.1.2.3, ::1") == [ip_network("10.1.2.3/32"), ip_network("::1/128")]
    assert read_tls(None, None) is None


def frames_of(stream: bytes, cuts: list[int], limit: int = 100) -> list[bytes]:
    framer, found, last = Framer(limit), list[bytes](), 0
    for cut in [*sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]:
        found += framer.feed(stream[last:cut])
        last = cut
    rest = framer.rest()
    return [*found, rest] if rest else found


def test_streams_are_cut_by_counts_and_by_lines() -> None:
    long = b"<13>" + b"x" * 200
    stream = (
        b"5 <1>ab<2>line\r\n7 <3>\nbin<4>z\n\n"
        + str(len(long)).encode()
        + b" "
        + long
        + b"<5>"
        + b"y" * 200
        + b"\n<6>end\n12 no count\n<7>last"
    )
    expected = [
        b"<1>ab", b"<2>line", b"<3>\nbin", b"<4>z", long[:100], b"<5>" + b"y" * 97, b"<6>end", b"12 no count", b"<7>last",
    ]  # fmt: skip
    assert frames_of(stream, []) == expected
    assert frames_of(stream, list(range(len(stream)))) == expected


@given(
    st.lists(st.tuples(st.booleans(), st.binary(max_size=150)), max_size=6), st.lists(st.integers(0, 2000), max_size=8)
)
@settings(max_examples=300, deadline=None)
def test_any_cutting_of_a_stream_gives_the_same_messages(messages: list[tuple[bool, bytes]], cuts: list[int]) -> None:
    stream, expected = b"", []
    for counted, noise in messages:
        content = b"<13>" + (noise if counted else noise.replace(b"\n", b" ").replace(b"\r", b" ").replace(b"\0", b" "))
        stream += str(len(content)).encode() + b" " + content if counted else content + b"\n"
        expected.append(content[:100])
    assert frames_of(stream, cuts) == expected


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=6))
@settings(max_examples=300, deadline=None)
def test_any_stream_is_cut_the_same_however_it_comes(stream: bytes, cuts: list[int]) -> None:
    assert frames_of(stream, cuts) == frames_of(stream, [])


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: b"<13>1 - - - - - [" + text.encode()))
@settings(max_examples=400, deadline=None)
def test_any_message_becomes_an_event(content: bytes) -> None:
    prepare(Batch("e", "logs", "k", NOW, logs=[read(content)]))


@pytest.mark.parametrize("piece", [b'[a b="', b"[a ", b'a="\\', b"[", b"<1", b" ", b'\\"', b'[a b="c"', b"1 "])
def test_long_messages_take_little_time(piece: bytes) -> None:
    read(b"<13>1 - - - - - [a " + piece * (64_000 // len(piece)))
    read(b"<13>Mar  1 10:42:00 " + piece * (64_000 // len(piece)))


@given(st.binary(max_size=60))
def test_a_body_that_is_no_batch_is_refused(body: bytes) -> None:
    try:
        decode_frames(RULES, body, "", "default", NOW)
    except PayloadError:
        return
