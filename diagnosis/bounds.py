"""A symptom held to the time of which the question speaks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from diagnosis.symptom import MIN_BAD, MIN_BEFORE, MIN_SHARE, Symptom
from domain.observed import EntryBucket

_RAISED = 3.0


def hold_to(
    symptoms: Iterable[Symptom], buckets: Sequence[EntryBucket], bucket_us: int, first_us: int
) -> list[Symptom]:
    """Return the symptoms, none beginning before `first_us`; those that were no worse since than before are dropped.

    Somebody who says when trouble began does not ask about what had gone on for an hour by then. Without enough
    requests from before there is nothing to say that by, and the symptom only begins later.
    """
    held = []
    for symptom in symptoms:
        if symptom.start_us >= first_us or symptom.end_us <= first_us:
            held.append(symptom)
            continue
        rows = [row for row in buckets if (row.service, row.name) == (symptom.service, symptom.operation)]
        before = _sums([row for row in rows if row.bucket * bucket_us < first_us], symptom.kind == "errors")
        inside = _sums(
            [row for row in rows if first_us <= row.bucket * bucket_us < symptom.end_us], symptom.kind == "errors"
        )
        usual, share = before[0] / max(1, before[1]), inside[0] / max(1, inside[1])
        if before[1] >= MIN_BEFORE and share < _RAISED * usual:
            continue
        if inside[0] >= MIN_BAD and share >= MIN_SHARE:
            held.append(
                replace(
                    symptom,
                    start_us=first_us,
                    bad=inside[0],
                    requests=inside[1],
                    share=share,
                    usual_share=usual,
                    begun=symptom.begun or before[1] >= MIN_BEFORE,
                )
            )
    return held


def prefer_begun(
    symptoms: Sequence[Symptom], buckets: Sequence[EntryBucket], bucket_us: int, asked: bool = True
) -> list[Symptom]:
    """Return the symptoms of services that were seen to be better before; all of them where there is none of these.

    What has failed half of the time for as long as there are records is how that service is. So it is too where it is
    alone with that, and nobody asked about it.
    """
    begun = []
    for symptom in symptoms:
        rows = [row for row in buckets if (row.service, row.name) == (symptom.service, symptom.operation)]
        before = _sums([row for row in rows if row.bucket * bucket_us < symptom.start_us], errors=True)
        if before[1] >= MIN_BEFORE and symptom.share >= _RAISED * before[0] / before[1]:
            begun.append(symptom)
    return begun or (list(symptoms) if asked or len({symptom.service for symptom in symptoms}) > 1 else [])


def _sums(rows: Iterable[EntryBucket], errors: bool) -> tuple[int, int]:
    bad, requests = 0, 0
    for row in rows:
        bad += row.errors if errors else row.slow
        requests += row.requests
    return bad, requests
