"""What a policy is asked about, as far as more than one test needs it."""

from __future__ import annotations

from typing import Any

PROVEN: dict[str, dict[str, Any]] = {
    "answer": {
        "outcome": "CONFIRMED",
        "clarification": False,
        "symptom": True,
        "causes": 1,
        "not_seen": 0,
        "doubted": False,
    },
    "scores": {"claims_kept": 1.0},
    "checks": {"complete": True},
}
