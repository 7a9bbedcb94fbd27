"""What an orchestrator says of the services it runs: what is a service's own trouble, and what is only an effect.

An image that cannot be pulled, a pod that no node takes or that was killed for its memory is trouble of the service
itself. A probe that fails or a replica that is not ready may as well wait for somebody else: such signs point elsewhere.
Everyday events (scheduling, starting, a probe that fails once while a pod starts) say nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

from diagnosis.signals import Ref, Signal
from diagnosis.wording import classify
from domain.observed import OrchestratorRow
from domain.times import MINUTE_US, SECOND_US, Window
from domain.verdict import FaultClass

type Standing = Literal["own", "crash", "effect"]

_WORDS: tuple[tuple[FaultClass, str], ...] = (
    (
        "capacity",
        r"exceeded quota|insufficient (?:cpu|memory|pods|[\w./-]*gpu|ephemeral)|too many pods|no nodes? (?:is|are|was)? ?available"
        r"|failedscheduling|unschedulable|limit ?range",
    ),
    (
        "resource",
        r"\boom|out of memory|evict|(?:disk|memory|pid)pressure|no space left|exit code:? 137|nodenotready|node .*not ready",
    ),
    (
        "config",
        r"imagepull|errimage|pull(?:ing)? image|invalidimage|image .*not found|manifest unknown|create ?container"
        r"|runcontainer|(?:secret|configmap|serviceaccount|volume|claim) .*not found|couldn't find key|failedmount"
        r"|failedattach|denied the request|admission|failedcreate|is invalid|invalid value|forbidden|target ?port"
        r"|executable file not found|no such file|misconfigur|replicas?(?: set)? .*to 0\b",
    ),
)
_OWN = tuple((fault_class, re.compile(pattern, re.IGNORECASE)) for fault_class, pattern in _WORDS)
_CRASH = re.compile(
    r"back-?off|crash|exit(?:ed)?(?: with)?(?: code| status)? -?[1-9]|panic|killed|terminated", re.IGNORECASE
)
_EFFECT = re.compile(
    r"unhealthy|not ?ready|probe failed|unavailable|fail|error|timed? ?out|degraded|pending", re.IGNORECASE
)
_SCALED_DOWN = re.compile(r"scaled down .* to 0\b", re.IGNORECASE)
_SCALED_UP = re.compile(r"scaled up", re.IGNORECASE)
# A measuring helper of the orchestrator that cannot measure says nothing of the service.
_NOISE = re.compile(
    r"failedgetresourcemetric|failedcomputemetrics|dnsconfigforming|failedtoupdateendpoint", re.IGNORECASE
)
# Trouble that the orchestrator has reported for longer than this is no news.
_NEWS_US = 15 * MINUTE_US
_LASTING_US = 30 * SECOND_US
_CHRONIC = 0.3
_POD = re.compile(r"-(?:[0-9a-f]{6,10}-[0-9a-z]{5}|[0-9a-f]{8,10}|\d{1,3})$")


def event_signals(events: Sequence[OrchestratorRow], services: Sequence[str], window: Window) -> list[Signal]:
    """Return at most one signal per service and standing; `window` is that of the symptom."""
    news_us = window.start_us - _NEWS_US
    troubles: dict[tuple[str, Standing], list[OrchestratorRow]] = defaultdict(list)
    for event in events:
        standing = standing_of(event)
        if standing is not None and event.time_us < window.end_us:
            troubles[event.service or service_of(event.object, services), standing].append(event)
    replaced = {
        event.service or service_of(event.object, services) for event in events if _SCALED_UP.search(event.text)
    }
    signals = []
    for (service, standing), rows in sorted(troubles.items()):
        rows = [row for row in rows if not (_SCALED_DOWN.search(row.text) and service in replaced)]
        new = [row for row in rows if row.time_us >= news_us]
        if service and new:
            signals.append(_signal(service, standing, new, chronic=_is_chronic(rows, new, window, news_us)))
    return signals


def standing_of(event: OrchestratorRow) -> Standing | None:
    """Return what an event says of its service: its own trouble, a crash, an effect; None where it is everyday."""
    said = f"{event.reason} {event.text}"
    if _NOISE.search(said):
        return None
    if event.kind.lower() == "normal":
        return "own" if _SCALED_DOWN.search(said) else None
    if _fault_of(said) != "unknown":
        return "own"
    if _CRASH.search(said):
        return "crash"
    return "effect" if _EFFECT.search(said) else None


def service_of(name: str, services: Sequence[str]) -> str:
    """Return the service whose name an object's name starts with (`checkout-5f6cfc45b-h5m2n`), the longest first.

    Where none is known, it is the object's name without what was added for the one pod.
    """
    plain = name.rsplit("/", 1)[-1]
    fitting = [s for s in services if plain == s or plain.startswith(f"{s}-")]
    return max(fitting, key=len, default=_POD.sub("", plain))


def _fault_of(said: str) -> FaultClass:
    return next((fault_class for fault_class, pattern in _OWN if pattern.search(said)), "unknown")


def _is_chronic(rows: Sequence[OrchestratorRow], new: Sequence[OrchestratorRow], window: Window, news_us: int) -> bool:
    """True where it was as bad long before the symptom."""
    old = [row for row in rows if row.time_us < news_us]
    if len(old) < 2:
        return False
    before = len(old) / max(1.0, (news_us - old[0].time_us) / SECOND_US)
    return len(new) / ((window.end_us - news_us) / SECOND_US) < 2 * before


def _signal(service: str, standing: Standing, rows: Sequence[OrchestratorRow], *, chronic: bool) -> Signal:
    lasting = len(rows) >= 3 or rows[-1].time_us - rows[0].time_us >= _LASTING_US
    classes = [c for row in rows if (c := _fault_of(f"{row.reason} {row.text}")) != "unknown"]
    classes += [c for row in rows if (c := classify(f"{row.reason} {row.text}")) != "unknown"]
    first = rows[0]
    strength = {"own": 1.0, "crash": 0.75 if lasting else 0.5, "effect": 0.8 if lasting else 0.3}[standing]
    return Signal(
        service=service,
        name="not_ready" if standing == "effect" else "restarted",
        strength=strength * (_CHRONIC if chronic else 1.0),
        onset_us=first.time_us,
        text=f"the orchestrator reports {len(rows)} time(s) trouble with {service}: {first.reason} {first.text[:160]}",
        refs=tuple(Ref.to("event", id=row.id) for row in rows[:3]),
        fault_class=("dependency" if standing == "effect" else next(iter(classes), "unknown")),
    )
