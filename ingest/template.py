"""The template of a log message: what is left when everything that varies is masked. Pure, so ids need no coordination.

A message is masked in two steps, each a pure function:

1. `_shape` writes 0 for every digit, and for the letters of long hexadecimal words, except in what must survive: the
   place of a log statement or of a stack frame (`t.s.TravelServiceImpl#532`, `Foo.java:123`, `", line 33`) and an HTTP
   status (`status=503`, `HTTP/1.1" 200`).
2. `_mask_shape` runs one alternation over the shape. Since it sees nothing but the shape, its results can be kept by
   shape: the cache is exact by construction, and lines that differ in numbers and hashes only are masked once.

Words always survive, so "started" and "stopped" never share a template. Every other digit is variable.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from blake3 import blake3

from ingest.mask_words import VARIABLE, forget_words, mask_words

MASK_VERSION = 2
MASK_CHARS = 4096

_CACHED_SHAPES = 50_000
_ROUNDS = 8
_BETWEEN = "\x1e"  # ASCII's record separator
_JOINED_CHARS = 4_000_000

_SOURCE_FILE = (
    r"(?:java|kt|scala|groovy|py|pyx|go|js|mjs|ts|tsx|jsx|rb|cs|fs|cpp|cc|cxx|hpp|rs|php|swift|exs?|erl|lua|pl)"
)
_KEEP = (
    # dotted.or.CamelCase identifier # line
    r"(?<![\w$.#-])(?:[A-Za-z_$][\w$]*(?:\.[\w$]+)+|[A-Z][a-z0-9]+[A-Z][\w$]*)\#[0-9]{1,6}(?!\w)"
    # path/file.ext:line[:column]
    rf"|(?<![\w$./\\-])[\w$./\\-]+\.{_SOURCE_FILE}:[0-9]{{1,6}}(?::[0-9]{{1,4}})?(?!\w)"
    r"|(?<=\x22,\ )line\ [0-9]{1,6}(?!\w)"
    # HTTP status
    r"|(?<![A-Za-z])[Ss]tatus(?:[ _-]?[Cc]ode)?[\x22']?(?:\s?[:=])?\s?[\x22']?[1-5][0-9]{2}(?![\w.:-])"
    r"|(?<![\w/])HTTP/[0-9](?:\.[0-9])?\x22?\s[1-5][0-9]{2}(?![\w.:-])"
)
_KEPT = re.compile(f"({_KEEP})", re.VERBOSE | re.ASCII)
_NUMBERED = re.compile(r"[A-Za-z_$][\w$.]*+#[0-9]", re.ASCII)
_SOURCE_PLACE = re.compile(rf"\.{_SOURCE_FILE}:[0-9]")
_ZEROES = bytes(ord("0") if chr(code) in "123456789" else code for code in range(256))

# Every alternative needs one of these; a line of words alone is its own template.
_MAY_VARY = re.compile(r"[0-9@=:\"']|eyJ")
_MAY_VARY_AGAIN = re.compile(r"[0-9@\x22']|eyJ|>[A-Za-z]")
_RUN = re.compile(r"<\*>(?:[\s,;:/|._+-]*<\*>)+")
# Words that are hidden whole wherever they stand; next to a hyphen others than UUIDs may be part of something else.
_MAY_BE_HEX = re.compile(r"[0a-fA-F]{8}")
_HEXADECIMAL = re.compile(
    r"(?<![\w-])(?=[a-f]*0)[0a-f]{8,}(?![\w-])|(?<![\w-])(?=[A-F]*0)[0A-F]{8,}(?![\w-])"
    r"|(?<![A-Za-z0])[0a-fA-F]{8}-(?:[0a-fA-F]{4}-){3}[0a-fA-F]{12}(?![A-Za-z0])",
    re.ASCII,
)


class _Cache:
    """Templates by shape, in two generations: what was not asked for since the last turn is dropped at the next."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.young: dict[str, tuple[int, str]] = {}
        self._old: dict[str, tuple[int, str]] = {}

    def find(self, shape: str) -> tuple[int, str]:
        """Return the template of a shape, and keep it under what it has in common with other shapes."""
        found = self.young.get(shape)
        if found is None:
            found = self._old.get(shape)
            if found is None:
                text = _mask_shape(shape)
                found = (template_id(text), text)
            if len(self.young) >= self._size:
                self._old, self.young = self.young, {}
            self.young[shape] = found
        return found


_plain = _Cache(_CACHED_SHAPES)  # of lines of which nothing is kept: all their digits are 0
_kept = _Cache(_CACHED_SHAPES)


