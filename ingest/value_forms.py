"""Forms that one value can take: what stands at a variable and is part of it, or takes its place. Pure.

`1 packet` and `2 packets`, `90 s` and `3 days`, `[]`, `[web, db]` and `[1, 2]`, `10:00` and `10:00 PM` differ in their
value alone, so families write them in one way. In these texts a variable is one character, `HIDDEN`.
"""

from __future__ import annotations

import re

from ingest.words import says_event

HIDDEN = "\x00"  # a variable: one character that no template holds

# A statement of SQL is kept by its verb alone; in small letters only where it begins something.
_MAY_QUERY = re.compile(r"(?:SELECT|INSERT|UPDATE|DELETE|(?<![a-z] )(?:select|insert|update|delete))\s")
_QUERY = re.compile(
    r"(?P<verb>\bSELECT(?=\s[^\x22]{0,2000}?\sFROM\s)|\bINSERT\sINTO|\bDELETE\sFROM|\bUPDATE(?=\s\S{1,80}\sSET\s)"
    r"|(?<![a-z]\s)\b(?:select(?=\s[^\x22]{0,2000}?\sfrom\s)|insert\sinto|delete\sfrom|update(?=\s\S{1,80}\sset\s)))\s[^\x22]+"
)
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
# What follows a variable and belongs to it: units that no number stands close to, the half of a day, zones of time and
# of addresses, the end of base64.
_BELONGS = re.compile(
    r"\x00(?:"
    r"\s(?:days?|weeks?|months?|years?|[kKMG]?bps|[kKMG]i?b(?:it)?/s|[kKMG]i?B/s|[AP]M|UTC|GMT|CES?T|[ECMP][SD]T)\b"
    rf"|\s{_MONTH}\s\x00|%\x00|={{1,2}}(?=[\s,;)\]\x22']|\Z))+"
)
_WRAPPED = re.compile(r"<\x00>|\[\x00\]:\x00")
_NUMBER_WORD = re.compile(r"(?<![\w.-])(?:NaN|nan|[+-]?Infinity|[+-]inf|localhost)(?![\w.-])")
_PLURAL = re.compile(
    r"(?<=\x00\s)(?P<stem>[a-z]{2,}?)(?P<end>ies|(?<=x)es|(?<=ch)es|(?<=sh)es|(?<=ss)es|(?<![sui])s)(?![\w-]|\s?=)"
)
_NO_PLURALS = frozenset("was has does gas bias alias always perhaps canvas".split())
_EMPTY = re.compile(r"(?<=\s)(?:\(\s?\)|\[\s?\]|\{\s?\})(?=[\s,;.]|\Z)")
_NOTHING = re.compile(r"(?<=[\s=(,:])(?P<quote>[\x22'])(?P=quote)(?=[\s,;.)\]}]|\Z)")
_LIST = re.compile(r"(?<=[\[{])(?P<items>[\w.$/\x00-]{1,80}(?:,\s?[\w.$/\x00-]{1,80}){1,200})(?=[\]}])")


def hide_queries(text: str) -> str:
    """Return a text with the statements of SQL in it as their verbs."""
    return _QUERY.sub(rf"\g<verb> {HIDDEN}", text) if _MAY_QUERY.search(text) else text


def write_in_one_way(text: str) -> str:
    """Return a family, not yet folded, with the forms of its values in one way."""
    text = _NUMBER_WORD.sub(HIDDEN, text)
    if HIDDEN in text:
        text = _BELONGS.sub(HIDDEN, _WRAPPED.sub(HIDDEN, text))
        text = _PLURAL.sub(_write_singular, text)
    if "[" in text or "{" in text or "()" in text:
        text = _LIST.sub(_hide_list, text)
        text = _EMPTY.sub(lambda match: f"{match[0][0]}{HIDDEN}{match[0][-1]}", text)
    if "''" in text or '""' in text:
        text = _NOTHING.sub(rf"\g<quote>{HIDDEN}\g<quote>", text)
    return text


def _write_singular(match: re.Match[str]) -> str:
    if match[0] in _NO_PLURALS:
        return match[0]
    return match["stem"] + ("y" if match["end"] == "ies" else "")


def _hide_list(match: re.Match[str]) -> str:
    return match[0] if any(map(says_event, re.findall(r"[\w.-]+", match["items"]))) else HIDDEN
