from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.families import family_id, family_text
from ingest.family_slots import FamilySlots
from ingest.template import MASK_CHARS, mask, template_of, templates_of
from tests.ingest.test_template import lines


@pytest.mark.parametrize(
    ("message", "family"),
    [
        ("Failed password for root from 10.0.0.1 port 22", "Failed password for <*> from <*> port <*>"),
        ("Invalid user webmaster from 10.0.0.1", "Invalid user <*> from <*>"),
        ("session opened for user root by (uid=0)", "session opened for user <*> by (uid=<*>)"),
        ("cannot open /var/log/a.log: Permission denied", "cannot open <*>: Permission denied"),
        ("get https://a.example.com/x?y=1 failed", "get <*> failed"),
        ("loaded C:\\Windows\\System32\\a.dll now", "loaded <*> now"),
        ("sent 12 bytes (1.1 KB) to peer", "sent <*> to peer"),
        ("peers [1, 2, 3] of 10.0.0.1, 10.0.0.2", "peers [<*>] of <*>"),
        ("user=bob action=delete ok=true", "user=<*> action=delete ok=true"),
        ("isOverlap:false flags=0x10", "isOverlap:<*> flags=<*>"),
        ('{"user":"bob","status":"failed"}', '{"user":<*>,"status":"failed"}'),
        ("java.io.IOException: disk full", "java.io.IOException: disk full"),
        ("rank 3, symbol 4, bit 5", "rank <*>, symbol <*>, bit <*>"),
        ("iar 1 dear 2 iar 3 dear 4 iar 5 dear 6", "iar <*> dear <*>"),
        ("plain words alone", "plain words alone"),
        ("took 5 ms: SELECT a, b FROM t WHERE id = 7", "took <*>: SELECT <*>"),
        ('db="shop" query="DELETE FROM t WHERE x"', 'db=<*> query="DELETE <*>"'),
        ("please select one of the list", "please select one of the list"),
        ('"user added" pod="a/b-1"', '"user added" pod=<*>'),
        ('{"ID":"7","Type":"ContainerStarted"}', '{"ID":<*>,"Type":"ContainerStarted"}'),
        ("queue 'items' in vhost 'a': Adding mirror", "queue '<*>' in vhost '<*>': Adding mirror"),
        ("Job `cron.daily' started", "Job `<*>' started"),
    ],
)
def test_names_are_hidden_and_what_happened_survives(message: str, family: str) -> None:
    assert family_text(mask(message)) == family


@pytest.mark.parametrize(
    "values",
    [
        "12|-5|1,234|1.2E+10|NaN|-Infinity|12%",
        "15ms|1m30s|3 days|1 week|90 sec|PT1M30S|00:01:02",
        "12 bytes|1 byte|1.5 KB|3KiB|100 kbps|2 Mbit/s",
        "2024-01-02|2 Jan 2024|Tue Jan  2 10:00:00 UTC 2024|Tue, 02 Jan 2024 10:00:00 GMT|10:00 PM",
        "10.0.0.1|::1|fe80::1%eth0|10.0.0.0/8|[::1]:8080|localhost|localhost:8080",
        "/a/b/c|/|~/x|C:\\Users\\bob\\x.txt|src/app.yml|example.com/x",
        "[1, 2, 3]|[1]|[]|[a, b]|[10.0.0.1, 10.0.0.2]",
        "'abc'|'a b c'|''",
        "1 packet|2 packets",
        "1 entry|2 entries",
        "a@b.com|<bob@x.io>",
        "dGhpcyBpcyBh0Q==|a1b2c3|01HQ3K4N5M6P7R8S9T0V1W2X3Y",
    ],
)
def test_the_forms_of_a_value_are_of_one_family(values: str) -> None:
    assert len({family_text(mask(f"worker sent {value} of data")) for value in values.split("|")}) == 1


@given(lines)
@settings(max_examples=400, deadline=None)
def test_any_template_has_a_bounded_family(line: str) -> None:
    text = mask(line)
    family = family_text(text)
    assert family == family_text(text)
    assert len(family) <= 2 * MASK_CHARS
    assert 0 <= family_id(family) < 2**63
    FamilySlots().add(family)


@given(st.lists(lines | st.just("a\x1eb"), max_size=30), st.integers(1, 7))
@settings(max_examples=300, deadline=None)
def test_ids_are_equal_however_a_stream_is_split(stream: list[str], size: int) -> None:
    whole = [template_of(line) for line in stream]
    assert templates_of(stream) == whole
    parts = [templates_of(stream[at : at + size]) for at in range(0, len(stream), size)]
    assert [each for part in parts for each in part] == whole
    assert [templates_of([line])[0] for line in reversed(stream)] == whole[::-1]


@given(
    st.permutations([f"{name} startup succeeded" for name in ("cupsd", "klogd", "sshd", "xfs", "gpm", "atd", "ntpd")])
)
def test_slots_that_opened_are_the_same_in_any_order(families: list[str]) -> None:
    slots = FamilySlots()
    into = {alias.text: alias.into for text in families for alias in slots.add(text)}
    assert into == dict.fromkeys(families, "<*> startup succeeded")


@pytest.mark.parametrize(
    "piece",
    [
        "(",
        "=",
        "a=",
        '"',
        "<*>",
        "<*> ",
        "a.",
        "/",
        "\\",
        "a:",
        "user ",
        "x,",
        "[]",
        "a(b)",
        "...",
        "1-",
        "is done: x y ",
        "was 'a b' ",
    ],
)
def test_hostile_lines_take_linear_time(piece: str) -> None:
    line = piece * (1_000_000 // len(piece))
    began = time.process_time()
    family = family_text(mask(line))
    FamilySlots().add(family)
    assert time.process_time() - began < 2.0
