"""Syslog as RFC 5424 and RFC 3164 ask for it, and as it comes."""

from __future__ import annotations

from ipaddress import ip_network
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import PayloadError, SettingsError
from domain.telemetry import Level, LogEvent
from domain.times import format_us, parse_time_us
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


@pytest.mark.parametrize(
    ("text", "time", "node", "service"),
    [
        ("29: *Mar  1 10:42:00.123 UTC: %SYS-5-CONFIG_I: x", "2024-03-01T10:42:00.123000Z", "10.1.2.3", "SYS"),
        ("29: edge-1: 30: .Mar  1 10:42:00: %LINK-3-UPDOWN: x", "2024-03-01T10:42:00Z", "edge-1", "LINK"),
        (": 2024 Mar  1 10:42:00 UTC: %ETHPORT-5-IF_UP: x", "2024-03-01T10:42:00Z", "10.1.2.3", "ETHPORT"),
    ],
)
def test_a_switch_is_not_a_service_for_each_of_its_numbers(text: str, time: str, node: str, service: str) -> None:
    event = read(f"<189>{text}")
    assert (format_us(event.time_us), event.node, event.service) == (time, node, service)
    assert event.message == text[text.index("%") :]
    assert read("<189>4711: text").service == "unknown_service"


def test_times_without_a_zone_are_of_the_zone_that_is_set() -> None:
    rules = read_rules("Europe/Berlin", "")
    assert read("<13>Mar  1 11:42:00 h app: x", rules=rules).time_us == parse_time_us("2024-03-01T10:42:00Z")
    assert read("<13>2024-03-01T10:42:00Z h app: x", rules=rules).time_us == parse_time_us("2024-03-01T10:42:00Z")


def at(moment: str, content: str, zone: str) -> str:
    """Return the time of a message that came at a moment."""
    now = parse_time_us(moment)
    frame = encode_frames([Frame("10.1.2.3", now, content.encode())])
    (event,) = decode_frames(SyslogRules(ZoneInfo(zone)), frame, "", "default", now).records
    return format_us(event.time_us)


@pytest.mark.parametrize(
    ("came", "stamp", "zone", "expected"),
    [
        # A zone that is named needs no other, and none is added to it.
        ("2024-03-01T10:42:00Z", "Mar  1 11:42:00 CET", "Europe/Berlin", "2024-03-01T10:42:00Z"),
        ("2024-03-01T10:42:00Z", "2024-03-01T11:42:00+01:00", "Asia/Tokyo", "2024-03-01T10:42:00Z"),
        ("2024-03-01T10:42:05Z", "1709289720", "Europe/Berlin", "2024-03-01T10:42:00Z"),
        # Around New Year, on both sides of UTC.
        ("2026-12-31T15:30:05Z", "Jan  1 00:30:00", "Asia/Tokyo", "2026-12-31T15:30:00Z"),
        ("2027-01-01T07:59:35Z", "Dec 31 23:59:30", "America/Los_Angeles", "2027-01-01T07:59:30Z"),
        ("2027-01-01T00:00:02Z", "Dec 31 23:59:59", "UTC", "2026-12-31T23:59:59Z"),
        ("2026-12-31T23:59:58Z", "Jan  1 00:00:03", "UTC", "2027-01-01T00:00:03Z"),
        # The hour that comes twice at the end of summer, as it comes first and second.
        ("2026-10-25T00:30:05Z", "Oct 25 02:30:00", "Europe/Berlin", "2026-10-25T00:30:00Z"),
        ("2026-10-25T01:30:05Z", "Oct 25 02:30:00", "Europe/Berlin", "2026-10-25T01:30:00Z"),
        # The hour that there is not in spring, of a clock that was not set.
        ("2026-03-29T01:30:05Z", "Mar 29 02:30:00", "Europe/Berlin", "2026-03-29T01:30:00Z"),
        ("2016-12-31T23:59:59Z", "Dec 31 23:59:60", "UTC", "2017-01-01T00:00:00Z"),
    ],
)
def test_times_of_every_zone_season_and_year(came: str, stamp: str, zone: str, expected: str) -> None:
    assert at(came, f"<13>{stamp} host app: x", zone) == expected


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("2016-12-31T23:59:60.5+00:00", "2017-01-01T00:00:00.500000Z"),
        ("0001-01-01T00:00:00Z", "2024-03-01T10:45:00Z"),
        ("1969-12-31T23:59:59Z", "2024-03-01T10:45:00Z"),
        ("2024-13-45T00:00:00Z", "2024-03-01T10:45:00Z"),
        ("2262-05-01T00:00:00Z", "2024-03-01T10:45:00Z"),
    ],
)
def test_an_odd_time_costs_no_other_field(stamp: str, expected: str) -> None:
    event = read(f"<34>1 {stamp} web-1 cart 7 - - text")
    assert (event.service, event.node, event.message) == ("cart", "web-1", "text")
    assert format_us(event.time_us) == expected


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
