"""Two troubles at once: some of the bad requests end in one service, the others in another one that fails by itself."""

from __future__ import annotations

from collections.abc import Sequence

from diagnosis.case import Candidate
from diagnosis.symptom import Symptom
from diagnosis.wording import POINTS_ELSEWHERE

# Each must account for this share of the bad requests; where these cannot be followed, both must be alike suspicious.
_SHARE = 0.25
_ALIKE = 0.9


def find_second(ranking: Sequence[Candidate], symptom: Symptom | None) -> Candidate | None:
    """Return the second cause beside the first of a ranking; None where there is one trouble alone.

    A name too many is a wrong answer. So both must fail by themselves with errors that blame nobody else and that are
    new: of a victim, of a service that always fails a little, or of two that wait for one unseen thing, one of this
    does not hold. Where only lines tell of it, neither may be on the way of the other's trouble.
    """
    if len(ranking) < 2 or symptom is None:
        return None
    first, second = ranking[:2]
    if first.path[-1] != second.path[-1] or not (_errs_anew(first) and _errs_anew(second)):
        return None
    if symptom.kind == "logs":
        apart = first.service not in second.path and second.service not in first.path
        return second if apart and second.score >= _ALIKE * first.score else None
    share = min(first.ended, second.ended) / max(1, sum(candidate.ended for candidate in ranking))
    return second if share >= _SHARE and _fails(first) and _fails(second) else None


def _fails(candidate: Candidate) -> bool:
    own = (s for s in candidate.signals if s.name == "failing_here" and s.fault_class not in POINTS_ELSEWHERE)
    return candidate.reach == 1.0 and any(own)


def _errs_anew(candidate: Candidate) -> bool:
    return any(
        s.name == "new_error_log" and s.fault_class not in (*POINTS_ELSEWHERE, "unknown") for s in candidate.signals
    )
