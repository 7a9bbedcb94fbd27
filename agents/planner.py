"""The planner: from a question to a symptom with a window and a baseline, or to a question back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from agents.metered import read_metered, read_shifts
from agents.metric import read_calls
from agents.question import Question, Subject, bounds_of, find_subject
from agents.reported import find_reported
from agents.state import Deps, Plan, State
from diagnosis.bounds import hold_to, prefer_begun
from diagnosis.entry import choose_entry, climb, services_below
from diagnosis.golden import Excess, asked_role, bad_stretch, find_excesses, symptom_of
from diagnosis.symptom import Symptom, find_symptoms, state_symptom, usual_slow_us
from domain.observed import EntryBucket
from domain.times import MINUTE_US, SECOND_US, SLOT_US, Window, format_us
from tracing.trace import current_trace

_BUCKETS = 900
_MAX_OPERATIONS = 24
_BASELINE_US = 60 * MINUTE_US
# How many times further back the second round looks, and a stated window without an hour of baseline.
_WIDER = 24
# Without a stated time, metrics are searched for trouble in the last quarter of an hour.
_RECENT_US = 15 * MINUTE_US
# A symptom of this much evidence is more than a flicker.
_CLEAR = 20.0
_SPLITS_US = tuple(minutes * MINUTE_US for minutes in (2, 3, 4, 6, 8, 11, 15, 20, 30, 45))
# The best of several splits of chance itself looks like something: it must stand out by this many standard errors.
_CHANCE = 6.0
# With a stated start there is one split, but as many series as ever.
_STATED_CHANCE = 4.0
# Trouble as short as this that has been over for twice as long is a blip; who asks how things are means the present.
_BLIP_US = MINUTE_US
_PAST = re.compile(r"\b(?:did|was|were|had|failed|broke|happened|crashed|earlier|ago)\b", re.IGNORECASE)
_RARE = 0.02
_LOG_OPERATION = "log lines"


async def plan_investigation(state: State, deps: Deps) -> State:
    """Find what the question is about and when it went wrong."""
    question, round_number = state["question"], state.get("round", 0)
    lookback = deps.lookback_us * (_WIDER if round_number else 1)
    start, end = bounds_of(question)
    telemetry, environment = deps.telemetry, question.environment
    search = Window((end if start is None else start) - lookback, end)
    if start is not None:
        search = await _with_baseline(environment, search, start, lookback, deps)
    heard = await deps.ledger.note("services", search, telemetry.services(environment, search))
    calls = await read_calls(environment, end, deps)
    services = sorted({*heard, *(service for call in calls for service in call)})
    extent = await telemetry.span_extent(environment, search)
    operations = await deps.ledger.note("operations", search, telemetry.entry_names(environment, search))
    subject, guessed = with_hints(find_subject(question.text, services, operations), question, services)
    current_trace().decide(
        what=f"look at {_subject_words(subject)}",
        why="the question names it"
        if subject.services or subject.operations
        else "the question names no known service",
        confidence=0.9 if subject.services or subject.operations else 0.6,
        alternatives=[s for s in services if s not in subject.services][:5],
        inputs={"question": question.text, "window": str(search), "round": round_number},
    )
    if subject.unknown and services:
        plan = _empty_plan(search, subject, services, clarification=_clarify(subject.unknown, services))
        return {"plan": plan, "round": round_number + 1}
    if extent is None:
        symptoms = await _log_symptoms(question, search, start, subject, deps)
        written = await telemetry.log_extent(environment, search)
        begun = [s for s in symptoms if written and s.start_us > written.start_us + MINUTE_US]
        subject = _with_below(subject, begun, calls)
        spans, found = 0, search
    else:
        found, spans = extent
        symptoms = await _request_symptoms(question, Window(found.start_us, end), subject, deps, (spans, start))
    symptom, elsewhere = choose_symptom(symptoms, subject, start, end)
    if symptom is None and guessed and symptoms:
        # A guess about what was meant hides no trouble that there is.
        subject = Subject()
        symptom, elsewhere = choose_symptom(symptoms, subject, start, end)
    if symptom is not None and start is None and _is_over(symptom, end, question.text):
        elsewhere, symptom = (symptom, *elsewhere), None
    if symptom is not None and symptom.kind in ("errors", "latency"):
        symptom = await _begin_at_first_bad_request(environment, symptom, Window(found.start_us, end), deps)
    if symptom is not None and symptom.kind == "logs" and not subject.services:
        symptom = climb(symptom, symptoms, calls)
    if symptom is None and extent is None and services:
        symptom = await _metric_symptom(question, subject, search, start, deps)
    if symptom is None and extent is None:
        symptom = await find_reported(
            environment, Window(max(0, end - _RECENT_US) if start is None else start, end), subject, calls, deps
        )
    if symptom is None and start is not None and services and question.stated:
        symptom = await _stated_symptom(question, subject, Window(start, end), deps)
        symptom = symptom if symptom.service else replace(symptom, service=choose_entry(calls, subject.services))
    plan = _plan(search, subject, services, symptom, elsewhere, found, spans, (start, end))
    reporting = bool(heard) and _speaks_of(subject, heard)
    plan = replace(plan, seq=await telemetry.head_seq(), reporting=reporting)
    _record_choice(plan, symptoms)
    return {"plan": plan, "round": round_number + 1}


def with_hints(subject: Subject, question: Question, services: Sequence[str]) -> tuple[Subject, bool]:
    """Return what a question is about, and whether that is a guess: what it names comes before what it seems to mean."""
    meant = tuple(name for name in question.about if name in services)
    if subject.services or subject.operations or not meant:
        return subject, False
    return Subject(services=meant), question.guessed


def _is_over(symptom: Symptom, end: int, text: str) -> bool:
    """True for a blip that is over, where the question speaks of the present."""
    short = symptom.end_us - symptom.start_us <= _BLIP_US
    return symptom.recovered and short and end - symptom.end_us >= 2 * _BLIP_US and not _PAST.search(text)


def _with_below(subject: Subject, symptoms: Sequence[Symptom], calls: Sequence[tuple[str, str]]) -> Subject:
    """Without request traces trouble below a service that was asked about counts, where it says nothing itself."""
    if not subject.services or any(s.service in subject.services for s in symptoms):
        return subject
    below = services_below(subject.services, calls) & {s.service for s in symptoms}
    return replace(subject, services=(*subject.services, *sorted(below)))


async def _with_baseline(environment: str, search: Window, start_us: int, lookback_us: int, deps: Deps) -> Window:
    """Reach back further where the time before a stated start is silent: an older baseline is better than none."""
    guard = _guard_us(start_us, search.end_us)
    before = start_us - guard
    near = await deps.telemetry.span_extent(environment, Window(search.start_us, max(search.start_us, before)))
    if near is not None and near[0].end_us - near[0].start_us >= guard // 2:
        return search
    older = await deps.telemetry.span_extent(
        environment, Window(start_us - _WIDER * lookback_us, max(search.start_us, start_us - _WIDER * lookback_us))
    )
    if older is None and near is not None:
        return search
    # Systems without spans have their baseline wherever it is.
    last = older[0].end_us if older else start_us - (_WIDER - 1) * lookback_us
    return Window(last - lookback_us, search.end_us)


async def _request_symptoms(
    question: Question, search: Window, subject: Subject, deps: Deps, known: tuple[int, int | None]
) -> list[Symptom]:
    spans, start = known
    bucket_us = _bucket_us(search)
    telemetry, environment = deps.telemetry, question.environment
    buckets = await deps.ledger.note(
        "requests per bucket",
        search,
        telemetry.entry_buckets(environment, search, bucket_us, 2**62),
        scanned=spans,
        reporting=spans > 0,
    )
    slow = usual_slow_us(buckets)
    first = search.start_us if start is None else start - _guard_us(start, search.end_us)
    symptoms = []
    for symptom in hold_to(find_symptoms(buckets, bucket_us, "errors"), buckets, bucket_us, first):
        limit = slow[symptom.service, symptom.operation]
        symptoms.append(_with_slow(symptom, limit))
    for service, name in _busiest(buckets, subject):
        limit = slow[service, name]
        rows = await deps.ledger.note(
            "slow requests per bucket",
            search,
            telemetry.operation_buckets(environment, service, name, search, bucket_us, limit),
            filter=f"{service} {name} > {limit / 1000:.0f} ms",
        )
        symptoms.extend(hold_to(find_symptoms(rows, bucket_us, "latency", limit), rows, bucket_us, first))
    return symptoms


def _bucket_us(search: Window) -> int:
    return max(SECOND_US, (search.end_us - search.start_us) // _BUCKETS)


async def _metric_symptom(
    question: Question, subject: Subject, search: Window, start: int | None, deps: Deps
) -> Symptom | None:
    """Without spans or failing logs, what users feel is read off the latency and the errors in the metrics.

    Where no time was stated, the split into before and since is the one that makes the change stand out most.
    """
    calls = await read_calls(question.environment, search.end_us, deps)
    splits = [search.end_us - back for back in _SPLITS_US] if start is None else [start]
    best: tuple[Excess, int] | None = None
    meters = await read_metered(question.environment, search, deps)
    for split in splits:
        shifts = await read_shifts(question.environment, search, split, meters, deps)
        felt = symptom_of(find_excesses(shifts), subject.services, calls, asked_role(question.text))
        least = best[0].surprise if best else _CHANCE if start is None else _STATED_CHANCE
        if felt is not None and felt.surprise > least and (start is not None or felt.plain):
            best = felt, split
    if best is None:
        return None
    felt, split = best
    samples = next(
        (m.samples for m in meters if m.series == felt.shift[:3] and m.role in (felt.role, "availability")), {}
    )
    first, last, over = bad_stretch(samples, felt, split)
    known = not subject.services or felt.service in subject.services
    word = state_symptom(felt.service if known else subject.services[0], split, search.end_us, 0)
    if start is None and over:
        word = replace(word, start_us=first, end_us=last + SLOT_US, recovered=True)
        if _is_over(word, search.end_us, question.text):
            return None
    text = f"{felt.shift.name} of {felt.service} went from {felt.before:.4g} to {felt.after:.4g}"
    return replace(word, kind="metrics", operation=felt.shift.name, text=text)


async def _stated_symptom(question: Question, subject: Subject, window: Window, deps: Deps) -> Symptom:
    """Where trouble was stated and none is measured: take the asker's word for the time, and the service users call."""
    activity = await deps.telemetry.activity(question.environment, window)
    roots = {service: row.requests for service, row in activity.items() if service in subject.services} or {
        service: row.requests for service, row in activity.items()
    }
    if not subject.services:
        names = await deps.telemetry.root_services(question.environment, window)
        roots = {service: count for service, count in names.items() if service} or roots
    service = min(roots, key=lambda name: (-roots[name], name), default="")
    return state_symptom(service, window.start_us, window.end_us, roots.get(service, 0))


