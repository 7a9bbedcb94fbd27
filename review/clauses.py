"""A claim cut into clauses, and the bonds that it states between them: what caused what, what came before what."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

type Bond = Literal["", "causes", "caused by", "before", "after"]

_BONDS: tuple[tuple[Bond, str], ...] = (
    (
        "caused by",
        r"because of|because|due to|caused by|as a (?:result|consequence) of|owing to|triggered by|explained by|"
        r"thanks to|(?:which )?(?:stems?|stemmed|results?|resulted) from|on account of|brought down by|an effect of|"
        r"a victim of|which followed from|c(?:omes?|ame) from (?!\S+ to )|for which .{0,20}? is to blame|blamed on",
    ),
    (
        "causes",
        r"(?:which |that |and |and so |thereby |thus )?(?:caus(?:es|ed|ing)|le(?:d|ads|ading) to|mak(?:es|ing)|made|"
        r"result(?:s|ed|ing) in|trigger(?:s|ed|ing)|br(?:oke|eaks|eaking)(?! off| down| up| out)|br(?:ought|ings|inging) down|"
        r"t(?:ook|akes|aking) down|knock(?:ed|s|ing) out|dragg(?:ed|ing) down|let) (?=\w)|"
        r"(?:dragg|pull|br(?:ought|ing)|t(?:ook|ak))\w* (?=\S+ down)|"
        r"(?:is|was|are|were) (?:the |a )?(?:root )?(?:cause|reason) (?:of|for|why)|(?:is|was) why|is to blame for|"
        r"(?:propagat|spread|cascad|spill|carri|escalat|ripple)\w* (?:over |on |up |down |out )?(?:to|into|through)|"
        r"so that|therefore|hence|consequently|as a result|for that reason|which is how",
    ),
    (
        "before",
        r"after (?:that|which)|(?:shortly |right |just |soon )?(?:before(?! that| which)|prior to|ahead of|preced(?:ed|es|ing)|(?:was|were|is|are) followed by)",
    ),
    (
        "after",
        r"before (?:that|which)|(?:shortly |right |just |soon |immediately )?(?:after(?! that| which)|following|follow(?:ed|s)(?! by)|in the wake of|"
        r"(?:was|were|is|are) preceded by)",
    ),
)
# Before these, "before" speaks of a time or of what was usual, not of another event.
_NO_EVENT = re.compile(r"\s*(?:$|[,.;:)]|it\s*(?:$|[,.;:)])|the (?:fault|incident|trouble|onset)\b|\d)", re.IGNORECASE)
_PATTERN = re.compile("|".join(f"(?P<b{n}>\\b(?:{words}))" for n, (_, words) in enumerate(_BONDS)), re.IGNORECASE)
_STOPS = re.compile(
    r"\s*;\s+|(?<=[a-z)\]\"'`])\.\s+(?=[A-Z])|,? (?:while|whereas|but|although|though) |, (?:and|which|so) |"
    r" (?:and|which) (?=(?:\w+ ){0,3}(?:is|was|were|are|had|has|fail\w*|rose|fell|wrote|took|call\w*|log\w*|report\w*)\b)"
)


@dataclass(frozen=True, slots=True)
class Clause:
    """A part of a claim and how it hangs on the part before it."""

    text: str
    bond: Bond = ""


def split_clauses(text: str) -> list[Clause]:
    """Cut a claim where it states a cause or an order, and between sentences; what is quoted is never cut."""
    hidden = _hide_quotes(text)
    clauses: list[Clause] = []
    start = 0
    bond: Bond = ""
    for match in _PATTERN.finditer(hidden):
        found = next(_BONDS[n][0] for n in range(len(_BONDS)) if match[f"b{n}"] is not None)
        if found in ("before", "after") and _NO_EVENT.match(hidden, match.end()):
            continue
        clauses.extend(_cut(text[start : match.start()], hidden[start : match.start()], bond))
        start, bond = match.end(), found
    clauses.extend(_cut(text[start:], hidden[start:], bond))
    return clauses or [Clause(text)]


def _cut(text: str, hidden: str, bond: Bond) -> list[Clause]:
    parts: list[Clause] = []
    at = 0
    for match in [*_STOPS.finditer(hidden), None]:
        part = text[at : match.start() if match else len(text)].strip(" ,.:-")
        if part:
            parts.append(Clause(part, bond))
            bond = ""
        at = match.end() if match else at
    return parts or ([Clause("", bond)] if bond else [])


def _hide_quotes(text: str) -> str:
    return re.sub(r"\"[^\"]*\"|“[^”]*”|`[^`]*`|(?<!\w)'[^']*'(?!\w)", lambda m: "_" * len(m.group()), text)
