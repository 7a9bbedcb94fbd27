"""What the wording of an error says: which kind of fault, whether it points elsewhere, and whom it names.

The words are those of common runtimes and drivers (errno texts, HTTP, TLS, SQL, JVM, Python, Go, Node), not of any
one system. The first matching row decides, most telling first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from domain.verdict import FaultClass

_CLASSES: tuple[tuple[FaultClass, str], ...] = (
    (
        "certificate",
        r"certificate|\bx509\b|\bcert\b.*expired|tls handshake|ssl(?:error|v3| ?handshake)|unknown ca|notafter",
    ),
    (
        "capacity",
        r"pool (?:limit|size|exhaust|is full|timed? ?out)|queuepool|too many (?:connections|open files|clients|requests)"
        r"|connection pool|exhausted|quota|rate.?limit|\b429\b|no free (?:slots|workers|connections)|queue (?:is )?full"
        r"|max(?:imum)? (?:connections|clients) reached|backpressure|throttl",
    ),
    (
        "resource",
        r"out of memory|\boom(?:killed|-killed)?\b|memoryerror|cannot allocate|heap space|no space left|disk (?:is )?full"
        r"|memory limit|killed process|enospc|exceeded memory|exit(?:ed)?(?: with)?(?: code| status)? 137",
    ),
    (
        "config",
        r"missing (?:environment|config|setting|required)|invalid (?:config|configuration|setting|port|url)"
        r"|configuration error|not configured|no such host|name or service not known|unknown (?:option|setting|host)"
        r"|imagepullbackoff|errimagepull|createcontainerconfigerror",
    ),
    (
        "data",
        r"malformed|corrupt|(?:json|xml|csv|protobuf|avro)?.?(?:decode|parse|parsing|deseriali[sz]ation|unmarshal)\w* ?"
        r"(?:error|fail)|cannot (?:parse|decode|deseriali[sz]e)|jsondecodeerror|invalid (?:json|message|payload|utf)"
        r"|schema (?:mismatch|violation|validation)|constraint|duplicate (?:key|entry)|poison|unexpected (?:token|end of)"
        r"|expecting (?:value|property)|could not (?:parse|decode)"
        r"|slow query|full (?:table )?scan|missing index|lock wait|deadlock|database is locked",
    ),
    (
        "network",
        r"connection reset|broken pipe|no route to host|network is unreachable|packet loss|\beconnreset\b|dns"
        r"|remote end closed|connection (?:was )?aborted|unexpected eof",
    ),
    (
        "dependency",
        r"connection refused|\beconnrefused\b|time[d]?.?out|deadline exceeded|unavailable|\b50[234]\b|bad gateway"
        r"|did not (?:answer|respond|reply)|giving up|upstream|no healthy|circuit (?:breaker )?(?:is )?open|failed to connect|cannot connect|unreachable|gave up"
        r"|no instances available|not (?:confirmed|accepted|acknowledged) (?:in time|within)",
    ),
    (
        "code",
        r"\b(?:key|type|attribute|index|name|assertion|zerodivision|unboundlocal|reference|syntax|notimplemented)error\b"
        r"|nullpointer|null pointer|nil pointer|undefined is not|cannot read propert|classcast|illegalargument"
        r"|illegalstate|indexoutofbounds|panic:|segmentation fault|stack overflow|unhandled (?:exception|error)"
        r"|division by zero|unsupported operand|traceback",
    ),
)
_COMPILED = tuple((name, re.compile(pattern, re.IGNORECASE)) for name, pattern in _CLASSES)

# An error of these kinds is told by the one who waits; the trouble itself may well be elsewhere.
POINTS_ELSEWHERE: frozenset[FaultClass] = frozenset({"dependency", "network"})

_WAITING = re.compile(
    r"tim(?:ed?|ing).?out|deadline exceeded|gave up|still pending|not (?:confirmed|accepted|fulfilled|acknowledged|ready)"
    r"|no (?:answer|response|reply|confirmation) (?:within|after|in)|did not (?:answer|respond|reply)|waited"
    r"|still (?:pending|placed|queued|waiting|unprocessed|in progress)",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"connection refused|econnrefused|no route to host|failed to (?:connect|establish)|cannot connect|max retries"
    r"|name or service not known|no such host|connection reset|econnreset|remote end closed|unreachable|errno 111",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_.][A-Za-z0-9]+)*")


def classify(text: str) -> FaultClass:
    """Return the kind of fault that an error text speaks of, or "unknown"."""
    for name, pattern in _COMPILED:
        if pattern.search(text):
            return name
    return "unknown"


def says_waiting(text: str) -> bool:
    """True where a text says that somebody waited for something that did not come."""
    return bool(_WAITING.search(text))


def says_refused(text: str) -> bool:
    """True where a text says that a connection could not be made or was cut."""
    return bool(_REFUSED.search(text))


def named_services(text: str, services: Iterable[str]) -> list[str]:
    """Return the services whose name stands in a text as a word of its own, in the order of `services`."""
    lowered = text.lower()
    words = {word.lower() for word in _WORD.findall(text)}
    return [s for s in services if s and (s.lower() in words or (_is_no_word(s) and _stands_in(s.lower(), lowered)))]


def _is_no_word(name: str) -> bool:
    """True for a name that is not found as one of a text's words; `_WORD` knows only those that begin with a letter.

    A bare number is never taken for a name: it would be found in any time of day.
    """
    plain = name.isascii() and name.isalnum() and name[0].isalpha()
    return not plain and (any(c.isalpha() for c in name) or not name.isdecimal())


def _stands_in(name: str, text: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text) is not None
