"""What a sentence says, taken apart: quotations, names, words, and the things of operations that it speaks of.

The words are those of operations in general; no wording of this program's own sentences is special here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from review.quantities import Moment, Quantity, is_quantity, read_moments, read_quantities

_QUOTE = re.compile(r"\"([^\"]{2,600})\"|“([^”]{2,600})”|`([^`]{1,600})`|(?<![\w])'([^']{2,300})'(?![\w])")
_TOKEN = re.compile(r"[^\s,;()\[\]\"'`“”!?]+")
_NAME = re.compile(
    r"(?=.*[A-Za-z/])(?:.*\d.*|.*_.*|.*/.*|\w+(?:\.\w+)+|\w+:\w.*|[a-z]+[A-Z]\w*|[A-Z][a-z]+(?:[A-Z]\w*)+)"
)
_VERSION = re.compile(r"v?\d+(?:\.\d+){2,}\S*")
_WORD = re.compile(r"[A-Za-z]+(?:'[a-z]+)?")
_ORDINARY_NAMES = frozenset("and/or i.e e.g etc vs n/a its/their 1st 2nd 3rd p50 p90 p95 p99".split())
_STOP = frozenset(
    "a an and any are as at be because been before being between both but by came can could did do does during each "
    "even for from had has have here how if in into is it its itself just last later like made make many may more most "
    "much no not now of off on once one only or other our out over own same she so some still such than that the their "
    "them then there these they this those through time to too under until up usual very was we well were what when "
    "where which while who whose why will with within would all also after again against about above below".split()
)

# Words of telling, which say nothing of what is told.
_TELLING = frozenset(
    "show shows shown find found look looking looks see seen saw note noted count counted begin began begun start started "
    "happen happened occur occurred occurrence reason sign evidence according appear appears appeared first last later earlier "
    "number amount several total kind part case point clear clearly indeed come comes came get gets got getting go goes went "
    "receive received give gave given put say says said tell tells told report reports reported reporting mean means meant "
    "reach reached one two three whole entire service services system component behind side end ended ending became become".split()
)

# Things of operations: a sentence that speaks of one needs a record that does, in whatever words.
_CONCEPTS: tuple[tuple[str, str], ...] = (
    ("failure", r"fail\w*|error\w*|broke\w*|crash\w*|unsuccessful|bad|wrong|exception\w*|fault\w*|5\d\d|reject\w*"),
    ("success", r"succeed\w*|successful\w*|without (?:an )?error|healthy|(?:went|are|is|was|were) fine|no errors?"),
    ("latency", r"slow\w*|latenc\w+|took|takes|taking|duration\w*|longer|delay\w*|wait\w*|fast\w*|lasted"),
    ("deploy", r"deploy\w*|releas\w*|roll(?:ed|ing)? ?out|ship(?:ped|ping)|version\w*"),
    ("rollback", r"roll(?:ed|ing|s)?[ -]?back\w*|revert\w*"),
    ("config", r"config\w*|setting\w*|parameter\w*"),
    ("flag", r"feature flag\w*|flag\w*|toggle\w*"),
    ("certificate", r"certificat\w*|tls|ssl|x\.?509|handshake\w*"),
    ("timeout", r"time[ds]?[ -]?out\w*|timeout\w*|deadline\w*|not answer\w*|no (?:answer|response)"),
    ("refused", r"refus\w*|econnrefused|unreachable|cannot connect|no route|connection (?:reset|closed)"),
    ("memory", r"memory|oom\w*|heap|rss|out of memory"),
    ("cpu", r"cpu|processor\w*"),
    ("disk", r"disk\w*|filesystem\w*|inode\w*|volume is full"),
    ("network", r"network\w*|packet\w*|bandwidth"),
    ("dns", r"dns|name resolution|resolv\w+"),
    ("queue", r"queue\w*|backlog\w*|broker\w*|kafka|rabbitmq|consumers?"),
    ("pool", r"pool\w*|connections? (?:left|exhausted|available)"),
    ("database", r"databas\w*|sql\w*|query|queries|table|deadlock\w*|migrat\w*|index(?:es)?"),
    ("restart", r"restart\w*|kill\w*|terminat\w*|evict\w*|sigkill|crashloop\w*"),
    ("access", r"permission\w*|unauthori[sz]ed|forbidden|denied|credential\w*|password\w*|40[13]"),
    ("leak", r"leak\w*"),
    ("traffic", r"traffic|load (?:spike|surge)|overload\w*|flood\w*|surge of requests|rate limit\w*"),
    ("cache", r"cache\w*|evict\w*"),
    ("attack", r"attack\w*|breach\w*|intru\w+|malware"),
    ("hardware", r"hardware|power (?:outage|failure)|overheat\w*"),
)
CONCEPTS = [(name, re.compile(rf"(?<![\w-])(?:{pattern})(?![\w-])", re.IGNORECASE)) for name, pattern in _CONCEPTS]


@dataclass(frozen=True, slots=True)
class Reading:
    """A text taken apart. `names` are identifiers, versions, paths and the like; `words` are stems of content words."""

    text: str
    quotes: tuple[str, ...]
    names: tuple[str, ...]
    words: frozenset[str]
    concepts: frozenset[str]
    quantities: tuple[Quantity, ...]
    moments: tuple[Moment, ...]


def read_text(text: str, services: Iterable[str] = ()) -> Reading:
    """Take a text apart; the names of `services` are none of its words."""
    quotes = tuple(next(filter(None, match.groups())) for match in _QUOTE.finditer(text))
    bare = _QUOTE.sub(lambda m: " " * len(m.group()), text)
    moments, bare = read_moments(bare)
    for service in services:
        bare = _standing(service.lower()).sub(" ", bare) if service.lower() in bare.lower() else bare
    names, bare = _take_names(bare)
    return Reading(
        text=text,
        quotes=quotes,
        names=tuple(names),
        words=stems(bare),
        concepts=concepts_of(bare),
        quantities=tuple(read_quantities(bare)),
        moments=tuple(moments),
    )


def concepts_of(text: str) -> frozenset[str]:
    """Return the things of operations that a text speaks of."""
    return frozenset(name for name, pattern in CONCEPTS if pattern.search(text))


def stems(text: str) -> frozenset[str]:
    """Return the content words of a text, in lower case and without endings."""
    words = (word for word in _WORD.findall(text.lower()) if len(word) > 2)
    return frozenset(stem(word) for word in words if word not in _STOP and word not in _TELLING)


def stem(word: str) -> str:
    """Return a word without its commonest endings: enough to find `failed` in `failing`, no more."""
    word = word.removesuffix("'s")
    for ending in ("ingly", "edly", "ing", "ied", "ies", "ed", "es", "ly", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def mentioned(text: str, names: Iterable[str]) -> frozenset[str]:
    """Return those names that stand in a text as words of their own, whatever their case."""
    lowered = text.lower()
    return frozenset(
        name for name in names if name and name.lower() in lowered and _standing(name.lower()).search(lowered)
    )


def holds_name(text: str, name: str) -> bool:
    """True where an identifier, a path or a version stands in a text whole: `/orders` is not in `/orders/{id}`."""
    return re.search(rf"(?<![\w/.-]){re.escape(name)}(?![\w{{-]|/\w|/\{{|\.\w)", text, re.IGNORECASE) is not None


@lru_cache(maxsize=4096)
def _standing(name: str) -> re.Pattern[str]:
    # A service that a path is named after is not named by it; a host in an address is.
    return re.compile(rf"(?<![\w-])(?<![^/]/){re.escape(name)}(?![\w-])", re.IGNORECASE)


def squeeze(text: str) -> str:
    """Return a text with every run of blanks as one."""
    return " ".join(text.split())


def without_names(text: str) -> str:
    """Return a text with blanks in the places of identifiers, versions and paths."""
    return _take_names(text)[1]


def _take_names(text: str) -> tuple[list[str], str]:
    names: list[str] = []

    def take(match: re.Match[str]) -> str:
        token = match.group().strip(".:-")
        if is_quantity(token) or token.lower().rstrip(".") in _ORDINARY_NAMES:
            return match.group()
        if _VERSION.fullmatch(token) or _NAME.fullmatch(token):
            names.append(token)
            return " " * len(match.group())
        return match.group()

    return names, _TOKEN.sub(take, text)


# Words that stand for a thing of operations: whether a record holds that is asked by the thing, not by the word.
CONCEPT_STEMS = stems(
    "fail failed failing failure failures error errors broke broken crash crashed bad wrong exception fault rejected "
    "succeed succeeded success successful healthy fine slow slower slowed latency took takes duration longer delay delayed "
    "lasted deployed deploy deploying release released rollout shipped version configuration config setting settings "
    "timeout timed refused unreachable memory cpu disk network queue pool database restart restarted killed"
)
