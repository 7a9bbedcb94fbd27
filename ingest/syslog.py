"""Syslog messages, RFC 5424 and RFC 3164 and what people send under those names, to log events.

Nothing is refused: of what cannot be read as either, the whole text is the message.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import msgspec

from domain.errors import PayloadError
from domain.telemetry import UNKNOWN_SERVICE, LogEvent, Scalar
from domain.times import parse_time_us
from ingest.fields import clean_attributes, clean_environment, clean_name, parse_level
from ingest.log_event import LogDraft, draft_log_event, with_templates
from ingest.payload import Decoded
from ingest.timestamps import clock_in, moment_in, read_stamp

type Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_USUAL = 13  # user.notice, which RFC 3164 gives to messages without a priority
_FACILITIES = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp", "audit",
    "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
)  # fmt: skip
_PRIORITY = re.compile(r"<(\d{1,3})>")
_HEADER_5424 = re.compile(r"([1-9]\d?) (\S{1,64}) (\S{1,255}) (\S{1,255}) (\S{1,128}) (\S{1,64})(?: |$)")
# Every alternative begins with another character, so that nothing is tried twice.
_ELEMENT = re.compile(r'\[([^ =\]"]{1,64})((?: +[^ =\]"]{1,64}="(?:[^"\\\]]|\\.)*")*) *\]', re.DOTALL)
_PARAMETER = re.compile(r' +([^ =\]"]{1,64})="((?:[^"\\\]]|\\.)*)"', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\\]])')
_HOST = re.compile(r"[^\s:\[\]]{1,255}(?= )")
_TAG = re.compile(r"(?!\d+:)([^\s:\[\]]{1,64})(?:\[([^\]\s]{1,32})\])?:(?: |$)")
# Cisco's: a sequence number, the host, a mark at a clock that was not set; behind the time `%FACILITY-SEVERITY-NAME:`.
_CISCO_HEAD = re.compile(r"(?:\d{1,10}: |: )?(?:(?P<host>[\w.-]{1,64}): )?(?:\d{1,10}: )?[*.]?")
_CISCO_TAG = re.compile(r"(?: \w{1,5})?: (?=%(?P<facility>[A-Z][A-Z0-9_]{0,31})(?:-[A-Z0-9_]{1,32}){1,4}-?:)")
_ENVIRONMENTS = ("deployment.environment.name", "deployment.environment", "environment", "env")
_DATE = re.compile(r"\d{4}-\d\d-\d\dT")


@dataclass(frozen=True, slots=True)
class SyslogRules:
    """How messages are read: the zone of times that name none, and the environments of networks, narrowest first."""

    zone: ZoneInfo
    environments: Sequence[tuple[Network, str]] = ()

    def environment_of(self, peer: str) -> str:
        """Return the environment of a sender's address; empty where no network holds it."""
        address = read_peer(peer)
        found = (name for network, name in self.environments if address is not None and address in network)
        return next(found, "")


@dataclass(frozen=True, slots=True)
class Frame:
    """A message as it came: from which address, when (microseconds), which bytes."""

    peer: str
    received_us: int
    content: bytes


@dataclass(slots=True)
class _Said:
    """What a message says of itself."""

    text: str
    time_us: int | None = None
    host: str = ""
    program: str = ""
    process: str = ""
    message_id: str = ""
    elements: dict[str, str] | None = None


