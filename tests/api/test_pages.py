"""The pages: sessions, forms, and hostile text that stays text."""

from __future__ import annotations

import html
import re
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from agents.plain import show_plain
from agents.services import Services
from api.auth import Gate

SCRIPTS = {'<script src="/static/vendor/htmx.min.js" defer>', '<script src="/static/app.js" type="module">'}
HOSTILE = "<script>alert(1)</script> [red]boom[/red] \u202e \x1b[31mred"


async def _log_in(browser: httpx.AsyncClient, key: str) -> httpx.Response:
    return await browser.post("/login", data={"key": key, "next": "/"})


async def _csrf(browser: httpx.AsyncClient) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', (await browser.get("/")).text)
    assert found
    return found[1]


async def _ask(browser: httpx.AsyncClient, environment: str, question: str) -> httpx.Response:
    fields = {"question": question, "environment": environment, "csrf": await _csrf(browser)}
    reply = await browser.post("/ask", data=fields)
    assert reply.status_code == 303, reply.text
    return await browser.get(reply.headers["location"])


async def test_a_stranger_is_sent_to_log_in_and_back(browser: httpx.AsyncClient, admin_key: str) -> None:
    reply = await browser.get("/ui/traces/trc_20240101_000000_00000000")
    assert reply.status_code == 303
    assert reply.headers["location"] == "/login?next=/ui/traces/trc_20240101_000000_00000000"
    reply = await browser.post("/login", data={"key": admin_key, "next": "/ui/x"})
    assert (reply.status_code, reply.headers["location"]) == (303, "/ui/x")
    cookie = reply.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert admin_key not in cookie
    assert (await browser.get("/")).status_code == 200


@pytest.mark.parametrize("wanted", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"])
async def test_a_login_leads_nowhere_else(browser: httpx.AsyncClient, admin_key: str, wanted: str) -> None:
    reply = await browser.post("/login", data={"key": admin_key, "next": wanted})
    assert reply.headers["location"] == "/"


async def test_wrong_keys_do_not_log_in(browser: httpx.AsyncClient, services: Services) -> None:
    _, ingest_only = await services.keys.create_key("test", "ingest")
    for key in ("", "cg_" + "x" * 43, ingest_only):
        reply = await _log_in(browser, key)
        assert reply.status_code == 401
        assert "set-cookie" not in reply.headers


@pytest.mark.parametrize("broken", ["", "x", "a.b.c.d", "key-1.99999999999.n.0000", "é.1.2.3"])
async def test_made_up_sessions_are_none(browser: httpx.AsyncClient, broken: str) -> None:
    headers = {b"Cookie": f"causegraph_session={broken}".encode()}
    assert (await browser.get("/", headers=headers)).status_code == 303


async def test_a_login_link_works_once(browser: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    url = urlsplit((await client.post("/session-links")).json()["url"])
    link = f"{url.path}?{url.query}"
    reply = await browser.get(link)
    assert reply.status_code == 200
    assert "url=/" in reply.text
    assert (await browser.get("/")).status_code == 200
    browser.cookies.clear()
    assert (await browser.get(link)).status_code == 401
    assert (await browser.get("/")).status_code == 303


async def test_a_session_is_not_a_login_link_and_a_link_is_not_a_session(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, admin_key: str
) -> None:
    token = (await client.post("/session-links")).json()["url"].partition("token=")[2]
    reply = await browser.get("/", headers={"Cookie": f"causegraph_session={token}"})
    assert reply.status_code == 303
    await _log_in(browser, admin_key)
    session = browser.cookies["causegraph_session"]
    assert (await browser.get("/login", params={"token": session})).status_code == 401


async def test_a_secret_that_a_crash_left_empty_signs_nothing(services: Services, tmp_path: Path) -> None:
    path = tmp_path / "run" / "session-secret"
    Gate(services.keys, tmp_path)
    first = path.read_bytes()
    Gate(services.keys, tmp_path)
    assert path.read_bytes() == first
    path.write_bytes(b"")
    Gate(services.keys, tmp_path)
    assert len(path.read_bytes()) == 32
    assert path.stat().st_mode & 0o077 == 0


async def test_revoking_a_key_ends_its_sessions(
    browser: httpx.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.auth._KEYS_REMEMBERED_SECONDS", 0.0)
    key_id, secret = await services.keys.create_key("test", "read")
    await _log_in(browser, secret)
    assert (await browser.get("/")).status_code == 200
    await services.keys.revoke(key_id)
    # What was remembered before the time was set to nothing may still be used for one look.
    await browser.get("/")
    assert (await browser.get("/")).status_code == 303


async def test_forms_of_other_sites_are_refused(browser: httpx.AsyncClient, admin_key: str) -> None:
    await _log_in(browser, admin_key)
    csrf = await _csrf(browser)
    for fields, headers in (
        ({"question": "x"}, {}),
        ({"question": "x", "csrf": "0" * 40}, {}),
        ({"question": "x", "csrf": csrf}, {"Sec-Fetch-Site": "cross-site"}),
    ):
        reply = await browser.post("/ask", data=fields, headers=headers)
        assert reply.status_code == 403
        assert "text/html" in reply.headers["content-type"]


async def test_logging_out_ends_the_session(browser: httpx.AsyncClient, admin_key: str) -> None:
    await _log_in(browser, admin_key)
    assert (await browser.post("/logout", data={"csrf": await _csrf(browser)})).status_code == 303
    assert (await browser.get("/")).status_code == 303


async def test_a_reader_cannot_ask(browser: httpx.AsyncClient, services: Services) -> None:
    _, secret = await services.keys.create_key("test", "read")
    await _log_in(browser, secret)
    page = await browser.get("/")
    assert 'action="/ask"' not in page.text
    reply = await browser.post("/ask", data={"question": "x", "csrf": await _csrf(browser)})
    assert reply.status_code == 403


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"question": "why?", "from": "soon"}, "not a time"),
        ({"question": "why? at 2026-13-45 10:42"}, "not a time"),
        ({"question": "why?", "environment": "x" * 300}, "longer than 64"),
    ],
)
async def test_a_wrong_question_comes_back_with_its_words(
    browser: httpx.AsyncClient, admin_key: str, fields: dict[str, str], said: str
) -> None:
    await _log_in(browser, admin_key)
    reply = await browser.post("/ask", data=fields | {"csrf": await _csrf(browser)})
    assert reply.status_code == 422
    assert "why?" in reply.text
    assert said in reply.text


