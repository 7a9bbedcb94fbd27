"""Which kind of question it is, by its English words: the cause of trouble, or something that can be looked up."""

from __future__ import annotations

import re

from agents.models import Intent

_WHY = re.compile(
    r"\b(?:why|how come|root cause|what (?:caused|causes|broke|happened|went wrong|is wrong|is going on)|what's (?:wrong|going on))\b",
    re.IGNORECASE,
)
_KINDS: tuple[tuple[Intent, re.Pattern[str]], ...] = (
    ("runbook", re.compile(r"\b(?:runbooks?|playbooks?)\b", re.IGNORECASE)),
    (
        "code",
        re.compile(
            r"\bwhere (?:is|are|do we|does) .{0,200}\b(?:logged|raised|thrown|defined|written)\b|\bwhich (?:line|file|function|method|class)\b"
            r"|\b(?:source code|in the code|code of|who wrote|commit)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "count",
        re.compile(
            r"\b(?:how many|how often|how much|number of|count (?:of |the )?)\b.{0,80}\b(?:errors?|lines?|logs?|requests?|failures?|exceptions?|warnings?"
            r"|times|messages|calls|timeouts?|fail\w*)\b|\berror (?:count|rate)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "templates",
        re.compile(
            r"\b(?:log )?templates?\b|\bwhat (?:kinds?|types?|sorts?) of (?:log )?(?:lines?|logs?|errors?|messages?)\b"
            r"|\b(?:most (?:frequent|common)|top|new|noisiest)\b.{0,20}\b(?:log lines?|lines?|errors?|messages?|logs?)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "changes",
        re.compile(
            r"\bwhat (?:was |has been |has |got |is |else )?(?:changed|deployed|released|rolled out|new)\b|\bwhat changes\b|\b(?:which|any|recent|latest|last|list|show)\b.{0,30}"
            r"\b(?:deploy(?:s|ments?)?|changes|releases|rollouts?|config(?:uration)? changes)\b|\bwhen was\b.{0,60}\b(?:deployed|changed|released)\b|\bwho (?:deployed|changed|released)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "calls",
        re.compile(
            r"\b(?:who|what|which services?)\b.{0,30}\b(?:calls?|depends? on|uses?|talks? to|relies on|rely on)\b|\b(?:dependenc(?:y|ies)|dependents?|callers?|upstreams?"
            r"|downstreams?|blast radius|call graph|topology)\b|\bwhat does\b.{0,60}\b(?:call|depend on|use|talk to)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "logs",
        re.compile(
            r"\b(?:show|see|list|print|give|get|read|tail|display|find|search)\b.{0,40}\b(?:logs?|log lines?|lines?|messages?|errors)\b|\b(?:the )?logs (?:of|for|from)\b"
            r"|^\W*(?:the |its |their )?logs\b",
            re.IGNORECASE,
        ),
    ),
)
# "Why" where people do not ask in English: whatever a model makes of such a question, it is one about a cause.
_WHY_IN_OTHERS = re.compile(
    r"\b(?:warum|wieso|weshalb|woran|pourquoi|por ?qu[eé]|perch[eéè]|waarom|varför|hvorfor|dlaczego|proč|neden|niçin|miért|de ce|почему|зачем)\b"
    r"|なぜ|どうして|为什么|為什麼|왜|لماذا|למה",
    re.IGNORECASE,
)
_ELSEWHERE = re.compile(r"\bon[- ]call\b", re.IGNORECASE)
_FIELD = re.compile(
    r"\b(?:why|fail\w*|error\w*|slow\w*|latenc\w*|down|outage\w*|incident\w*|alert\w*|crash\w*|broke\w*|break\w*|deploy\w*|release\w*|roll\w*|log\w*|trace\w*|span\w*"
    r"|metric\w*|service\w*|request\w*|timeout\w*|time out|cause\w*|symptom\w*|health\w*|wrong|problem\w*|issue\w*|happen\w*|going on|affected|impact\w*|degrad\w*|unavailable"
    r"|exception\w*|cpu|memory|disk|network|database|queue\w*|pod\w*|node\w*|container\w*|cluster|server\w*|system\w*|site|app\w*|api\w*|traffic|customer\w*|user\w*"
    r"|restart\w*|config\w*|certificate\w*|dns|5xx|4xx|500s?|p9\d|runbook\w*|template\w*|call\w*|depend\w*|chang\w*|code|function|ok|okay|fine|working|work|works|status|it|this|that|anything|everything|sure|certain|fix|mend"
    r"|next steps?|should (?:i|we)|(?:can|could) (?:i|we) do)\b",
    re.IGNORECASE,
)


def kind_of(text: str) -> Intent:
    """Return the kind of a question; `why` for everything that is not clearly of another kind."""
    if _WHY.search(text):
        return "why"
    if _ELSEWHERE.search(text):
        return "other"
    return next((kind for kind, pattern in _KINDS if pattern.search(text)), "why")


def asks_why(text: str) -> bool:
    """Say whether a question in another language than English asks for a cause."""
    return _WHY_IN_OTHERS.search(text) is not None


def is_of_the_field(text: str) -> bool:
    """Say whether a text has any word that a question about running systems would have."""
    return _FIELD.search(text) is not None and not _ELSEWHERE.search(text)