async def _log_symptoms(
    question: Question, search: Window, start: int | None, subject: Subject, deps: Deps
) -> list[Symptom]:
    """Without spans the share of error lines stands in for the share of failed requests."""
    bucket_us = max(1, (search.end_us - search.start_us) // _BUCKETS // SLOT_US) * SLOT_US
    rows = await deps.ledger.note(
        "error lines per bucket", search, deps.telemetry.level_buckets(question.environment, search, bucket_us)
    )
    buckets = [EntryBucket(r.service, _LOG_OPERATION, r.bucket, r.lines, r.errors, 0.0, 0, 0) for r in rows]
    asked = start is not None or bool(subject.services)
    found = prefer_begun(find_symptoms(buckets, bucket_us, "errors"), buckets, bucket_us, asked)
    if start is not None:
        found = hold_to(found, buckets, bucket_us, start - _guard_us(start, search.end_us))
    return [
        await _begin_at_first_error(question.environment, replace(symptom, kind="logs"), bucket_us, search, deps)
        for symptom in found[:_MAX_OPERATIONS]
    ]


async def _begin_at_first_error(
    environment: str, symptom: Symptom, bucket_us: int, search: Window, deps: Deps
) -> Symptom:
    """Where the first bucket began is long before the first error line, and would make every cause come too late.

    Trouble that begins late in a bucket does not show in that one yet: where errors are rare, those count as its first.
    """
    early = bucket_us if symptom.usual_share < _RARE else 0
    bucket = Window(max(0, symptom.start_us - early), min(symptom.start_us + bucket_us, search.end_us))
    slots = await deps.telemetry.level_buckets(environment, bucket, SLOT_US)
    slots = [slot for slot in slots if slot.service == symptom.service]
    first = min((slot.first_error_us for slot in slots if slot.first_error_us is not None), default=symptom.start_us)
    within = [slot for slot in slots if (slot.bucket + 1) * SLOT_US > symptom.start_us]
    lines = symptom.requests - sum(slot.lines for slot in within if (slot.bucket + 1) * SLOT_US <= first)
    return replace(symptom, start_us=first, requests=lines, share=symptom.bad / lines)


async def _begin_at_first_bad_request(environment: str, symptom: Symptom, search: Window, deps: Deps) -> Symptom:
    """Look closer at where the symptom begins: over a long window a bucket is minutes wide, longer than most onsets."""
    if _bucket_us(search) <= SLOT_US:
        return symptom
    window = Window(symptom.start_us, min(symptom.end_us, search.end_us))
    first = await deps.telemetry.first_bad_entry(
        environment, symptom.service, symptom.operation, window, symptom.slow_us if symptom.kind == "latency" else None
    )
    return symptom if first is None else replace(symptom, start_us=first)


def _with_slow(symptom: Symptom, slow_us: int) -> Symptom:
    return replace(symptom, slow_us=slow_us)


def _busiest(buckets: Sequence[EntryBucket], subject: Subject) -> list[tuple[str, str]]:
    """The operations to check for slowness: those of the subject, else the busiest."""
    requests: dict[tuple[str, str], int] = {}
    for bucket in buckets:
        key = (bucket.service, bucket.name)
        requests[key] = requests.get(key, 0) + bucket.requests
    wanted = [key for key in requests if key in subject.operations or key[0] in subject.services]
    return sorted(wanted or requests, key=lambda key: (-requests[key], key))[:_MAX_OPERATIONS]


def choose_symptom(
    symptoms: Sequence[Symptom], subject: Subject, start_us: int | None, end_us: int
) -> tuple[Symptom | None, tuple[Symptom, ...]]:
    """Return the symptom that the question means, and those of operations that it does not speak of.

    Among the symptoms of the subject the one that users meet (an operation at the root of its traces) comes first,
    then the strongest. Failing counts before slowness where both are strong. Where no time was stated, trouble that
    goes on comes before trouble that is over. What is returned besides the chosen one happened at another time or to
    what was not asked about.
    """
    if start_us is not None:
        symptoms = [s for s in symptoms if s.end_us > start_us and s.start_us < end_us]
    about = [s for s in symptoms if s.service in subject.services or (s.service, s.operation) in subject.operations]
    asked = bool(subject.services or subject.operations)
    if start_us is not None and not asked:
        # Somebody speaks of what users met: an inner operation that is slow by itself need not be it.
        about = [s for s in symptoms if s.roots or s.kind == "logs"]
        asked = True
    chosen = sorted(about if asked else symptoms, key=_importance)
    if not chosen:
        return None, tuple(sorted(symptoms, key=_importance))
    first = chosen[0]
    if start_us is None and first.recovered:
        first = next((s for s in chosen if not s.recovered and s.evidence >= _CLEAR), first)
    rest = [
        s for s in symptoms if (asked and s not in about) or s.end_us <= first.start_us or s.start_us >= first.end_us
    ]
    return first, tuple(sorted(rest, key=_importance))


def _importance(symptom: Symptom) -> tuple[bool, bool, bool, float, str, str]:
    return (
        not symptom.begun,
        symptom.roots == 0,
        symptom.kind != "errors",
        -symptom.evidence,
        symptom.service,
        symptom.operation,
    )


def _plan(
    search: Window,
    subject: Subject,
    services: Sequence[str],
    symptom: Symptom | None,
    elsewhere: tuple[Symptom, ...],
    found: Window,
    spans: int,
    asked: tuple[int | None, int],
) -> Plan:
    start, end = asked
    if symptom is None:
        window = Window(min(start or found.start_us, end), end)
    else:
        window = Window(symptom.start_us, min(symptom.end_us if symptom.recovered else end, end))
    begin = min(max(found.start_us, search.start_us), window.start_us)
    if start is None:
        begin = max(begin, window.start_us - _BASELINE_US)
    stated = start is not None and (symptom is None or symptom.kind == "stated") and spans > 0
    guard = _guard_us(window.start_us, window.end_us) if stated else 0
    guard = min(guard, (window.start_us - begin) // 2)
    return Plan(
        search=search,
        subject=subject,
        services=tuple(services),
        symptom=symptom,
        window=window,
        baseline=Window(begin, window.start_us - guard),
        reporting=False,
        spans=spans,
        seq=0,
        elsewhere=elsewhere,
    )


def _guard_us(start_us: int, end_us: int) -> int:
    """People notice late: the last minute before a stated start says little about how things usually are."""
    return max(MINUTE_US, (end_us - start_us) // 4)


def _speaks_of(subject: Subject, services: Sequence[str]) -> bool:
    return not subject.services or any(s in services for s in subject.services)


def _empty_plan(search: Window, subject: Subject, services: Sequence[str], clarification: str) -> Plan:
    empty = Window(search.end_us, search.end_us)
    return Plan(search, subject, tuple(services), None, empty, empty, False, 0, 0, clarification=clarification)


def _clarify(name: str, services: Sequence[str]) -> str:
    known = ", ".join(services[:20])
    return f"Nothing that sends telemetry here is called {name!r}. Which of these do you mean: {known}?"


def _subject_words(subject: Subject) -> str:
    if subject.services or subject.operations:
        names = dict.fromkeys([*subject.services, *(f"{s} {n}" for s, n in subject.operations)])
        return ", ".join(list(names)[:4])
    return subject.unknown or "the whole system"


def _record_choice(plan: Plan, symptoms: Sequence[Symptom]) -> None:
    if plan.symptom is not None and plan.symptom.kind == "metrics":
        what, why, confidence = f"symptom: {plan.symptom.service} {plan.symptom.operation}", plan.symptom.text, 0.7
    elif plan.symptom is None or plan.symptom.kind == "stated":
        what, confidence = "no symptom", 0.8 if plan.reporting else 0.2
        why = "no operation went bad beyond its usual share" if plan.reporting else "nothing was reporting"
    else:
        s = plan.symptom
        what, confidence = f"symptom: {s.service} {s.operation} ({s.kind})", 1 - 2.718 ** (-s.evidence / 10)
        why = f"{s.bad} of {s.requests} requests went bad from {format_us(s.start_us)}; usual is {s.usual_share:.3f}"
    current_trace().decide(
        what=what,
        why=why,
        confidence=round(confidence, 3),
        alternatives=[f"{s.service} {s.operation} ({s.kind}, {s.evidence:.0f})" for s in symptoms if s != plan.symptom][
            :5
        ],
        inputs={"window": str(plan.window), "baseline": str(plan.baseline), "spans": plan.spans},
    )
