from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.times import SECOND_US, format_us, to_us
from ingest.timestamps import (
    _read_formats,
    _read_iso,
    clock_in,
    moment_in,
    parse_any_time,
    parse_said_time,
    read_stamp,
)

NOW = to_us(datetime(2026, 11, 21, 14, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "moment", "rest"),
    [
        ("2026-11-21T10:00:00Z up", "2026-11-21T10:00:00Z", " up"),
        ("2026-11-21T10:00:00.123456789+02:00", "2026-11-21T08:00:00.123456Z", ""),
        ("2026-11-21 10:00:00,123 INFO", "2026-11-21T10:00:00.123000Z", " INFO"),
        ("2026-11-21 10:00:00 UTC x", "2026-11-21T10:00:00Z", " x"),
        ("2026/11/21 10:00:00 [error]", "2026-11-21T10:00:00Z", " [error]"),
        ("Nov 21 10:00:00 host", "2026-11-21T10:00:00Z", " host"),
        ("Nov  1 10:00:00 host", "2026-11-01T10:00:00Z", " host"),
        ("Dec 31 23:59:59 host", "2025-12-31T23:59:59Z", " host"),
        ("Nov 22 13:00:00 host", "2026-11-22T13:00:00Z", " host"),
        ("Feb 29 10:00:00 host", "2024-02-29T10:00:00Z", " host"),
        ("Sun Dec 04 04:47:44 2005", "2005-12-04T04:47:44Z", ""),
        ("Sun Dec 04 04:47:44.123456 2005", "2005-12-04T04:47:44.123456Z", ""),
        ("10/Oct/2000:13:55:36 -0700]", "2000-10-10T20:55:36Z", "]"),
        ("Mon, 02 Jan 2006 15:04:05 GMT", "2006-01-02T15:04:05Z", ""),
        ("02-Jan-2006 15:04:05.123 INFO", "2006-01-02T15:04:05.123000Z", " INFO"),
        ("Jan 02, 2006 3:04:05 PM org", "2006-01-02T15:04:05Z", " org"),
        ("12/31/2026 12:00:00 AM x", "2026-12-31T00:00:00Z", " x"),
        ("31/12/2025 10:00:00", "2025-12-31T10:00:00Z", ""),
        ("01.12.2025 10:00:00", "2025-12-01T10:00:00Z", ""),
        ("I1121 10:00:00.123456    1 a.go", "2026-11-21T10:00:00.123456Z", "    1 a.go"),
        ("03-17 16:13:38.811  1702", "2026-03-17T16:13:38.811000Z", "  1702"),
        ("17/06/09 20:10:40 INFO", "2017-06-09T20:10:40Z", " INFO"),
        ("081109 203615 148", "2008-11-09T20:36:15Z", " 148"),
        ("20171223-22:15:29:606|Step", "2017-12-23T22:15:29.606000Z", "|Step"),
        ("20171223T221529Z", "2017-12-23T22:15:29Z", ""),
        ("2005-06-03-15.42.50.675872 R02", "2005-06-03T15:42:50.675872Z", " R02"),
        ("2026 Nov  1 10:00:00 UTC: x", "2026-11-01T10:00:00Z", ": x"),
        ("2026-Nov-21 10:00:00.5 x", "2026-11-21T10:00:00.500000Z", " x"),
        ("10:00:00.123 [main]", "2026-11-21T10:00:00.123000Z", " [main]"),
        ("23:00:00 [main]", "2026-11-20T23:00:00Z", " [main]"),
        ("1117838570 x", "2005-06-03T22:42:50Z", " x"),
        ("1699999999.123 x", "2023-11-14T22:13:19.123000Z", " x"),
        ("1699999999123 x", "2023-11-14T22:13:19.123000Z", " x"),
        ("1699999999123456 x", "2023-11-14T22:13:19.123456Z", " x"),
        ("1699999999123456789 x", "2023-11-14T22:13:19.123456Z", " x"),
    ],
)
def test_every_common_format_is_read(text: str, moment: str, rest: str) -> None:
    stamp = read_stamp(text, NOW)
    assert stamp is not None
    assert (format_us(stamp.time_us), text[stamp.end :]) == (moment, rest)


@pytest.mark.parametrize(
    "text", ["", "x", "99999999999", "2026-13-45T10:00:00Z", "12:61:00", "Feb 31 10:00:00", "id 5"]
)
def test_what_is_no_time_is_none(text: str) -> None:
    assert read_stamp(text, NOW) is None
    with pytest.raises(ValueError, match="not a time"):
        parse_any_time(text, NOW)


@given(st.text(max_size=90) | st.from_regex(r"[0-9A-Za-z /:.,+-]{1,40}", fullmatch=True), st.integers(-(2**63), 2**63))
def test_any_text_is_a_time_or_none(text: str, now_us: int) -> None:
    stamp = read_stamp(text, now_us)
    assert stamp is None or (stamp.time_us >= 0 and 0 < stamp.end <= min(64, len(text)))


@given(
    st.tuples(
        st.sampled_from(["2026-11-21", "1999-02-28", "2026-02-29", "2026/11/21", "0026-11-21", "2199-12-31"]),
        st.sampled_from(["T", " ", "_", ", "]),
        st.sampled_from(["10:00:00", "23:59:60", "24:00:00", "24:59:59", "9:00:00", "10:00:001"]),
        st.sampled_from(["", ".1", ",123", ":123456", ".123456789", ".1234567890", "."]),
        st.sampled_from(["", "Z", "+02:00", "-0730", "+2", " +0200", "Zulu", "+02:00x"]),
        st.sampled_from(
            ["", " ", " INFO", "|x", " PM", "AM", " ERROR", " EST", " E", "-", " CET", " am", "]", "\u00e9", " 7"]
        ),
    ).map("".join)
)
def test_the_quick_way_reads_what_the_formats_read(text: str) -> None:
    quick = _read_iso(text, 0)
    assert quick is None or quick == _read_formats(text, NOW, 0)
    assert read_stamp(text, NOW) == _read_formats(text, NOW, 0)


@pytest.mark.parametrize(
    ("text", "zoned"),
    [("2026-11-21T10:00:00", False), ("2026-11-21T10:00:00Z", True), ("Nov 21 10:00:00 CET", True),
     ("Nov 21 10:00:00", False), ("I1121 10:00:00.123456", False), ("1699999999", True)],
)  # fmt: skip
def test_a_text_without_a_zone_is_known(text: str, zoned: bool) -> None:
    stamp = read_stamp(text, NOW)
    assert stamp is not None
    assert stamp.zoned is zoned


@given(st.integers(0, 2_000_000_000), st.sampled_from(("UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York")))
def test_what_a_clock_shows_is_found_again(second: int, name: str) -> None:
    moment, zone = second * SECOND_US, ZoneInfo(name)
    assert moment_in(zone, clock_in(zone, moment), moment) == moment


def test_a_field_may_say_its_time_in_any_format() -> None:
    for value in ("22/Nov/2026:10:00:00 +0100", "Sun, 22 Nov 2026 09:00:00 GMT", "2026-11-22 09:00:00 UTC", 1795338000):
        assert format_us(parse_said_time(value, NOW)) == "2026-11-22T09:00:00Z"
    assert format_us(parse_said_time("2016-12-31T23:59:60.25Z", NOW)) == "2017-01-01T00:00:00.250000Z"
    for bad in (
        "yesterday",
        "10 o'clock",
        True,
        float("nan"),
        10**400,
        "2026-11-22 10:00:00 LMT",
        "2016-12-31T23:59:61Z",
    ):
        with pytest.raises(ValueError):
            parse_said_time(bad, NOW)