def read_peer(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return a sender's address; an IPv4 address in IPv6 clothes is the IPv4 address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def encode_frames(frames: Sequence[Frame]) -> bytes:
    """Return frames as the body of a delivery, for `decode_frames`."""
    return msgspec.msgpack.encode([(frame.peer, frame.received_us, frame.content) for frame in frames])


def decode_frames(
    rules: SyslogRules, body: bytes, content_type: str, environment: str, now_us: int
) -> Decoded[LogEvent]:
    """Return the log events of frames; raises PayloadError for a body that `encode_frames` has not made."""
    try:
        frames = msgspec.msgpack.decode(body, type=list[tuple[str, int, bytes]])
    except (msgspec.DecodeError, msgspec.ValidationError) as exc:
        raise PayloadError(f"Not a batch of syslog messages: {exc}") from exc
    return with_templates(Decoded([_draft(rules, Frame(*frame), environment) for frame in frames]))


def _draft(rules: SyslogRules, frame: Frame, environment: str) -> LogDraft:
    text = frame.content.decode("utf-8", "replace").rstrip("\r\n\0")
    priority, rest = _read_priority(text)
    said = (
        _read_5424(rest)
        or _read_cisco(rest, rules.zone, frame.received_us)
        or _read_3164(rest, rules.zone, frame.received_us)
    )
    elements = said.elements or {}
    facility = _FACILITIES[priority >> 3]
    header = {"syslog.facility": facility, "process.pid": said.process, "syslog.msgid": said.message_id}
    attributes: dict[str, Scalar] = {name: value for name, value in header.items() if value}
    return draft_log_event(
        said.text,
        environment=_environment_of(elements) or rules.environment_of(frame.peer) or environment,
        time_us=said.time_us if said.time_us is not None else frame.received_us,
        service=clean_name(said.program) or UNKNOWN_SERVICE,
        level=parse_level(priority & 7),
        node=clean_name(said.host or frame.peer),
        trace_id=_id_in(elements, "trace_id", 32),
        span_id=_id_in(elements, "span_id", 16),
        attributes=attributes | clean_attributes(elements.items()),
    )


def _read_priority(text: str) -> tuple[int, str]:
    found = _PRIORITY.match(text)
    if found is None or int(found[1]) > 191:
        return _USUAL, text
    return int(found[1]), text[found.end() :]


# -- RFC 5424 ----------------------------------------------------------------------------------------------------------


def _read_5424(text: str) -> _Said | None:
    found = _HEADER_5424.match(text)
    if found is None:
        return None
    time_us = None
    if found[2] != "-":
        if not _DATE.match(found[2]):
            return None  # it only begins like one
        with suppress(ValueError):  # a clock that stands before 1970: its arrival has to do
            time_us = parse_time_us(found[2])
    elements, end = _read_elements(text, found.end())
    message = text[end:].removeprefix(" ").removeprefix("\ufeff")
    host, program, process, message_id = (_nil(found[at]) for at in (3, 4, 5, 6))
    return _Said(message, time_us, host, program, process, message_id, elements)


def _nil(text: str) -> str:
    return "" if text == "-" else text


def _read_elements(text: str, at: int) -> tuple[dict[str, str], int]:
    """Return the parameters of structured data as `id.name`, and where the message begins."""
    if text.startswith("-", at):
        return {}, at + 1
    elements: dict[str, str] = {}
    while (found := _ELEMENT.match(text, at)) is not None:
        for name, value in _PARAMETER.findall(found[2]):
            elements[f"{found[1]}.{name}"] = _ESCAPED.sub(r"\1", value)
        at = found.end()
    return elements, at


def _environment_of(elements: dict[str, str]) -> str:
    for key, value in elements.items():
        if key.endswith(tuple(f".{name}" for name in _ENVIRONMENTS)):
            try:
                return clean_environment(value)
            except ValueError:
                continue
    return ""


def _id_in(elements: dict[str, str], name: str, size: int) -> str:
    said = (value.lower() for key, value in elements.items() if key.endswith(f".{name}"))
    return next((text for text in said if len(text) == size and not text.strip("0123456789abcdef")), "")


# -- RFC 3164 ----------------------------------------------------------------------------------------------------------


def _read_stamp(text: str, at: int, zone: ZoneInfo, now_us: int) -> tuple[int | None, int]:
    """Return the time that begins at a place, if one does, and where it ends."""
    stamp = read_stamp(text, clock_in(zone, now_us), at)
    if stamp is None:
        return None, at
    return stamp.time_us if stamp.zoned else moment_in(zone, stamp.time_us, now_us), stamp.end


def _read_cisco(text: str, zone: ZoneInfo, now_us: int) -> _Said | None:
    if "%" not in text[:200]:
        return None
    head = _CISCO_HEAD.match(text)
    if head is None:
        return None
    time_us, end = _read_stamp(text, head.end(), zone, now_us)
    tag = _CISCO_TAG.match(text, end)
    return _Said(text[tag.end() :], time_us, head["host"] or "", tag["facility"]) if tag else None


def _read_3164(text: str, zone: ZoneInfo, now_us: int) -> _Said:
    time_us, end = _read_stamp(text, 0, zone, now_us)
    host, at = "", 0
    if time_us is not None:
        at = end + 1
        # The host is what comes before the tag; a text with a tag alone has none.
        if text[at - 1 : at] == " " and not _TAG.match(text, at) and (found := _HOST.match(text, at)):
            host, at = found[0], found.end() + 1
    tag = _TAG.match(text, at)
    if tag is None:
        return _Said(text[at:], time_us, host)
    return _Said(text[tag.end() :].lstrip(" "), time_us, host, tag[1], tag[2] or "")
