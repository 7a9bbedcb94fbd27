"""Dead letters over HTTP and on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from storage.dead_letters import DeadLetter, DeadLetters
from tests.serving import run_command


async def test_a_refused_record_is_named_listed_shown_replayed_and_dropped(
    client: httpx.AsyncClient, browser: httpx.AsyncClient, environment: str
) -> None:
    good = {"timestamp": "2026-01-02T03:04:05Z", "service": "web", "message": "fine"}
    bad = good | {"service": "", "message": environment}
    told = (await client.post("/ingest/logs", params={"environment": environment}, json=[good, bad])).json()
    letter_id = told["dead_letter"]
    assert (told["accepted"], told["rejected"]) == (1, 1)
    listed = (await client.get("/dead-letters")).json()["dead_letters"]
    assert [one["reasons"] for one in listed if one["id"] == letter_id] == [["record 2: service: must not be empty"]]
    shown = (await client.get(f"/dead-letters/{letter_id}")).json()
    assert (json.loads(shown["content"]), shown["environment"]) == (bad, environment)
    replayed = (await client.post(f"/dead-letters/{letter_id}/replay")).json()
    assert (replayed["accepted"], replayed["rejected"]) == (0, 1)
    assert (await client.delete(f"/dead-letters/{letter_id}")).json() == {"dropped": letter_id}
    for wrong in (letter_id, "dead-000000000000", "..%2F..%2Fapi-key", "x" * 300):
        assert (await client.get(f"/dead-letters/{wrong}")).status_code == 404
        assert (await client.delete(f"/dead-letters/{wrong}")).status_code == 404
        assert (await client.post(f"/dead-letters/{wrong}/replay")).status_code == 404
    assert (await browser.get("/dead-letters")).status_code == 401


def test_the_command_line_lists_shows_and_drops(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path / "dead-letters")
    blank = DeadLetter("", 0, "records", "logs", "json", "shop", 1, 1, ("record 1: \x1b[31mno time",))
    letter_id = letters.keep(blank, b'{"message": "kept [red]\\u001b[31m"}')
    listed = run_command(tmp_path, "dead-letters", "list")
    assert letter_id in listed.stdout
    assert "\x1b" not in listed.stdout
    assert (
        json.loads(run_command(tmp_path, "dead-letters", "list", "--json").stdout)["dead_letters"][0]["id"] == letter_id
    )
    assert "kept [red]" in run_command(tmp_path, "dead-letters", "show", letter_id).stdout
    assert run_command(tmp_path, "dead-letters", "drop", letter_id).returncode == 0
    gone = run_command(tmp_path, "dead-letters", "show", letter_id)
    assert (gone.returncode, gone.stderr.startswith("Error: There is no dead letter")) == (1, True)
