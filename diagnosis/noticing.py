"""Is something wrong with an operation now, and is it over? Rules over the last minutes of its requests. Pure.

Errors and slowness burn a budget: a share of bad requests is a symptom where it is high over a long window, so that a
hiccup is none, and over a short one, so that what is over is not told as news (the multi-window burn rates of the SRE
Workbook, chapter 5). Each must also be far from chance, measured by the Kullback-Leibler divergence from the usual
share, so that three of five requests at night wake nobody. Traffic is a symptom where steady requests all but stop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from diagnosis.history import KEPT_SLOTS_US, History, Tally
from domain.noticed import NoticedSymptom, SymptomKind
from domain.times import HOUR_US, MINUTE_US, SECOND_US, SLOT_US


@dataclass(frozen=True, slots=True)
class Burn:
    """A share of bad requests, held over both windows, at least `least_bad` of them and `evidence` nats from chance."""

    long_us: int
    short_us: int
    share: float
    least_bad: int
    evidence: float


ERROR_BURNS = (
    Burn(3 * MINUTE_US, 30 * SECOND_US, 0.10, 5, 14.0),
    Burn(30 * MINUTE_US, 5 * MINUTE_US, 0.05, 15, 25.0),
)
LATENCY_BURNS = (
    Burn(2 * MINUTE_US, 30 * SECOND_US, 0.25, 8, 20.0),
    Burn(15 * MINUTE_US, 3 * MINUTE_US, 0.10, 20, 30.0),
)
# Error lines in place of failed requests: they must also come in several slots, since one event can write many.
LINE_BURN = Burn(3 * MINUTE_US, 30 * SECOND_US, 0.10, 10, 20.0)
LINE_SLOTS = 4
LINE_MINUTES = 5
# A share must also be this many times the usual one.
TIMES_USUAL = 3.0
CALM_US = 2 * MINUTE_US
CALM_REQUESTS = 5
SILENT_US = 30 * MINUTE_US
TRAFFIC_WINDOW_US = 2 * MINUTE_US
TRAFFIC_LEFT = 0.25
TRAFFIC_BACK = 0.6
TRAFFIC_EVIDENCE = 15.0
TRAFFIC_GONE_US = 24 * HOUR_US


def notice_burn(history: History, kind: SymptomKind, now_us: int) -> NoticedSymptom | None:
    """Return a symptom of errors or of slowness that is there now, without its names; None where there is none."""
    usual = history.usual(now_us)
    slow_us = usual.slow_us if kind == "latency" else 0
    if kind == "latency" and not slow_us:
        return None
    expected = usual.slow_share if slow_us else usual.error_share
    for burn in LATENCY_BURNS if slow_us else ERROR_BURNS:
        share = max(burn.share, TIMES_USUAL * expected)
        short_bad, short_all, _ = _sum(_window(history, now_us, burn.short_us), slow_us)
        if short_bad < share * short_all or not short_bad:
            continue
        bad, requests, roots = _sum(_window(history, now_us, burn.long_us), slow_us)
        if bad < burn.least_bad or bad < share * requests or surprise(bad, requests, expected) < burn.evidence:
            continue
        started_us = _find_onset(_unsettled(history, now_us), slow_us, share / 2)
        return NoticedSymptom(
            "", "", "", kind, "open", started_us, now_us, None, bad, requests, expected, slow_us, roots
        )
    return None


def notice_lines(history: History, now_us: int) -> NoticedSymptom | None:
    """Return a symptom of error lines that is there now, without its names; None where there is none.

    Without some minutes from before nobody knows whether a service always complains.
    """
    usual = history.usual(now_us)
    if usual.minutes < LINE_MINUTES:
        return None
    share = max(LINE_BURN.share, TIMES_USUAL * usual.line_share)
    short_bad, short_all, _ = _sum(_window(history, now_us, LINE_BURN.short_us), 0)
    if short_bad < share * short_all or not short_bad:
        return None
    slots = _window(history, now_us, LINE_BURN.long_us)
    bad, lines, roots = _sum(slots, 0)
    if bad < LINE_BURN.least_bad or bad < share * lines or sum(1 for slot in slots if slot.errors) < LINE_SLOTS:
        return None
    if surprise(bad, lines, usual.line_share) < LINE_BURN.evidence:
        return None
    started_us = _find_onset(_unsettled(history, now_us), 0, share / 2)
    return NoticedSymptom(
        "", "", "", "errors", "open", started_us, now_us, None, bad, lines, usual.line_share, 0, roots
    )


def notice_silence(history: History, now_us: int) -> NoticedSymptom | None:
    """Return a symptom of traffic that all but stopped, without its names; None where there is none."""
    usual = history.usual(now_us)
    expected = usual.per_minute * TRAFFIC_WINDOW_US / MINUTE_US
    count = _count(history, now_us, TRAFFIC_WINDOW_US)
    errors, left, _ = _sum(_window(history, now_us, TRAFFIC_WINDOW_US // 2), 0)
    if errors > left / 2:
        return None  # what still comes fails, and that is what will be told
    if not expected or count > TRAFFIC_LEFT * expected or usual.least < 2 * max(1, count) or usual.least < expected / 2:
        return None
    if expected - count + (count * math.log(count / expected) if count else 0.0) < TRAFFIC_EVIDENCE:
        return None
    normal = usual.per_minute * SLOT_US / MINUTE_US
    before = [moment for moment, tally in history.recent(now_us, KEPT_SLOTS_US) if tally.requests > normal / 2]
    started_us = max(before, default=now_us - TRAFFIC_WINDOW_US - SLOT_US) + SLOT_US
    return NoticedSymptom("", "", "", "traffic", "open", started_us, now_us, None, 0, count, usual.per_minute)


def follow_symptom(symptom: NoticedSymptom, history: History, now_us: int) -> NoticedSymptom:
    """Return an open symptom as it stands now: still open, recovered, or silent."""
    if symptom.kind == "traffic":
        return _follow_traffic(symptom, history, now_us)
    calm_us = CALM_US if _count(history, now_us, CALM_US) >= CALM_REQUESTS else KEPT_SLOTS_US
    bad, requests, _ = _sum(_window(history, now_us, calm_us), symptom.slow_us)
    if requests < CALM_REQUESTS:
        last = max((moment + SLOT_US for moment, _ in history.recent(now_us, KEPT_SLOTS_US)), default=None)
        last_us = symptom.noticed_us if last is None else last
        waited = now_us - symptom.noticed_us > SILENT_US
        gone = last is None and waited and not history.whole_minutes(now_us, SILENT_US)
        return replace(symptom, status="silent", ended_us=last_us) if gone else symptom
    threshold = max(_least_share(symptom.kind) / 2, 1.5 * symptom.usual)
    if bad > threshold * requests or now_us - symptom.noticed_us < CALM_US:
        return symptom
    worse = [
        moment + SLOT_US
        for moment, tally in history.recent(now_us, KEPT_SLOTS_US)
        if tally.bad(symptom.slow_us) > threshold * tally.requests and moment < now_us - calm_us
    ]
    ended_us = max(worse, default=symptom.noticed_us)
    return _counted(replace(symptom, status="recovered", ended_us=max(ended_us, symptom.started_us)), history)


def surprise(bad: int, requests: int, usual: float) -> float:
    """Return how far (nats) a share of bad requests lies above the usual one: n times their KL divergence."""
    share = bad / requests if requests else 0.0
    if share <= usual:
        return 0.0
    rest = (1 - share) * math.log((1 - share) / (1 - usual)) if share < 1 else 0.0
    return requests * (share * math.log(share / usual) + rest)


def _follow_traffic(symptom: NoticedSymptom, history: History, now_us: int) -> NoticedSymptom:
    if _count(history, now_us, MINUTE_US) >= TRAFFIC_BACK * symptom.usual:
        slots = history.recent(now_us, KEPT_SLOTS_US)
        normal = symptom.usual * SLOT_US / MINUTE_US
        # From the end back: the traffic came back where it has been normal since.
        ended_us = now_us
        for moment, tally in reversed(slots):
            if tally.requests < normal / 2 or ended_us - moment > MINUTE_US:
                break
            ended_us = moment
        return replace(symptom, status="recovered", ended_us=max(ended_us, symptom.started_us))
    if now_us - symptom.noticed_us > TRAFFIC_GONE_US:
        return replace(symptom, status="silent", ended_us=now_us)
    return symptom


def _least_share(kind: SymptomKind) -> float:
    return min(burn.share for burn in (LATENCY_BURNS if kind == "latency" else ERROR_BURNS))


def _window(history: History, now_us: int, window_us: int) -> list[Tally]:
    within = history.recent if window_us <= KEPT_SLOTS_US else history.whole_minutes
    return [tally for moment, tally in within(now_us, window_us) if moment >= history.settled_us]


def _unsettled(history: History, now_us: int) -> list[tuple[int, Tally]]:
    slots = history.recent(now_us, KEPT_SLOTS_US)
    return [(moment, tally) for moment, tally in slots if moment >= history.settled_us]


def _count(history: History, now_us: int, window_us: int) -> int:
    return sum(tally.requests for _, tally in history.recent(now_us, window_us))


def _sum(tallies: Sequence[Tally], slow_us: int) -> tuple[int, int, int]:
    """Return bad requests, all requests, and those at the root of their traces."""
    return (
        sum(tally.bad(slow_us) for tally in tallies),
        sum(tally.requests for tally in tallies),
        sum(tally.roots for tally in tallies),
    )


def _find_onset(slots: Sequence[tuple[int, Tally]], slow_us: int, share: float) -> int:
    """Return the start of the slots up to now in which more than a share was bad: the largest sum from the end back."""
    best, total, onset = -math.inf, 0.0, slots[-1][0] if slots else 0
    for moment, tally in reversed(slots):
        total += tally.bad(slow_us) - share * tally.requests
        if total >= best:
            best, onset = total, moment
    return onset


def _counted(symptom: NoticedSymptom, history: History) -> NoticedSymptom:
    """Return a symptom with the requests of all its minutes that are still known."""
    end = symptom.ended_us or symptom.noticed_us
    within = [tally for moment, tally in history.minutes.items() if symptom.started_us - MINUTE_US < moment < end]
    bad, requests, roots = _sum(within, symptom.slow_us)
    return replace(
        symptom, bad=max(bad, symptom.bad), requests=max(requests, symptom.requests), roots=max(roots, symptom.roots)
    )