async def test_every_page_shows_hostile_text_as_text(browser: httpx.AsyncClient, admin_key: str, incident: str) -> None:
    await _log_in(browser, admin_key)
    answer = await _ask(browser, incident, f"why did checkout fail? {HOSTILE}")
    assert answer.status_code == 200
    assert "root cause" in answer.text
    assert "payment" in answer.text
    assert "<h2>Runbook" in answer.text and ">seen:</span>" in answer.text, "what its steps expect was looked for"
    links = set(re.findall(r'href="(/ui/(?:evidence|traces)/[^"]+)"', answer.text))
    assert {link.split("/")[2] for link in links} == {"evidence", "traces"}
    home = await browser.get("/")
    pages = [answer, home, *[await browser.get(link) for link in sorted(links)]]
    shown = html.escape(show_plain(HOSTILE), quote=False)
    assert shown in answer.text
    assert shown in home.text
    for page in pages:
        assert page.status_code == 200, page.text
        assert set(re.findall(r"<script[^>]*>", page.text)) == SCRIPTS
        assert "style=" not in page.text
        assert "\x1b" not in page.text
        assert "\u202e" not in page.text
        assert page.headers["cache-control"] == "no-store"
    assert any("&lt;script&gt;" in page.text for page in pages[2:])


async def test_what_is_not_there_is_a_page(browser: httpx.AsyncClient, admin_key: str) -> None:
    await _log_in(browser, admin_key)
    for path in ("/ui/incidents/inc-0", "/ui/evidence/log-0", "/ui/traces/x", "/ui/nothing"):
        reply = await browser.get(path)
        assert reply.status_code == 404
        assert "text/html" in reply.headers["content-type"]


async def test_the_style_sheet_is_served(browser: httpx.AsyncClient) -> None:
    reply = await browser.get("/static/style.css")
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/css")
    assert (await browser.get("/static/../app.py")).status_code in (404, 401, 303)
