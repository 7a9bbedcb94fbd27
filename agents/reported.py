"""Trouble that only an orchestrator or an alert reports: the symptom of a system that sends nothing else that fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agents.question import Subject
from agents.state import Deps
from diagnosis.entry import choose_entry
from diagnosis.orchestrator import event_signals
from diagnosis.symptom import Symptom, state_symptom
from domain.times import HOUR_US, Window

_SERIOUS = 0.5


async def find_reported(
    environment: str, window: Window, subject: Subject, calls: Sequence[tuple[str, str]], deps: Deps
) -> Symptom | None:
    """Return the trouble that was reported in a window, as a stated symptom; None where nothing serious was."""
    around = Window(max(0, window.start_us - HOUR_US), window.end_us)
    events = await deps.ledger.note(
        "orchestrator events", around, deps.telemetry.orchestrator_events(environment, around)
    )
    alerts = await deps.ledger.note("alerts", window, deps.telemetry.alerts(environment, window))
    known = sorted({service for call in calls for service in call})
    serious = [
        signal
        for signal in event_signals(events, known, window)
        if signal.name == "restarted" and signal.strength >= _SERIOUS
    ]
    if not serious and not alerts:
        return None
    named = [*subject.services, *(alert.service for alert in alerts if alert.service)]
    failing = [signal.service for signal in serious if signal.service]
    service = next(iter(subject.services), "") or choose_entry(calls, named) or next(iter([*named, *failing]), "")
    if not service:
        return None
    reports = [(alert.time_us, f"The alert {alert.name} fires for {alert.service or 'the system'}") for alert in alerts]
    reports += [(signal.onset_us, signal.text[0].upper() + signal.text[1:]) for signal in serious]
    first_us, text = min(reports)
    word = state_symptom(service, min(max(first_us, window.start_us), window.end_us - 1), window.end_us, 0)
    return replace(word, text=text)
