from __future__ import annotations

import statistics
from collections import defaultdict
from pathlib import Path

import pytest

from bench.grouping import Agreement, compare_groupings
from bench.templates import group_ours
from tests.ingest.written_lines import read_formats, write_lines

FOLDER = Path(__file__).parent
EACH = 24
PROGRAMS = {name: dict(read_formats(FOLDER / name)) for name in ("formats.txt", "formats_held_out.txt")}


def _score(formats: list[str], seed: int) -> tuple[Agreement, dict[object, set[str]]]:
    written = list(write_lines(formats, EACH, seed))
    groups = group_ours([line for _, line in written]).groups
    held: dict[object, set[str]] = defaultdict(set)
    for (form, _), group in zip(written, groups, strict=True):
        held[group].add(form)
    return compare_groupings(groups, [form for form, _ in written]), held


@pytest.mark.parametrize(
    ("name", "ga", "pairwise"), [("formats.txt", 0.77, 0.92), ("formats_held_out.txt", 0.73, 0.92)]
)
def test_lines_of_one_format_are_one_family(name: str, ga: float, pairwise: float) -> None:
    scores = [_score(formats, seed)[0] for seed, formats in enumerate(PROGRAMS[name].values())]
    assert len(scores) >= 15
    assert statistics.fmean(score.ga for score in scores) >= ga
    assert statistics.fmean(score.pairwise for score in scores) >= pairwise


# Lines that say the same but for something that looks like a list of variables.
TOLD_APART_BY_NAMES_ALONE = {
    ("DHCPDISCOVER from {mac} ({devicename}) via {iface}", "DHCPDISCOVER from {mac} via {iface}"),
    ("Started Session {int} of user {user}.", "Started {unitname}."),
}


def test_formats_never_share_a_family() -> None:
    shared = {
        tuple(sorted(forms))
        for seed, formats in enumerate(PROGRAMS["formats.txt"].values())
        for forms in _score(formats, seed)[1].values()
        if len(forms) > 1
    }
    assert shared <= TOLD_APART_BY_NAMES_ALONE
