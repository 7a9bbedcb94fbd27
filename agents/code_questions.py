"""Questions about code alone, answered from the code index with citations: no incident is looked for, no verdict given."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from agents.code_intents import DAY_US, CodeIntent, read_code_intent
from domain.errors import GraphError, NotFound
from domain.frames import parse_frames
from domain.times import Window, format_us
from domain.verdict import Claim, JudgeAction
from tracing.trace import current_trace

if TYPE_CHECKING:
    from agents.question import Question
    from agents.state import Deps
    from domain.code import Symbol
    from indexer.code_index import IndexedFile
    from indexer.search import CodeSearch, Loaded

_MOST = 12
_NOTHING_INDEXED = "No code is indexed yet: `causegraph index PATH` indexes a folder or a repository."


@dataclass(frozen=True, slots=True)
class CodeAnswer:
    """The answer to a question about code: a headline, cited claims, what limits them, what may be done with it.

    `since_us` is from when on the past was looked at, 0 for the present alone.
    """

    headline: str
    claims: tuple[Claim, ...]
    gaps: tuple[str, ...]
    action: JudgeAction
    since_us: int = 0

    @property
    def text(self) -> str:
        """The whole answer as text."""
        lines = [self.headline, *(f"- {claim.text} [{', '.join(claim.evidence)}]" for claim in self.claims)]
        return "\n".join([*lines, *(f"Note: {gap}" for gap in self.gaps)])


async def answer_code_question(question: Question, deps: Deps) -> CodeAnswer | None:
    """Return the answer to a question about code; None for any other, which is then investigated.

    Raises StorageError.
    """
    intent = read_code_intent(question)
    if intent is None or deps.code is None:
        return None
    loaded = await deps.code.load()
    if not await _meant(intent, question, loaded, deps):
        return None
    with current_trace().stage("code"):
        if not loaded.roots:
            answer = _missing(_NOTHING_INDEXED)
        else:
            answer = await _Answering(question, deps, deps.code, loaded).answer(intent)
        current_trace().decide(
            what=f"answered from the code index: {answer.headline}",
            why=f"the question is about code ({intent.kind}: {intent.what[:80]})",
            confidence=0.9 if answer.claims else 0.4,
            alternatives=["an investigation"],
            inputs={"kind": intent.kind, "claims": len(answer.claims)},
        )
    return answer


async def _meant(intent: CodeIntent, question: Question, loaded: Loaded, deps: Deps) -> bool:
    """Say whether code is meant: a bare name may as well be that of a service."""
    if intent.plain:
        return True
    if intent.kind == "changed":
        return any(one.service == intent.service for one in loaded.services)
    try:
        services = await deps.graph.services(question.environment)
    except GraphError:
        services = []
    return intent.what not in services and intent.what in loaded.index.by_symbol


def _missing(headline: str, *gaps: str) -> CodeAnswer:
    return CodeAnswer(headline, (), gaps, "NEED_CLARIFICATION")


class _Answering:
    """Answers one question; each claim cites the record of a line, of a commit, or of a change."""

    def __init__(self, question: Question, deps: Deps, code: CodeSearch, loaded: Loaded) -> None:
        self._question = question
        self._deps = deps
        self._code = code
        self._loaded = loaded

    async def answer(self, intent: CodeIntent) -> CodeAnswer:
        match intent.kind:
            case "logged":
                return await self._logged(intent)
            case "callers":
                return await self._callers(intent)
            case "defined":
                return await self._defined(intent)
            case "changed":
                return await self._changed(intent)
            case "trace":
                return await self._trace(intent)

    async def _logged(self, intent: CodeIntent) -> CodeAnswer:
        found = await self._code.by_log(intent.what, 4, intent.service)
        best = [match for match in found if found[0].score - match.score <= 0.02]
        if not best:
            return _missing("No statement of the indexed code writes that.", *self._left_out(intent.service))
        claims = []
        for match in best:
            said = f"{match.statement.kind} {match.statement.level}".strip()
            told = f'{self._where(match.file, match.statement.line)} writes it ({said}: "{match.statement.template}")'
            claims += await self._cite_line(match.file, match.statement.line, told, intent.service)
        if best[0].sure:
            return self._settled(f"That is written at {best[0].file.path}:{best[0].statement.line}.", claims)
        many = found[0].tied + 1
        gap = f"{many} statements fit alike: none of them is certain." if many > 1 else "The wording fits only in part."
        return self._settled("That may be written here:", claims, gap)

    async def _callers(self, intent: CodeIntent) -> CodeAnswer:
        defined = await self._code.by_symbol(intent.what)
        exact = _named(defined, intent.what)
        if not exact:
            return _missing(f"The indexed code defines no {intent.what}.", *_similar(defined))
        claims: list[Claim] = []
        calls = [
            (file, symbol, call) for file, symbol in exact for call in self._loaded.callers_of(file, symbol.qualified)
        ]
        for _, symbol, call in calls[:_MOST]:
            caller = self._loaded.index.file(call.caller_path, call.caller_root)
            if caller is not None:
                guess = "" if call.sure else ", by its name alone"
                told = f"{call.caller or 'the top of the file'} ({call.caller_path}:{call.line}) calls {symbol.qualified}{guess}"
                claims += await self._cite_line(caller, call.line, told)
        where = ", ".join(f"{file.path}:{symbol.start_line}" for file, symbol in exact[:4])
        if not claims:
            return _missing(
                f"Nothing in the indexed code calls {intent.what} ({where}) by name.",
                "Calls through variables, frameworks and other code bases are not seen.",
            )
        gaps = [f"{len(calls) - _MOST} more callers: `causegraph code symbol {intent.what}`."][: len(calls) > _MOST]
        if not all(call.sure for _, _, call in calls):
            gaps.append("Some of these are guesses: nothing but the name says so.")
        return self._settled(f"{intent.what} ({where}) is called from {len(calls)} places.", claims, *gaps)

    async def _defined(self, intent: CodeIntent) -> CodeAnswer:
        defined = await self._code.by_symbol(intent.what)
        exact = _named(defined, intent.what)
        if not exact:
            return _missing(f"The indexed code defines no {intent.what}.", *_similar(defined))
        claims: list[Claim] = []
        for file, symbol in exact[:_MOST]:
            told = f"{symbol.kind} {symbol.qualified} is defined at {self._where(file, symbol.start_line)}"
            claims += await self._cite_line(file, symbol.start_line, told)
        gaps = [f"{len(exact)} definitions have this name."] if len(exact) > 1 else []
        return self._settled(f"{intent.what} is defined at {exact[0][0].path}:{exact[0][1].start_line}.", claims, *gaps)

    async def _changed(self, intent: CodeIntent) -> CodeAnswer:
        since_us = self._question.at_us - DAY_US if intent.since_us is None else intent.since_us
        until_us = min(self._question.to_us or self._question.at_us, self._question.at_us)
        span = f"from {format_us(since_us)[:16]} to {format_us(until_us)[:16]} UTC"
        try:
            changes, blind = await self._code.changes(intent.service, since_us, until_us)
        except NotFound as exc:
            return _missing(str(exc))
        claims = [c for change in changes[:_MOST] for c in await self._cite_commit(change, intent.service)]
        claims += await self._cite_deploys(intent.service, Window(since_us, until_us))
        gaps = [f"no history: {line}" for line in blind]
        gaps += [f"{len(changes) - _MOST} more commits: `causegraph code diff {intent.service}`."][
            : len(changes) > _MOST
        ]
        gaps += ["The question names no time, so the last day was looked at."][: intent.since_us is None]
        headline = f"{len(changes)} commits to the code of {intent.service} {span}."
        if blind and not claims:
            return _missing(headline, *gaps)
        return replace(self._settled(headline, claims, *gaps), since_us=since_us)

    async def _trace(self, intent: CodeIntent) -> CodeAnswer:
        frames = parse_frames(intent.what)
        places = (await self._code.by_frames(frames))[:_MOST] if frames else []
        if not places:
            told = "No frame of this trace is of the indexed code." if frames else "No stack frame was recognised."
            return _missing(told, *self._left_out(""))
        claims: list[Claim] = []
        for place in places:
            guess = "" if place.sure else " (one of several that fit)"
            inside = f" in {place.symbol}" if place.symbol else ""
            told = f"a frame is {self._where(place.file, place.line)}{inside}{guess}"
            claims += await self._cite_line(place.file, place.line, told)
        return self._settled(f"The innermost frame of your code is {places[0].file.path}:{places[0].line}.", claims)

    # -- claims --------------------------------------------------------------------------------------------------------

    async def _cite_line(self, file: IndexedFile, line: int, told: str, service: str = "") -> list[Claim]:
        key = {"root": file.root, "path": file.path, "line": line, "content_hash": file.content_hash}
        evidence = await self._deps.desk.cite("code", key | {"service": service}, "code index")
        if evidence is None:
            return []
        text = str(json.loads(self._deps.desk.records[evidence.id])["text"]).strip()[:160]
        return [Claim(f"{told}: `{text}`" if text else told, (evidence.id,))]

    async def _cite_commit(self, change: Any, service: str) -> list[Claim]:
        commit = change.commit
        key = {"root": change.root.id, "commit": commit.id, "service": service}
        evidence = await self._deps.desk.cite("code", key, "git log")
        if evidence is None:
            return []
        files = ", ".join(commit.files[:4]) + (f" and {len(commit.files) - 4} more" if len(commit.files) > 4 else "")
        when = format_us(commit.time_us)[:19]
        return [Claim(f'{when} {commit.author}: "{commit.subject}" ({commit.id[:12]}; {files})', (evidence.id,))]

    async def _cite_deploys(self, service: str, window: Window) -> list[Claim]:
        """What was reported to have changed in the service beside its code: deploys, configuration, flags."""
        claims = []
        for change in await self._deps.telemetry.changes(self._question.environment, window):
            if change.service == service:
                evidence = await self._deps.desk.cite("change", {"id": change.id}, "changes")
                claims += (
                    [Claim(f"{format_us(change.time_us)[:19]} {evidence.text}", (evidence.id,))] if evidence else []
                )
        return claims[-_MOST:]

    # -- words ---------------------------------------------------------------------------------------------------------

    def _settled(self, headline: str, claims: Sequence[Claim], *gaps: str) -> CodeAnswer:
        return CodeAnswer(headline, tuple(claims), gaps, "ALLOW_WITH_WARNING" if gaps else "ALLOW_ANSWER")

    def _where(self, file: IndexedFile, line: int) -> str:
        several = len(self._loaded.roots) > 1
        return f"{file.path}:{line}" + (f" of {self._loaded.roots[file.root].location}" if several else "")

    def _left_out(self, service: str) -> list[str]:
        known = sorted({one.service for one in self._loaded.services})
        if service and service not in known:
            return [f"The code of {service} is not indexed: `causegraph index PATH --service {service}`."]
        return []


def _named(found: Sequence[tuple[IndexedFile, Symbol]], name: str) -> list[tuple[IndexedFile, Symbol]]:
    bare = name.replace("::", ".").replace("#", ".").rpartition(".")[2]
    return [(file, symbol) for file, symbol in found if symbol.name == bare]


def _similar(found: Sequence[tuple[IndexedFile, Symbol]]) -> list[str]:
    names = list(dict.fromkeys(symbol.qualified for _, symbol in found))[:5]
    return [f"Names that begin so: {', '.join(names)}."] if names else []


def answer_body(answer: CodeAnswer, behind: Sequence[str]) -> Mapping[str, Any]:
    """Return the parts of an answer's JSON that differ from those of an investigation; no outcome: there is no verdict."""
    return {
        "answer": answer.text,
        "verdict": {
            "outcome": "",
            "reasons": [answer.headline],
            "causes": [],
            "ranking": [],
            "ruled_out": [],
            "not_seen": list(behind),
        },
        "claims": [{"text": claim.text, "evidence": list(claim.evidence)} for claim in answer.claims],
        "runbook": None,
        "workflow": None,
        "judge": {"action": answer.action, "scores": {}, "gaps": list(answer.gaps), "strengths": []},
    }
