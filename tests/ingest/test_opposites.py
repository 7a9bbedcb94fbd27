from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.families import family_text
from ingest.family_slots import NAMES_TO_OPEN, FamilySlots
from ingest.template import template_of

PAIRS = [
    tuple(line.split())
    for line in Path(__file__).with_name("opposites.txt").read_text().splitlines()
    if not line.startswith("#")
]
SENTENCES = (
    "{}",
    "{} worker 7",
    "service cupsd {}",
    "session {} for user root by (uid=0)",
    "session: {}",
    "link eth0 is {}",
    "host web1: {} since 10:00",
    "user bob {}",
    "user {} from 10.0.0.1 port 22",
    "state={} id=7",
    "connection={} host=db1",
    'event="{}" user=bob',
    '{{"id":"a1","state":"{}"}}',
    '{{"event": "{}", "user": "bob"}}',
    "the door was '{}' at 12:00",
    "job 12 ({}) in queue 3",
    "setState({})",
    "pod web-7d4b9c6f5-x2k4j {}",
    "cache.{} key a/b/c",
    "<{}> order 12",
    "node-3: {}, 12 left",
    "Failed to get {} socket /var/run/x.sock",
)
words = [word for pair in PAIRS for word in pair]


def _family(line: str) -> str:
    return family_text(template_of(line)[1])


def test_there_are_pairs_enough() -> None:
    assert len({frozenset(pair) for pair in PAIRS}) >= 150


@pytest.mark.parametrize("sentence", SENTENCES)
def test_opposites_never_share_a_template_or_a_family(sentence: str) -> None:
    for one, other in PAIRS:
        for case in (str.lower, str.upper, str.capitalize):
            a, b = sentence.format(case(one)), sentence.format(case(other))
            assert template_of(a)[0] != template_of(b)[0], (a, b)
            assert _family(a) != _family(b), (a, b, _family(a))


@pytest.mark.parametrize("key", ["success", "ok", "healthy", "isReady", "enabled", "is_active", "status", "valid"])
def test_flags_that_say_what_happened_are_kept(key: str) -> None:
    for sign in ("=", ": ", ":"):
        yes, no = (_family(f'"{key}"{sign}{flag} id=7') for flag in ("true", "false"))
        assert yes != no
    assert _family(f"isOverlap=true {key}=true") == _family(f"isOverlap=false {key}=true")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("it was ok", "it was not ok"),
        ("it did start", "it did not start"),
        ("started with errors", "started without errors"),
        ("known host db1", "unknown host db1"),
        ("no route to 10.0.0.1", "route to 10.0.0.1"),
        ("it can be read", "it can't be read"),
        ("HTTP/1.1 200 7", "HTTP/1.1 503 7"),
    ],
)
def test_a_negation_is_never_lost(one: str, other: str) -> None:
    assert template_of(one)[0] != template_of(other)[0]
    assert _family(one) != _family(other)


@given(
    st.lists(st.sampled_from(words), min_size=2, max_size=12, unique=True),
    st.sampled_from(SENTENCES),
    st.lists(st.text("bcdfghjklmnpqrstvwxz", min_size=5, max_size=8), min_size=5, max_size=12, unique=True),
)
@settings(max_examples=200, deadline=None)
def test_slots_that_open_never_take_in_an_event(events: list[str], sentence: str, names: list[str]) -> None:
    pairs = [pair for pair in permutations(events, 2) if pair in PAIRS]
    into = FamilySlots().place([_family(sentence.format(word)) for word in [*names, *events, *names]])
    for one, other in pairs:
        a, b = _family(sentence.format(one)), _family(sentence.format(other))
        assert into[a] != into[b]


@pytest.mark.parametrize("sentence", SENTENCES)
@pytest.mark.parametrize("around", ["backup {} finished: {}", 'backup {} gave up with "{}"', "{}", "{} {}"])
def test_places_for_texts_that_open_never_take_in_opposites(sentence: str, around: str) -> None:
    texts = (
        "the disk of db2 is too small", "please look at it", "wrong size", "cannot parse line 7", "a page had no title", "ask bob first",
        "bad luck again", "this is what the user wrote", "more of that tomorrow", "every word here is free", "odd column in sheet 2",
    )  # fmt: skip
    of = list(dict.fromkeys(w for pair in PAIRS for w in pair))
    lines = {word: _family(_around(around, sentence.format(word), at)) for at, word in enumerate(of)}
    free = [_family(_around(around, text, at)) for at, text in enumerate(texts)]
    into = FamilySlots().place([*free, *lines.values(), *free])
    for one, other in PAIRS:
        assert into[lines[one]] != into[lines[other]], (lines[one], lines[other], into[lines[one]])


def _around(around: str, said: str, at: int) -> str:
    names = ("kwxbo", "zorb", "plugh", "xyzzy", "frob", "quux", "grault")
    return around.format(*(names[at % 7], said)[-around.count("{}") :])


def test_a_slot_opens_for_names_but_not_for_common_words() -> None:
    daemons, nouns = (
        ("cupsd", "klogd", "sshd", "xfs", "gpm", "atd"),
        ("header", "body", "token", "date", "address", "path"),
    )
    slots = FamilySlots()
    aliases = [slots.add(f"{name} startup succeeded") for name in daemons]
    assert [len(each) for each in aliases] == [0] * (NAMES_TO_OPEN - 1) + [NAMES_TO_OPEN, 1]
    assert {alias.into for each in aliases for alias in each} == {"<*> startup succeeded"}
    assert not any(slots.add(f"cannot parse {noun} of request") for noun in nouns)
