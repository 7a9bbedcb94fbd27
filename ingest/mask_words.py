"""The variable parts of a shape (`ingest/template.py`), word by word.

One alternation, `_MASK`, says what is variable. Most words are masked the same wherever they stand, so each is masked
once and kept; only what may reach over a blank (a label and its value, a number and its unit) is masked together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from ingest.words import says_event

VARIABLE = "<*>"

_CACHED_WORDS = 50_000
_CACHED_CHARS = 64

_DAY_OR_MONTH = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_UNIT = r"(?:[kKMGTP]i?[Bb]|[Bb]ytes?|B|[nuµm]s|m?secs?|seconds?|s|minutes?|mins?|hours?|h)(?![\w<])"

# What stands before an identifier: order_id=..., "userId":"..."
_LABEL = r"""(?:
    (?<![A-Za-z])(?:[Uu][Uu]|[Gg][Uu]|[PpTtUuSs])?[Ii][Dd]
  | (?<=[a-z])(?:Id|ID|Uuid|UUID|Token)
  | (?<![A-Za-z])(?:[Tt]oken|[Ss]ession|[Uu]uid|UUID)
  | (?<![A-Za-z])(?:user|username|userName|user_name|host|hostname|ip|addr|address|email|phone)(?=[\x22']?\s?=|[\x22']:)
)"""

# The alternatives are tried in this order at each place. In a shape every digit outside of what is kept is a 0.
_MASK = re.compile(
    rf"""
    (?P<plain>(?<!\S)(?:                               # words that nothing below can match, many at once
      (?!{_DAY_OR_MONTH}[,\ ])[A-Za-z]++[,;.]?
      (?:\ (?![=:])|\Z))++)
  | (?P<label>{_LABEL}
    )(?P<assign>[\x22']?\s?[=:]\s?[\x22']?)
    (?!<\*>|(?:null|None|nil|undefined|true|false)(?![\w<]))(?P<value>[^\s\x22',;&()\[\]{{}}=:]+)
  | \b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),?\ (?=[A-Z0])   # weekday and month of a date: only before digits
      (?:0{{1,2}}\ )?(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\ {{1,2}}0(?:[:,. ]{{0,2}}0)*
  | \b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\ {{1,2}}0{{1,2}},?\ 0(?:[:.,]?0)*
  | (?<![A-Za-z0])0{{1,2}}[/-](?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[/-]0{{2,4}}(?:[:.,]?0)*(?:\ [+-]0000)?
  | (?<![A-Za-z0])[0a-fA-F]{{8}}-(?:[0a-fA-F]{{4}}-){{3}}[0a-fA-F]{{12}}(?![A-Za-z0])
  | (?<![\w:])(?=[a-fA-F:]*0)(?:[0a-fA-F]{{1,4}})?(?::[0a-fA-F]{{0,4}}){{2,7}}(?![\w:])       # IPv6, MAC
  | (?<![\w.+@-])[\w.+-]{{1,64}}@[\w.+@-]*\w                                          # e-mail
  | (?<![\w.-])eyJ[\w-]{{8,}}(?:\.[\w-]+)*                                                   # JWT
  | (?<=[\x22'])[A-Za-z0+/=_.-]{{32,}}(?=[\x22'])                                            # long quoted token
  | (?<=[a-z0])-(?=[a-z-]*0)[bcdfghj-np-tv-xz0]{{6,10}}-[bcdfghj-np-tv-xz0]{{5}}(?![\w-])                # Kubernetes pod suffix
  | (?<![A-Za-z0])(?P<word>[A-Za-z]+0[A-Za-z0]*)                                             # word with digits
  | (?:(?<![\w)\]>])[+-])?0[A-Za-z0µ]*(?:[.,:/+-](?=0)[A-Za-z0µ]+)*                          # number, address, time
      (?:%|\ ?{_UNIT})?
    """,
    re.VERBOSE | re.ASCII,
)
_NAMED = re.compile(r"([A-Za-z]{2,})0+(?:((?<!00)[A-Za-z]{3,}))?")
_HEX = re.compile(r"[0a-f]{6,}|[0A-F]{6,}")

# Every alternative needs one of these.
_VARIES = re.compile(r"[0@=:\x22']|eyJ")
# What may be masked together with the word after it: a label, or what stands between one and its value.
_REACHES = re.compile(rf"(?:{_LABEL}[\x22']?\s?|\A)[=:]\Z", re.VERBOSE | re.ASCII)
# What may be masked together with the word before it: a sign, a unit, the offset of a time.
_ATTACHED = re.compile(rf"[=:]|[+-]0000|{_UNIT}", re.ASCII)
_DATED = re.compile(rf"(?<!\w){_DAY_OR_MONTH},?\Z", re.ASCII)
_IN_DATE = re.compile(r"[:,.]{0,2}0|\Z")


_AFTER, _BEFORE, _DATE = 1, 2, 4


class _Words(dict[str, str | None]):
    """Masked words; None for what may have to be masked with its neighbours. Bounded: emptied when it is full."""

    def __missing__(self, word: str) -> str | None:
        masked = _mask_alone(word)
        if len(word) <= _CACHED_CHARS:
            if len(self) >= _CACHED_WORDS:
                self.clear()
            self[word] = masked
        return masked


_words = _Words()


def forget_words() -> None:
    """Empty the caches of masked words; changes no result."""
    _words.clear()
    _mask_short.cache_clear()
    _together.cache_clear()


def mask_words(text: str) -> str:
    """Return a shape with every variable part as `<*>`, once over: the same as one pass of the alternation."""
    words = text.split(" ")
    masked: list[str | None] = [*map(_words.__getitem__, words)]
    while None in masked:
        at = masked.index(None)
        if not at or _together(words[at]) != _BEFORE:
            return " ".join(map(_mask_group, _join_groups(text)))
        group = f"{words[at - 1]} {words[at]}"  # a number and its unit, nearly always
        words[at - 1 : at + 1], masked[at - 1 : at + 1] = [group], [_mask_group(group)]
    return " ".join(masked)  # type: ignore[arg-type]  # no None is left


def mask_whole(text: str) -> str:
    """Return a shape with every variable part as `<*>`, by one pass of the alternation."""
    return _MASK.sub(_replace, text)


def _mask_alone(word: str) -> str | None:
    if _together(word):
        return None
    return mask_whole(word) if _VARIES.search(word) else word


@lru_cache(_CACHED_WORDS)
def _together(word: str) -> int:
    """Return with what a word may have to be masked, as bits: what stands after or before it, the rest of a date."""
    after = word[-1:] in ("=", ":") and _REACHES.search(word) is not None
    return _AFTER * after | _BEFORE * (_ATTACHED.match(word) is not None) | _DATE * (_DATED.search(word) is not None)


def _join_groups(text: str) -> Iterator[str]:
    """Yield the words, those that may have to be masked together as one."""
    group, before = "", 0
    for at, word in enumerate(text.split(" ")):
        bits = 0 if _words[word] is not None else _together(word)
        if before & _DATE and _IN_DATE.match(word):
            bits |= _DATE
        if at and (before & _AFTER or bits & _BEFORE or (before & bits & _DATE)):
            group = f"{group} {word}"
        else:
            if at:
                yield group
            group = word
        before = bits
    yield group


def _mask_group(group: str) -> str:
    known = None if " " in group else _words[group]
    if known is not None:
        return known
    return _mask_short(group) if len(group) <= _CACHED_CHARS else mask_whole(group)


_mask_short = lru_cache(_CACHED_WORDS)(mask_whole)


def _replace(match: re.Match[str]) -> str:
    match match.lastgroup:
        case "plain":
            return match[0]
        case "value" if says_event(match["value"]):  # `session: opened`, `host=down`
            return match[0]
        case "value":
            return f"{match['label']}{match['assign']}{VARIABLE}"
        case "word":
            return _mask_word(match[0])
        case _:
            return VARIABLE


def _mask_word(word: str) -> str:
    """Keep the letters of `worker12` and `Travel2Service`; hide `x2k4j` and `a3f9c2d` whole."""
    named = _NAMED.fullmatch(word)
    if named is None or _HEX.fullmatch(word):
        return VARIABLE
    return f"{named[1]}{VARIABLE}{named[2] or ''}"
