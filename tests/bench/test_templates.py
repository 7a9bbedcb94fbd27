from __future__ import annotations

from pathlib import Path

import pytest

from bench.grouping import compare_groupings
from bench.templates import group_ours, main, strip_headers


def test_a_perfect_grouping_scores_one() -> None:
    same = compare_groupings(["a", "a", "b"], [1, 1, 2])
    assert (same.ga, same.fga, same.pairwise, same.groups) == (1.0, 1.0, 1.0, 2)


def test_a_stray_line_costs_its_whole_group_but_not_the_pairs() -> None:
    found = compare_groupings(["a"] * 9 + ["b", "c"], [1] * 10 + [2])
    assert found.ga == pytest.approx(1 / 11)
    assert found.fga == pytest.approx(2 / 5)
    assert found.pairwise == pytest.approx(2 * 36 / (36 + 45))


def test_lines_are_grouped_by_what_happened() -> None:
    lines = [
        f"Nov 21 10:00:{at:02} web1 sshd[{at}]: session {'opened' if at % 2 else 'closed'} for user u{at}"
        for at in range(40)
    ]
    groups = group_ours(strip_headers(lines)).groups
    assert [group == groups[0] for group in groups] == [at % 2 == 0 for at in range(40)]


def test_the_bench_scores_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "Small"
    folder.mkdir()
    (folder / "labels.csv").write_text(
        "Content,EventId\nworker 1 started,E1\nworker 2 started,E1\nworker 2 stopped,E2\n"
    )
    assert main(["--data", str(tmp_path), "--no-drain"]) == 0
    assert "1.000 1.000 1.000" in capsys.readouterr().out
    assert main(["--data", str(tmp_path / "none")]) == 2