def forget() -> None:
    """Empty the caches of templates, so that a measurement begins cold; changes no result."""
    for cache in (_plain, _kept):
        cache.__init__(_CACHED_SHAPES)  # type: ignore[misc]  # in place: others hold it
    forget_words()


def mask(message: str) -> str:
    """Return the message with every variable part as `<*>`; a pure function, and masking twice changes nothing.

    Only the first 4,096 characters count, and the result is never longer than that.
    """
    return _mask_shape(_shape(message))


def template_of(message: str) -> tuple[int, str]:
    """Return the 63-bit template id of a message and the masked text."""
    return _find_template(_zero(message), message)


def templates_of(messages: Sequence[str]) -> list[tuple[int, str]]:
    """Return the template id and the masked text of each message: the same as `template_of` of each, but faster."""
    known = _plain.young.get
    return [
        known(zeroed) or _find_template(zeroed, message)
        for zeroed, message in zip(_zero_all(messages), messages, strict=True)
    ]


def _find_template(zeroed: str, message: str) -> tuple[int, str]:
    if len(zeroed) > MASK_CHARS:
        zeroed = zeroed[:MASK_CHARS]
    if _may_keep(zeroed):
        return _kept.find(_shape(message))
    return _plain.find(_settle(zeroed))


def template_id(text: str) -> int:
    """Return the id of a masked text: the first 63 bits of the BLAKE3 of the mask's version and the text."""
    digest = blake3(f"{MASK_VERSION}\n{text}".encode("utf-8", "surrogatepass")).digest(length=8)
    return int.from_bytes(digest, "big") >> 1


def _zero(text: str) -> str:
    return text.encode("utf-8", "surrogatepass").translate(_ZEROES).decode("utf-8", "surrogatepass")


def _shape(message: str) -> str:
    if len(message) > MASK_CHARS:
        message = message[:MASK_CHARS]
    if not _may_keep(message):
        return _settle(_zero(message))
    parts = _KEPT.split(message)
    parts[::2] = [_zero(part) for part in parts[::2]]
    return "".join(parts)


def _zero_all(messages: Sequence[str]) -> list[str]:
    """Return `_zero` of each message; digits are written over in all of them at once."""
    joined = _BETWEEN.join(messages)
    if len(joined) > _JOINED_CHARS and len(messages) > 1:
        half = len(messages) // 2
        return _zero_all(messages[:half]) + _zero_all(messages[half:])
    zeroed = _zero(joined).split(_BETWEEN)
    if len(zeroed) != len(messages):  # one of them holds what was to stand between them
        return [_zero(message) for message in messages]
    return zeroed


def _settle(zeroed: str) -> str:
    """Write 0 for the letters of long hexadecimal words too, but the first of each: the mask hides them whole anyway.

    So lines that differ in a hash or a UUID have few shapes, and are masked once.
    """
    return _HEXADECIMAL.sub(_settle_word, zeroed) if _MAY_BE_HEX.search(zeroed) else zeroed


def _settle_word(match: re.Match[str]) -> str:
    return "-".join(("0" if part[0] == "0" else "a") + "0" * (len(part) - 1) for part in match[0].split("-"))


def _may_keep(text: str) -> bool:
    """Tell cheaply whether a line may hold something that `_KEPT` finds."""
    return (
        ("#" in text and _NUMBERED.search(text) is not None)
        or "tatus" in text
        or "HTTP/" in text
        or ", line " in text
        or (":" in text and _SOURCE_PLACE.search(text) is not None)
    )


def _mask_shape(shape: str) -> str:
    # What is masked can change the surroundings of its neighbours: repeat until nothing changes, so that the mask of
    # a mask is itself. Nearly every line is done after the first round; a freak that is not after the last has no words.
    text = _mask_once(shape)
    if _MAY_VARY_AGAIN.search(text) is None:
        return text
    for _ in range(_ROUNDS):
        again = _mask_once(_shape(text))
        if again == text:
            return text
        text = again
    return VARIABLE


def _mask_once(shape: str) -> str:
    # What was kept is found again: it holds the only digits that are not 0, and zeroes elsewhere make nothing new.
    parts = _KEPT.split(shape) if _may_keep(shape) else [shape]
    parts[::2] = [mask_words(part) if _MAY_VARY.search(part) else part for part in parts[::2]]
    masked = "".join(parts)
    if masked.count(VARIABLE) > 1:
        masked = _RUN.sub(VARIABLE, masked)
    if len(masked) <= MASK_CHARS:
        return masked
    # Cut between words, so that no half word looks like something else.
    head, _, _ = masked[: MASK_CHARS - len(VARIABLE)].rpartition(" ")
    return _RUN.sub(VARIABLE, f"{head} {VARIABLE}" if head else VARIABLE)
