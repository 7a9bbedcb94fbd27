"""`causegraph search` in this process, on the session's local stack, without a server and without vectors."""

from __future__ import annotations

import json
import time

from domain.times import MINUTE_US, format_us
from tests.cli.conftest import Run


def test_what_was_ingested_is_found_by_name_and_by_words(run: Run, environment: str) -> None:
    at = format_us(time.time_ns() // 1000 - MINUTE_US)
    lines = [
        {
            "timestamp": at,
            "service": "pay",
            "level": "error",
            "message": "card [red]ord-99zz1[/red] \x1b[31m was refused",
        },
        {"timestamp": at, "service": "pay", "message": "ready"},
    ]
    run("ingest", "-", "-e", environment, stdin="".join(json.dumps(line) + "\n" for line in lines))
    change = {"timestamp": at, "service": "pay", "kind": "deploy", "version": "7", "summary": "cards of a new scheme"}
    run("ingest", "-", "-e", environment, "--kind", "changes", stdin=json.dumps([change]))

    body = json.loads(run("search", "ord-99zz1", "-e", environment, "--json").stdout)
    first = body["results"][0]
    assert (first["kind"], first["services"]) == ("line", ["pay"])
    assert body["environment"] == environment
    shown = run("search", "new scheme", "-e", environment).stdout
    assert "change" in shown and "cards of a new scheme" in shown and "says new, scheme" in shown
    assert "template" in [hit["kind"] for hit in body["results"]], "the topology was brought up to date first"
    hostile = run("search", "ord-99zz1", "-e", environment).stdout
    assert "[red]ord-99zz1[/red]" in hostile and "\x1b" not in hostile


def test_what_makes_no_sense_says_what_to_do(run: Run, environment: str) -> None:
    nothing = run("search", "qqqq", "-e", environment, "--kind", "change", status=1)
    assert "Nothing in" in nothing.output and "--environment" in nothing.output
    wrong = run("search", "x", "-e", environment, "--kind", "cheese", status=1)
    assert "none of template, line" in wrong.output
    assert "`from` must lie before" in run("search", "x", "-e", environment, "--from", "2030-01-01", status=1).output
