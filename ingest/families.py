"""Families of templates: what a template is without the names, paths and lists in it. Pure.

A template keeps every word, so that a line can be told from any other. A family also hides what has the shape of a
name (paths, hosts, files, quoted names, values of keys, a user after "user"), and folds lists of any length into one.
Words that say what happened (`ingest/event_words.txt`) are never hidden, nor is a word in the place of one: "started"
and "stopped", "up" and "down", with and without "not" are never of one family.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from blake3 import blake3

from ingest.mask_words import VARIABLE
from ingest.value_forms import HIDDEN as _V
from ingest.value_forms import hide_queries, write_in_one_way
from ingest.words import is_name, says_event, says_event_surely, says_outcome

FAMILY_VERSION = 2


_IS = re.compile(r"(?:is|has|was)_?(?=[A-Z]|(?<=_))")
# Keys whose values say what happened, not to whom.
_TELLING = (
    r"(?:.*[._-])?(?:status|state|result|outcome|reason|err|error|code|event|action|kind|op|operation|method|level"
    r"|severity|phase|health|condition|cause|msg|message|exception|verdict|response|signal)"
)
_TELLING_KEY = re.compile(_TELLING, re.IGNORECASE)
# Keys whose values are names, whatever they look like.
_NAMING_KEY = re.compile(
    r"(?:.*[._-])?\w*?(?:name|user|id|host|path|file|dir|tag|key|addr|address|ip|port|tty|dev|device|package|pkg|class|url|uri"
    r"|email|token|session|cmd|command|exe|node|pod|container|namespace|image|topic|table|queue|bucket|region|zone|version)",
    re.IGNORECASE,
)
# What may follow "user" or "host" and is not its name, beside words that say what happened.
_NO_NAMES = frozenset(
    "is was has had name names id ids list session request access key token data account does can".split()
)
# Words that say what happened, and yet are common names of accounts; no two of them are opposites.
_ACCOUNTS = frozenset(("boot", "power", "info", "server", "source", "master"))
_BOOLEAN = re.compile(r"(?:true|false|null|none|nil|undefined|yes|no|y|n)", re.IGNORECASE)
_ATOM_CHARS = r"[^\s,;=()\[\]{}\x22'`|:<>+@#%]"
# Only what may be a name: with a variable, a dot or a slash in it, or too long for a word.
_ATOM = re.compile(
    rf"(?<!{_ATOM_CHARS})(?:[^\s,;=()\[\]{{}}\x22'`|:<>+@#%\x00./]*+[\x00./]{_ATOM_CHARS}*+|{_ATOM_CHARS}{{41,}}+)"
)
_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s\x22'<>)\]},]+")
_WINDOWS_PATH = re.compile(r"(?<!\w)(?:[A-Za-z]:|\\\\[\w.$\x00-]+|\\?[\w.\x00]+)(?:\\[^\s\\:\x22'<>|,;]+)+\\?")
_PAIR = re.compile(
    r"(?P<key>[A-Za-z_][\w.-]{0,60}[\x22']?)(?P<sign>\s?=\s?|\s?=>\s?|(?<=[\x22']):\s?|:(?=[^\s:/\\]))"
    r"(?P<value>\x22(?:[^\x22\\]|\\.){0,2000}+\x22|'[^']{0,2000}'|[^\s,;&()\[\]{}\x22'=|]*)(?![\w=])"
)
# What every pair has, but for `word:` before a variable alone, which is left as it is.
_MAY_PAIR = re.compile(r"=|:(?!\x00(?:[\s,;&()\[\]{}\x22'|]|\Z))[^\s:/\\]|[\x22']:")
_QUOTED = re.compile(
    r"(?<!\w)(?P<quote>[\x22'`])(?P<name>[^\s\x22'`,;:{}\[\]]{1,200}|[\w\x00/.][^\s\x22'`,;{}\[\]]{1,200}[\w\x00/])(?P=quote)(?!\s?=|\s?:(?!"
    r"\s(?!(?:[Tt]rue|[Ff]alse|[Nn]ull|None)\b)[A-Za-z]))"
)
_MASKED_PAIR = re.compile(r"\x00=[0-9a-f]{1,16}\b")
_COLON_AFTER = re.compile(r"\s?:")
_GNU_QUOTED = re.compile(r"(?<!\w)(?P<quote>`)(?P<name>[^\s\x22'`,;:{}\[\]]{1,200})'(?!\s?[:=])")
_ARGUMENT = re.compile(r"(?<=[(,\s])(?:true|false|null)(?=[),])")
_LABELLED = re.compile(
    r"\b(?P<label>(?:[Uu]ser(?:name)?|[Aa]ccount|[Hh]ost(?:name)?|[Ll]ogin|[Pp]rincipal)(?:\s?:)?\s)(?P<name>[\w.\x00$@-]{1,64})"
    r"(?=\s*(?:$|[\[(,.;]|\x00|\b(?:from|by|at|on|via|to|in|with|port|logged|has|is|was|does|not)\b))"
)
_PRINCIPAL = re.compile(r"\b(?P<label>(?:for|by)\s)(?P<name>[\w.$@-]{1,64})(?=\s*(?:from\s\x00|\(uid|\[\w+\]$))")
_MAY_LABEL = re.compile(r"[Uu]ser|[Aa]ccount|[Hh]ost|[Ll]ogin|[Pp]rincipal|\b(?:for|by)\s")
_NAMED = re.compile(r"(?<=\x00)\s?[(\[](?P<name>[A-Za-z][\w.-]{1,64})[)\]]")
_OBJECT = re.compile(r"(?<=[=:])\s?[\w.\x00]*[({\[][\s\x00]{1,3}[)}\]]")
_FIRST = re.compile(r"[a-z][a-z\d-]{3,62}(?=:\x00\s)")
_ADDRESS = re.compile(r"(?<![\w.:-])(?:[\w\x00-]+\.)+[A-Za-z]{2,24}(?=:\x00)")
_DOTS = re.compile(r"\s*\.{3,}\s*")
_CALLED = re.compile(r"(?<=\w)\((?P<name>[\w.-]{1,64})\)")
_SENTENCE = re.compile(
    r"(?<![\w\x00>])\x22(?P<words>[^\s\x22,;:)\]}][^\s\x22]{0,299}\s[^\x22]{1,300})\x22"
    r"|(?<![\w\x00>])'(?P<single>[^\s',;:)\]}][^\s']{0,99}\s[^']{0,100}[^\s'])'(?!\w)"
)
_SAID = re.compile(r"[\w'’]+")
_METHOD = re.compile(r"(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|CONNECT|TRACE)\s")
_SIGNED = re.compile(r"(?<![\w\x00])[<>~≈@#$*+-]{1,2}=?(?=\x00)")
_UNIT = r"(?:\s?(?:[kKMGTP]?i?[Bb]ytes?|[kKMGT]i?[Bb]|m?sec(?:ond)?s?|min(?:ute)?s?|hours?|days?|ms|us|ns)\b)?"
_RUN = re.compile(rf"\x00{_UNIT}(?:[\s,;:/|._+*x@#-]*(?:[(\[{{]\s?\x00{_UNIT}\s?[)\]}}]|\x00{_UNIT}))+")
_WRAPPED = re.compile(r"\x00(?:\s?[(\[]\x00[)\]])+")
_JOINED = re.compile(r"\x00(?:(?:,\s?|\s?[|&/]\s?|\s(?:and|or)\s)\x00)+")
_REPEATED_TOKENS = 8
_HOST = re.compile(
    r"(?:[a-z0\x00](?:[\w\x00-]*[\w\x00])?\.)+(?:com|org|net|edu|gov|mil|io|dev|app|cloud|local|internal|lan|svc|arpa|info|biz"
    r"|(?!(?:id|is|to|no|in|at|it|by|me|so|py|js|ts|go|rs|rb|cs|cc|sh|md|pl|or|as|an|am|us|do|my|ok|if|up|on|of)\b)[a-z]{2})\.?",
    re.IGNORECASE,
)
_PACKAGE = re.compile(r"(?:com|org|net|io|edu|gov|cn|de|tv|me)(?:\.[\w\x00$]+){2,}(?:/[\w.$\x00]+)?")
_FILE = re.compile(
    r"[\w.+\x00-]+\.(?:conf|cfg|ini|log|txt|xml|json|ya?ml|properties|jar|war|so|dll|exe|sys|sh|bat|t?gz|bz2|xz|zip|tar|tmp"
    r"|bak|db|sqlite|sock|pid|pem|crt|cer|key|csv|tsv|parquet|html?|css|png|jpe?g|gif|svg|pdf|mp[34]|bin|dat|out|lock"
    r"|service|socket|timer|mount|automount|slice|scope|manifest|cab|mum|plist|app|apk|img|iso|rpm|deb|whl)"
)
_CLASS = re.compile(r"(?:Error|Exception|Throwable|Fault)$")


@lru_cache(20_000)
def family_text(text: str) -> str:
    """Return the family of a template's text; pure, and the family of a family is itself or coarser."""
    # Many templates differ in their addresses alone: what follows is done once for all of these.
    return _hide_names(_hide_addresses(text))


