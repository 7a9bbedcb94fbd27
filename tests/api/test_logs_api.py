from __future__ import annotations

import time

import httpx
import pytest

from domain.times import HOUR_US, MINUTE_US, SECOND_US, format_us

_HALVES: dict[str, int] = {}  # where what was written in an environment is cut in two


@pytest.fixture
async def written(client: httpx.AsyncClient, environment: str) -> str:
    """Ten minutes of logs, cut in two: what is steady, new, vanished and bursting is known."""
    now = time.time_ns() // 1000
    half = now - 5 * MINUTE_US

    def line(at_us: int, level: str, message: str, service: str = "shop") -> dict[str, object]:
        return {"timestamp": format_us(at_us), "service": service, "level": level, "message": message}

    lines = [
        line(half + sign * (n + 1) * SECOND_US, "info", f"order {n} placed") for n in range(40) for sign in (1, -1)
    ]
    lines += [line(half - (n + 1) * SECOND_US, "info", f"heartbeat {n} sent") for n in range(20)]
    lines += [line(half + (n + 1) * SECOND_US, "error", f"card {n} was REFUSED") for n in range(7)]
    lines += [line(half - SECOND_US, "warn", "queue is slow: 7 s", "mail")]
    lines += [line(half + (n + 1) * SECOND_US, "warn", f"queue is slow: {n} s", "mail") for n in range(30)]
    reply = await client.post("/ingest/logs", json=lines, params={"environment": environment})
    assert reply.status_code == 200, reply.text
    _HALVES[environment] = half
    return environment


async def _get(client: httpx.AsyncClient, path: str, environment: str, **query: object) -> dict[str, object]:
    half = _HALVES[environment]
    window = {"from": format_us(half), "to": format_us(half + 8 * MINUTE_US), "environment": environment}
    reply = await client.get(path, params={**window, **query})  # type: ignore[dict-item]  # any scalar will do
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


async def _until_counted(client: httpx.AsyncClient, environment: str) -> None:
    """Wait for what was acknowledged to be in the database."""
    deadline = time.monotonic() + 60
    now = time.time_ns() // 1000
    query = {"environment": environment, "from": format_us(now - HOUR_US)}
    while (reply := await client.get("/stats", params=query)).json().get("lines", 0) < 138:
        assert reply.status_code == 200, reply.text
        assert time.monotonic() < deadline


async def test_families_are_counted_and_compared(client: httpx.AsyncClient, written: str) -> None:
    await _until_counted(client, written)
    found = {}
    for order in ("top", "new", "vanished", "bursting"):
        body = await _get(client, "/query/logs", written, order=order)
        found[order] = {row["text"]: row["lines"] for row in body["families"]}  # type: ignore[attr-defined]
    assert found["top"] == {"order <*> placed": 40, "queue is slow: <*>": 30, "card <*> was REFUSED": 7}
    assert found["new"] == {"card <*> was REFUSED": 7}
    assert found["vanished"] == {"heartbeat <*> sent": 0}
    assert found["bursting"].keys() == {"queue is slow: <*>", "card <*> was REFUSED"}
    mail = await _get(client, "/query/logs", written, order="top", service="mail", level="warn")
    assert [row["lines"] for row in mail["families"]] == [30]  # type: ignore[attr-defined]


async def test_what_was_one_family_stays_one_in_every_window(client: httpx.AsyncClient, environment: str) -> None:
    now = time.time_ns() // 1000
    early = [(now - HOUR_US, name) for name in ("cupsd", "klogd", "sshd", "gpm", "atd")]
    lines = [
        {"timestamp": format_us(at), "service": "init", "level": "info", "message": f"{name} startup succeeded"}
        for at, name in (*early, (now, "ntpd"))
    ]
    (await client.post("/ingest/logs", json=lines, params={"environment": environment})).raise_for_status()

    async def families(start_us: int) -> dict[str, int]:
        window = {"from": format_us(start_us), "to": format_us(start_us + 2 * MINUTE_US)}
        reply = await client.get("/query/logs", params={**window, "environment": environment, "order": "top"})
        return {row["text"]: row["lines"] for row in reply.json()["families"]}

    deadline = time.monotonic() + 60
    while not await families(now - MINUTE_US):
        assert time.monotonic() < deadline
    assert await families(now - MINUTE_US) == {"ntpd startup succeeded": 1}
    assert await families(now - HOUR_US - MINUTE_US) == {"<*> startup succeeded": 5}
    assert await families(now - MINUTE_US) == {"<*> startup succeeded": 1}


async def test_lines_are_found_by_text_page_by_page(client: httpx.AsyncClient, written: str) -> None:
    await _until_counted(client, written)
    seen: list[str] = []
    cursor = ""
    for _ in range(9):
        body = await _get(client, "/search/logs", written, q="was refused", limit=3, before=cursor)
        seen += [row["message"] for row in body["lines"]]  # type: ignore[attr-defined]
        cursor = str(body["cursor"])
        if not cursor:
            break
    assert seen == [f"card {n} was REFUSED" for n in reversed(range(7))]
    assert (await _get(client, "/search/logs", written, q="100%_\\' OR 1=1"))["lines"] == []


