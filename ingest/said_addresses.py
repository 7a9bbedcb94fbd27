"""Whom a log line says that its service calls: hosts with ports, and hosts of URLs, in a line about a connection. Pure.

Prose names nobody: "inventory is slow" says nothing here, "connect to inventory:8080: refused" does. Nor do lines about
those who call (`from 10.0.0.9:41234`, `listening on web:8080`).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from ingest.fields import clean_name
from storage.said_calls import SaidAddress

_READ_CHARS = 600
_MOST = 4

_OF_A_CONNECTION = re.compile(
    r"\bconnect(?!or|ed client)\w*|\bdial\b|\bupstreams?\b|refused|unreachable|no route to host|tim(?:ed?|ing)[ -]?out"
    r"|deadline exceeded|getaddrinfo|\blookup\b|\bresolv(?:e|ing)\b|bad gateway|unavailable|max retries|\bbrokers?\b"
    r"|\b(?:get|post|put|patch|delete|head|rpc|grpc|http) request\b|\brequest (?:to|for)\b|\bcall(?:ing|s|ed)?\b"
    r"|\bfailed to (?:reach|fetch|send|query|publish)|\bpool\b|\breset by peer\b|\beconn[a-z]+",
    re.IGNORECASE,
)
# What a template shows where a line may hold an address: masked, or the letters of its host.
_MAY_HOLD = re.compile(r"<\*>|://")
_HOST = r"\[[0-9a-f:.]{2,45}\]|[a-z0-9](?:[a-z0-9_.-]{0,126}[a-z0-9])?"
_ADDRESS = re.compile(
    # https://user@host:8080, inventory:8080, inventory/10.0.0.7:8080
    r"(?:(?<![A-Za-z_])(?P<before>[A-Za-z_]{1,16})[\s=:\"'`(\[<>,;-]{1,4})?(?<![\w.@$-])"
    rf"(?:(?P<scheme>[a-z][a-z0-9+.-]{{1,15}})://(?:[^\s/@\"']{{1,80}}@)?(?P<in_url>{_HOST})(?::\d{{1,5}})?(?![\w@-])"
    rf"|(?:(?P<resolved>[a-z][\w.-]{{0,126}})/)?(?P<host>{_HOST}):(?P<port>\d{{2,5}})(?![\w@-]|:\d))"
    # HTTPConnectionPool(host='inventory', port=8080); server at "db" (10.0.0.7), port 5432; host "db" ... on port 5432
    r"|(?:\bhost=|\bhost |\bserver at )[\"'](?P<quoted>[a-z0-9][\w.-]{0,126})[\"'][^\"']{0,80}?\bport\b",
    re.IGNORECASE,
)
_CALLS_US = frozenset(
    {"from", "client", "by", "remote", "remoteaddr", "listening", "listen", "bind", "bound", "local", "accepted", "src"}
)
_WE_CALL = frozenset(
    {"to", "tcp", "dial", "upstream", "host", "lookup", "connect", "connecting", "calling", "broker", "server", "at"}
    | {"reach", "via", "with", "backend", "endpoint", "addr", "address", "target", "url", "resolve", "resolving"}
)
_LISTENS = re.compile(r"\b(?:listening|bound|bind(?:ing)?|serving|started|accepted)\b", re.IGNORECASE)
_FILE = re.compile(
    r"\.(?:java|kt|scala|groovy|py|pyx|go|js|mjs|ts|tsx|jsx|rb|cs|fs|cpp|cc|cxx|c|h|hpp|rs|php|swift|exs?|erl|lua|pl"
    r"|log|conf|ya?ml|json|xml)$"
)
_CLUSTER = re.compile(r"^([a-z0-9-]+)\.([a-z0-9-]+)\.svc(?:\..+)?$")
_LETTER = re.compile(r"[a-z]")


def may_say_address(template: str) -> bool:
    """Say whether lines of a template can say whom their service calls: so that few lines are read at all."""
    return (
        _MAY_HOLD.search(template) is not None
        and _OF_A_CONNECTION.search(template) is not None
        and _LISTENS.search(template[:_READ_CHARS]) is None
    )


def read_said_addresses(message: str) -> list[SaidAddress]:
    """Return the hosts that a line says its service calls, without repeats, at most four."""
    text = message[:_READ_CHARS]
    if not _OF_A_CONNECTION.search(text) or _LISTENS.search(text):
        return []
    return list(dict.fromkeys(_addresses(text)))[:_MOST]


def _addresses(text: str) -> Iterator[SaidAddress]:
    for match in _ADDRESS.finditer(text):
        host = match["in_url"] or match["quoted"] or match["resolved"] or match["host"]
        host = host.lower().rstrip(".").strip("[]")
        before = (match["before"] or "").lower()
        if before in _CALLS_US or host == "localhost" or ".." in host:
            continue
        if match["port"] and (_FILE.search(host) or not 20 <= int(match["port"]) <= 65535):
            continue
        if _is_ip(host):
            if not ipaddress.ip_address(host).is_loopback:
                yield SaidAddress(host, (), sure=True)
        elif _LETTER.search(host):
            plain = match["host"] is not None and "." not in host and not match["resolved"]
            yield SaidAddress(host, _names(host), sure=not plain or before in _WE_CALL)


def _names(host: str) -> tuple[str, ...]:
    inside = _CLUSTER.match(host)
    if inside:
        return (inside[1],)
    return tuple(dict.fromkeys((clean_name(host), host.partition(".")[0])))


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