def forget() -> None:
    """Empty the caches of families, so that a measurement begins cold; changes no result."""
    for cached in (family_text, _hide_names, _hide_atoms):
        cached.cache_clear()


def _hide_addresses(text: str) -> str:
    text = text.replace(_V, " ").replace(VARIABLE, _V)
    if "..." in text:
        text = _DOTS.sub(" ... ", text)
    if "://" in text:
        text = _URL.sub(_V, text)
    if "\\" in text:
        text = _WINDOWS_PATH.sub(_V, text)
    if f":{_V}" in text:
        text = _ADDRESS.sub(_V, text)
        first = _FIRST.match(text)
        if first is not None and is_name(first[0]):
            return _V + text[first.end() :]
    return text


@lru_cache(20_000)
def _hide_names(text: str) -> str:
    text = hide_queries(text)
    if f"{_V}=" in text:
        text = _MASKED_PAIR.sub(f"{_V}={_V}", text)
    if _MAY_PAIR.search(text):
        text = _PAIR.sub(_hide_value, text)
    if '"' in text or "'" in text or "`" in text:
        text = _QUOTED.sub(_hide_quoted, text)
        if "`" in text:
            text = _GNU_QUOTED.sub(_hide_quoted, text)
    text = " ".join(map(_hide_atoms, text.split(" ")))
    if _MAY_LABEL.search(text):
        text = _PRINCIPAL.sub(_hide_named, _LABELLED.sub(_hide_named, text))
    if "(" in text or "[" in text or "{" in text:
        text = _hide_in_brackets(text)
    if '"' in text or "'" in text:
        text = _SENTENCE.sub(_hide_sentence, text)
    text = _SIGNED.sub("", write_in_one_way(text))
    for _ in range(3):
        folded = _JOINED.sub(_V, _WRAPPED.sub(_V, _RUN.sub(_V, text)))
        if folded == text:
            break
        text = folded
    return " ".join(_fold_repeated(text.split())).replace(_V, VARIABLE)