async def test_a_search_that_takes_too_long_goes_on_at_its_cursor(
    client: httpx.AsyncClient, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _until_counted(client, written)
    whole = await _get(client, "/search/logs", written, q="was refused")
    start, end = str(whole["from"]), str(whole["to"])
    assert (whole["searched_from"], whole["cursor"]) == (start, "")
    monkeypatch.setattr("agents.log_replies._SEARCH_SECONDS", 0.0)  # one look, and no more
    monkeypatch.setattr("agents.log_replies._FIRST_LOOK_US", 20 * SECOND_US)
    for query, wanted in (({"q": "was refused"}, 7), ({"q": "order", "limit": 3}, 40), ({"q": "queue"}, 30)):
        seen: list[int] = []
        cursor, froms = "", [end]
        for _ in range(60):
            params = {"environment": written, "from": start, "to": end, "before": cursor, **query}
            body = (await client.get("/search/logs", params=params)).json()  # type: ignore[arg-type]
            seen += [row["id"] for row in body["lines"]]
            froms.append(body["searched_from"])
            cursor = body["cursor"]
            if not cursor:
                break
        assert (len(seen), len(set(seen))) == (wanted, wanted)
        assert froms == sorted(froms, reverse=True)
        assert froms[-1] == start
        assert len(froms) > 4


async def test_new_lines_are_followed(client: httpx.AsyncClient, written: str) -> None:
    await _until_counted(client, written)
    end = await _get(client, "/query/logs", written, after=-1)
    line = {"timestamp": time.time(), "service": "shop", "level": "info", "message": "one more"}
    await client.post("/ingest/logs", json=[line], params={"environment": written})
    after, deadline = end["after"], time.monotonic() + 60
    messages: list[str] = []
    while not messages and time.monotonic() < deadline:
        body = await _get(client, "/query/logs", written, after=after)
        messages = [row["message"] for row in body["lines"]]  # type: ignore[attr-defined]
        after = body["after"]
    assert messages == ["one more"]
    assert (await _get(client, "/query/logs", written, after=after))["lines"] == []


async def test_stats_count_by_service_and_level(client: httpx.AsyncClient, written: str) -> None:
    await _until_counted(client, written)
    body = await _get(client, "/stats", written)
    assert body["services"] == [
        {"service": "shop", "lines": 47, "levels": {"INFO": 40, "ERROR": 7}, "templates": 2},
        {"service": "mail", "lines": 30, "levels": {"WARN": 30}, "templates": 1},
    ]


async def test_stats_count_by_minute_and_of_one_template(client: httpx.AsyncClient, written: str) -> None:
    await _until_counted(client, written)
    body = await _get(client, "/stats", written, step=60)
    assert sum(row["lines"] for row in body["steps"]) == body["lines"] == 77  # type: ignore[attr-defined]
    assert all(row["time"].endswith(":00Z") for row in body["steps"])  # type: ignore[attr-defined]
    assert {name for row in body["steps"] for name in row["levels"]} == {"INFO", "ERROR", "WARN"}  # type: ignore[attr-defined]
    families = (await _get(client, "/query/logs", written, order="top", service="shop"))["families"]
    refused = next(row for row in families if row["level"] == "ERROR")["templates"][0]  # type: ignore[attr-defined]
    one = await _get(client, "/stats", written, step=10, template=refused)
    assert (one["lines"], one["templates"]) == (7, 1)
    assert sum(row["levels"]["ERROR"] for row in one["steps"]) == 7  # type: ignore[attr-defined]
    assert "steps" not in await _get(client, "/stats", written)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"step": "7"}, "divided by ten"),
        ({"step": "10", "from": "2026-01-01", "to": "2026-01-03"}, "more than 1,500 steps"),
        ({"step": "-60"}, "greater than or equal to 0"),
        ({"template": "DROP"}, "id of a log template"),
        ({"template": "9" * 20}, "id of a log template"),
    ],
)
async def test_steps_and_templates_that_make_no_sense_are_refused(
    client: httpx.AsyncClient, query: dict[str, str], said: str
) -> None:
    reply = await client.get("/stats", params=query)
    assert reply.status_code in (400, 422)
    assert said in reply.text


@pytest.mark.parametrize(
    "query",
    [
        {"order": "top", "before": "5-5"},
        {"order": "top", "after": "5"},
        {"from": "tomorrow"},
        {"level": "loud"},
        {"from": "2026-01-02", "to": "2026-01-01"},
        {"before": "x"},
    ],
)
async def test_what_makes_no_sense_is_refused(client: httpx.AsyncClient, query: dict[str, str]) -> None:
    assert (await client.get("/query/logs", params=query)).status_code in (400, 422)


async def test_logs_need_a_key(browser: httpx.AsyncClient) -> None:
    for path in ("/query/logs", "/search/logs?q=x", "/stats"):
        assert (await browser.get(path)).status_code == 401
