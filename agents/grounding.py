"""Holding a sentence of a model against the records that it cites. Pure: no model is asked whether a model was right.

What cannot be shown to stand in the records is cut. Cutting a true sentence costs little, since the claims that code wrote
stay in the answer beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from diagnosis.wording import named_services

_TOLERANCE = 0.02
_SUPPORT = 0.35
_NUMBER = re.compile(
    r"(?<![\w.])(\d+(?:[.,]\d+)?)(?:\s?(ms|milliseconds?|s|sec|seconds?|min|minutes?|%))?(?![\w])", re.IGNORECASE
)
_PAIR = re.compile(r"(\d+) of (\d+)")
_CLOCK = re.compile(r"\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?")
_COMMON = frozenset(
    "this that with from when then were have been began begin started after before about service which".split()
)
_MILLISECONDS = {"ms": 1.0, "mi": 60_000.0, "s": 1_000.0}
_WORD = re.compile(r"[a-z][a-z0-9_'-]{3,}", re.IGNORECASE)
_QUOTED = re.compile(r"[\"'“‘«„`]([^\"'”’»“`]{4,200})[\"'”’»“`]")

# Nothing that somebody could be led to do: what is to be done comes from runbooks alone.
_DEED = re.compile(
    r"https?:|www\.|[\w-]+\.(?:com|net|org|io|sh|ru|cn|xyz|info)\b|[\w.+-]+@[\w-]+\.\w|`|\$\(|&&|\|\||;\s*\w+\s+-|[|>]\s*(?:sh|bash)\b"
    r"|\b(?:sudo|curl|wget|kubectl|helm|docker|chmod|systemctl|ssh|scp|rm\s+-|drop\s+(?:table|database)|delete\s+from|truncate\s+table"
    r"|powershell|base64\s+-d|eval\(|exec\()",
    re.IGNORECASE,
)
_ADVICE = re.compile(
    r"^\W*(?:please\s+|bitte\s+|por favor\s+)?(?:run|execute|restart|reboot|delete|drop|remove|disable|turn off|approve|grant|give|allow|send"
    r"|open|visit|click|email|e-mail|contact|call|set|scale|roll ?back|revert|apply|install|download|ignore|disregard|forget|forward|share"
    r"|reveal|print|paste|tell|notify|page|confirm|close|resolve|mark|skip|stop|kill|flush|wipe|rotate)\b"
    r"|\b(?:you|we|operators?|engineers?|everyone|someone|the team|sie|wir) (?:should|must|need to|have to|can now|are to|sollten|müssen)\b"
    r"|\b(?:should|must|needs? to|has to|have to) be (?:run|restarted|deleted|disabled|approved|rolled|executed|granted|sent|ignored)",
    re.IGNORECASE,
)
# A record that speaks to whoever reads it, and a sentence that passes that on.
_SPEAKS = re.compile(
    r"\b(?:ignore|disregard|forget|override|bypass)\b.{0,40}\b(?:previous|prior|above|earlier|all|any|your|the|these|instructions?|rules?|prompts?)\b"
    r"|\b(?:system prompt|system message|new instructions?|your instructions?|instructions? (?:to|for) (?:you|the)|you are (?:now |an? |the )|as an ai"
    r"|(?:ai|llm|language model|assistant|chatbot|copilot|agent|model)[,:]|dear (?:ai|assistant|model)|(?:the|this|any) (?:ai|llm|assistant|language model)"
    r"|(?:respond|reply|answer|output|say|state|report|conclude|write|declare) (?:only |exactly |that |with |in |as |the |\"|')"
    r"|(?:tell|inform|convince|advise) (?:the )?(?:users?|operators?|engineers?|them|him|her|everyone)|must (?:say|output|answer|report|conclude|approve)"
    r"|jailbreak|developer mode|end of (?:log|data|evidence|records?)|begin(?:ning)? of (?:system|instructions?)|<?/?(?:system|instructions?)>?:"
    r"|verdict (?:is|must|should)|root cause (?:is|must|should)|pre-?approved|auto-?approve|approved by|do not (?:mention|report|tell|investigate))",
    re.IGNORECASE | re.DOTALL,
)
_WELL = re.compile(
    r"\b(?:healthy|false alarm|false positive|all (?:is |are |systems? (?:are |is )?)?(?:well|good|fine|ok|okay|green|normal|operational)"
    r"|no (?:problem|incident|issue|outage|error|fault|failure|action|trouble)s?\b|nothing (?:is |was )?(?:wrong|broken|happened)|not (?:at fault|the cause|responsible)"
    r"|(?:has been |is |was |already )?(?:resolved|recovered|fixed|mitigated)|unaffected|innocent|keine? (?:problem|fehler|störung)\w*|alles (?:gut|in ordnung)|gesund"
    r"|tout va bien|aucun problème|sin problemas|todo (?:está )?bien|nessun problema|tutto (?:va )?bene|sem problemas)\b",
    re.IGNORECASE,
)
_CAUSE = re.compile(
    r"\b(?:caus\w*|root|because|due to|responsible|blame\w*|fault of|culprit|led to|leads to|triggered|result of|originat\w*|ursache\w*|verursacht\w*|wegen|weil"
    r"|schuld|aufgrund|à cause|provoqué\w*|causad\w*|porque|debido|culpa|dovuto|perché|oorzaak|door)\b",
    re.IGNORECASE,
)
_RISE = re.compile(
    r"\b(?:rose|rising|rises?|increas\w*|grew|growing|climb\w*|jump\w*|spik\w*|surg\w*|doubl\w*|tripl\w*|higher|gestiegen|stieg|steigt|erhöht\w*|höher"
    r"|augment\w*|hausse|aument\w*|subi[óo]|subieron|crec\w*|salit\w*|cresc\w*|gestegen|hoger)\b",
    re.IGNORECASE,
)
_FALL = re.compile(
    r"\b(?:fell|falls?|falling|drop(?:s|ped|ping)?|decreas\w*|declin\w*|shrank|lower(?:ed)?|halv\w*|plung\w*|gesunken|sank|sinkt|gefallen|fiel|verringert\w*|niedriger"
    r"|baiss\w*|diminu\w*|baj[óo]\w*|disminu\w*|cay[óo]|calat\w*|scend\w*|scese|gedaald|lager)\b",
    re.IGNORECASE,
)
_SURE = re.compile(
    r"\b(?:definitely|certainly|undoubtedly|confirmed|proven|without (?:a )?doubt|100 ?%|surely|sicher|zweifellos|certainement)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Ground:
    """What sentences are held against: per evidence id everything that its record and the claims on it say.

    `causes` are the services that the verdict names, `path` those of its chains, `services` all that are known.
    """

    texts: Mapping[str, str]
    services: Sequence[str]
    causes: frozenset[str]
    path: frozenset[str]
    confirmed: bool


def speaks_to_reader(text: str) -> bool:
    """Say whether a record speaks to whoever reads it, as attacks through logs do."""
    return _SPEAKS.search(text) is not None


def fault_of_sentence(text: str, evidence: Sequence[str], ground: Ground, *, english: bool) -> str:
    """Return why a sentence is cut, or ""."""
    if not evidence:
        return "it cites nothing"
    if any(i not in ground.texts for i in evidence):
        return "it cites a record that was not retrieved in this run"
    cited = " \n ".join(ground.texts[i] for i in evidence)
    if speaks_to_reader(cited):
        return "its record speaks to its reader"
    if fault := _fault_of_words(text, ground):
        return fault
    if set(named_services(text, ground.services)) - set(named_services(cited, ground.services)):
        return "its records speak of other services"
    if stray := _stray_numbers(text, cited):
        return f"no record says {stray}"
    if any(quote.casefold() not in cited.casefold() for quote in _QUOTED.findall(text)):
        return "it quotes what no record says"
    if (_RISE.search(text) and not _RISE.search(cited) and _FALL.search(cited)) or (
        _FALL.search(text) and not _FALL.search(cited) and _RISE.search(cited)
    ):
        return "its direction is wrong"
    return "" if _holds(text, cited, ground, english) else "its records speak of something else"


def fault_of_headline(text: str, told: str, ground: Ground) -> str:
    """Return why a headline is not used, or ""; `told` is what the verdict says in the words of code."""
    if fault := _fault_of_words(text, ground, headline=True):
        return fault
    named = set(named_services(text, ground.services))
    if not ground.causes <= named:
        return "it does not name the cause"
    if named - ground.causes - ground.path:
        return "it names another service"
    if not ground.confirmed and _SURE.search(text):
        return "it is surer than the verdict"
    if stray := _stray_numbers(text, told):
        return f"the verdict does not say {stray}"
    return "it speaks to its reader" if speaks_to_reader(text) else ""


def adds_to(text: str, told: str) -> bool:
    """Say whether a text speaks of causes, or says that all is well, where what it is to repeat does not."""
    return any(pattern.search(text) and not pattern.search(told) for pattern in (_CAUSE, _WELL, _SURE))


def _fault_of_words(text: str, ground: Ground, *, headline: bool = False) -> str:
    if _DEED.search(text) or _ADVICE.search(text):
        return "it says what to do"
    if "[masked" in text:
        return "it shows what was masked"
    if speaks_to_reader(text):
        return "it speaks to its reader"
    if ground.causes and _WELL.search(text):
        return "it says that all is well"
    if not headline and _CAUSE.search(text):
        named = set(named_services(text, ground.services))
        if not named & ground.causes or named - ground.causes - ground.path:
            return "it names another cause than the verdict"
    return ""


def _stray_numbers(text: str, cited: str) -> str:
    """Return a number of the text that the cited records do not hold, or ""."""
    for clock in _CLOCK.findall(text):
        if clock not in cited:
            return str(clock)
    known = list(_numbers(_CLOCK.sub(" ", cited)))
    known += [100 * int(part) / int(whole) for part, whole in _PAIR.findall(cited) if int(whole)]
    for match in _NUMBER.finditer(_CLOCK.sub(" ", text)):
        meant = list(_values(match))
        if not any(abs(one - other) <= _TOLERANCE * abs(other) + 1e-9 for one in meant for other in known):
            return match.group().strip()
    return ""


def _numbers(text: str) -> Iterable[float]:
    for match in _NUMBER.finditer(text):
        yield from _values(match)


def _values(match: re.Match[str]) -> Iterable[float]:
    try:
        value = float(match.group(1).replace(",", "."))
    except ValueError:
        return
    unit = (match.group(2) or "").lower()
    if unit == "%":
        yield value
        yield value / 100
        return
    factor = _MILLISECONDS.get(
        "ms" if unit in ("ms",) or unit.startswith("milli") else unit[:2] if unit.startswith("mi") else unit[:1], 0.0
    )
    yield value
    if factor:
        yield value * factor


def _holds(text: str, cited: str, ground: Ground, english: bool) -> bool:
    """True where the sentence has enough in common with its records to be about them."""
    words = {w.lower() for w in _WORD.findall(_CAUSE.sub(" ", text))} - {s.lower() for s in ground.services} - _COMMON
    there = {w.lower()[:5] for w in _WORD.findall(cited)}
    shared = sum(word[:5] in there for word in words)
    if english:
        return shared >= _SUPPORT * len(words) if words else bool(named_services(text, ground.services))
    # In another language names and numbers are what both have in common.
    anchors = (
        set(named_services(text, ground.services))
        or {m.group(1) for m in _NUMBER.finditer(text)}
        or set(_QUOTED.findall(text))
    )
    return bool(anchors)