def _fold_repeated(tokens: Sequence[str]) -> list[str]:
    """Leave one of several equal groups of up to eight tokens in a row that hold a variable."""
    kept: list[str] = []
    bare: list[str] = []
    for token in tokens:
        kept.append(token)
        bare.append(token.rstrip(",;"))
        for size in range(1, min(_REPEATED_TOKENS, len(kept) // 2) + 1):
            if (
                bare[-1] == bare[-1 - size]
                and bare[-size:] == bare[-2 * size : -size]
                and any(_V in each for each in bare[-size:])
            ):
                del kept[-2 * size : -size], bare[-2 * size : -size]
                break
    return kept


@lru_cache(20_000)
def _hide_atoms(word: str) -> str:
    return _ATOM.sub(_hide_atom, word)


def _hide_in_brackets(text: str) -> str:
    text = _ARGUMENT.sub(_V, text)
    text = _NAMED.sub(_hide_inside, text)
    text = _CALLED.sub(_hide_inside, text)
    return _OBJECT.sub(_V, text)


def _hide_inside(match: re.Match[str]) -> str:
    return match[0] if says_event(match["name"]) else f"({_V})"


def family_id(text: str) -> int:
    """Return the 63-bit id of the family with this text; another mask leaves it as it is."""
    digest = blake3(f"family {FAMILY_VERSION}\n{text}".encode("utf-8", "surrogatepass")).digest(length=8)
    return int.from_bytes(digest, "big") >> 1


def _hide_value(match: re.Match[str]) -> str:
    key, sign, value = match["key"], match["sign"], match["value"]
    bare = value.strip("\x22'")
    # A word without quotes after one in quotes is no value: `in queue 'a': adding ...`.
    if (
        sign[0] == ":"
        and (bare == value or key[-1:] not in "\x22'")
        and not _BOOLEAN.fullmatch(bare)
        and _V not in bare
    ):
        return match[0]
    if not bare:
        return f"{key}{sign}{_V}" if sign.strip() != ":" else match[0]
    name = key.strip("\x22'")
    telling = _TELLING_KEY.fullmatch(name) is not None
    if _BOOLEAN.fullmatch(bare):
        return match[0] if telling or says_event(_IS.sub("", name)) else f"{key}{sign}{_V}"
    naming = _NAMING_KEY.fullmatch(name) is not None and not telling
    if " " in bare:
        words = bare.split()
        says = telling or len(words) > 3 or (not naming and any(map(says_event, words)))
        return match[0] if says else f"{key}{sign}{_V}"
    keeps = (not naming and (says_event_surely(bare) or says_outcome(bare))) or (
        telling and bare.replace("_", "").replace("-", "").isalpha()
    )
    return match[0] if keeps else f"{key}{sign}{_V}"


def _hide_quoted(match: re.Match[str]) -> str:
    name, after = (
        match["name"].partition("(")[2].rstrip(")") or match["name"],
        _COLON_AFTER.match(match.string, match.end()),
    )
    if says_event_surely(name) or says_outcome(name) or (after is not None and "{" in match.string[: match.start()]):
        return match[0]
    return f"{match['quote']}{_V}{match[0][-1]}"


def _hide_sentence(match: re.Match[str]) -> str:
    # What a line begins with is what it says; and the method of a request says what was asked for.
    quote, words = match[0][0], match[0][1:-1]
    if (method := _METHOD.match(words)) is not None:
        return f"{quote}{method[0]}{_V}{quote}"
    keeps = match.start() == 0 or any(says_event(word) for word in _SAID.findall(words))
    return match[0] if keeps else f"{quote}{_V}{quote}"


def _hide_named(match: re.Match[str]) -> str:
    name = match["name"].lower()
    keeps = name in _NO_NAMES or (says_event(name) and name not in _ACCOUNTS)
    return match[0] if keeps else f"{match['label']}{_V}"


def _hide_atom(match: re.Match[str]) -> str:
    atom = match[0].rstrip(".!?")
    end = match[0][len(atom) :]
    return f"{_V}{end}" if atom != _V and _is_name(atom) else match[0]


def _is_name(atom: str) -> bool:
    """True for what has the shape of a name or number of one thing: path, host, file, identifier with digits."""
    if _V in atom:
        return True
    if "/" in atom:
        first, _, rest = atom.partition("/")
        if not rest or _HOST.fullmatch(first):
            return True
        if _PACKAGE.fullmatch(first) and (rest.startswith(".") or _PACKAGE.fullmatch(rest)):
            return True
        return atom.count("/") >= 2 or (atom[0] in "/~." and len(atom) > 2) or bool(_FILE.fullmatch(rest))
    if len(atom) > 40:
        return True
    if "." not in atom[1:-1] or _CLASS.search(atom):
        return False
    return bool(_HOST.fullmatch(atom) or _PACKAGE.fullmatch(atom) or _FILE.fullmatch(atom))
