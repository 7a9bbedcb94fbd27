from __future__ import annotations

import random
import time
import xml.etree.ElementTree as ET

import pytest

from graph.ontology import Edge
from graph.picture import PICTURE_STYLE, topology_svg

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = [
    "<script>alert(1)</script>",
    "]]></style><script>",
    '" onload="alert(1)',
    "' onload='alert(1)",
    "&amp;&#x3c;&lt;",
    "nul\0 \x1b[31m \u202egnp\u2066 \ufffe",
    "\ud800",
    "-->",
    "",
    "日本語のサービス",
]


def call(
    source: str, target: str, count: int = 10, errors: int = 0, by: str = "traces", *, stated: bool = False
) -> Edge:
    return Edge(source, target, "CALLS", by, 5, None, 5, count, errors, stated)


SHOP = [
    call("web", "cart", 5000),
    call("web", "catalog"),
    call("cart", "db", 100, 9),
    call("catalog", "db"),
    call("cart", "redis/0", by="client spans"),
    call("cart", "mail", 0, by="cmdb", stated=True),
]


def _classes(drawn: str, text: str) -> set[str]:
    """The classes of a service, or of the call whose title begins so."""
    for group in ET.fromstring(drawn).iter(f"{SVG}g"):  # noqa: S314 - our own
        title = group.find(f"{SVG}title")
        told = (title.text or "") if title is not None else ""
        if told == text or (" calls " in text and told.startswith(text)):
            return set(group.get("class", "").split())
    raise AssertionError(f"{text} is not in the picture")


def test_a_picture_shows_services_calls_and_what_is_wrong_with_them() -> None:
    drawn = topology_svg(SHOP, anomalous=["catalog"])
    assert "<title>6 services and 6 calls between them</title>" in drawn
    assert _classes(drawn, "web calls cart: seen 5000 times, 0 failed, since 1970-01-01") == {"edge", "w1"}
    assert _classes(drawn, "cart calls db") == {"edge", "failing"}
    assert _classes(drawn, "cart calls mail: stated") == {"edge", "stated"}
    assert _classes(drawn, "redis/0 (database)") == {"service", "database", "peer"}
    assert _classes(drawn, "db (database)") == {"service", "database"}
    assert _classes(drawn, "catalog") == {"service", "anomalous"}
    assert PICTURE_STYLE in drawn
    assert "prefers-color-scheme: dark" in drawn


def test_a_chain_is_highlighted_even_where_a_call_is_not_known() -> None:
    drawn = topology_svg(SHOP, ("disk", "db", "cart", "web"))
    assert _classes(drawn, "disk") == {"service", "chain", "cause"}
    assert _classes(drawn, "cart") == {"service", "chain", "passing"}
    assert _classes(drawn, "web") == {"service", "chain", "symptom"}
    assert _classes(drawn, "db calls disk: inferred") == {"edge", "stated", "chain"}
    assert "chain" in _classes(drawn, "web calls cart")
    assert "chain" not in _classes(drawn, "web calls catalog")


def test_trouble_that_follows_a_call_is_drawn_along_it() -> None:
    drawn = topology_svg([call("flood", "db")], ("flood", "db"))
    assert "chain" in _classes(drawn, "flood calls db")
    assert "db calls flood" not in drawn


@pytest.mark.parametrize("styled", [True, False])
def test_hostile_names_are_only_names(styled: bool) -> None:
    edges = [call(name, f"{name}2", by=name[:16]) for name in HOSTILE]
    drawn = topology_svg(edges, (HOSTILE[0], HOSTILE[2]), HOSTILE, styled=styled)
    root = ET.fromstring(drawn)  # noqa: S314 - the picture is well-formed, whatever is in it
    names = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert names == {"svg", "title", "g", "path", "rect", "text"} | ({"style"} if styled else set())
    assert {key for element in root.iter() for key in element.attrib} <= {
        *("class", "role", "width", "height", "viewBox", "d", "x", "y", "rx", "text-anchor"),
    }
    texts = [element.text or "" for element in root.iter(f"{SVG}title")]
    assert HOSTILE[0] in texts
    assert HOSTILE[4] in texts
    assert all(char.isprintable() for text in texts for char in text)
    drawn.encode()
    assert "\u202e" not in drawn


def test_long_names_lose_their_middle_but_keep_their_title() -> None:
    name = "a" * 40 + "-" + "b" * 40
    drawn = topology_svg([call("web", name)])
    assert f"<title>{name}</title>" in drawn
    assert f"{'a' * 13}…{'b' * 14}</text>" in drawn


def test_equal_edges_give_equal_bytes() -> None:
    chance = random.Random(2)
    edges = [call(f"s{chance.randrange(40)}", f"s{chance.randrange(40)}", at) for at in range(90)]
    drawn = topology_svg(edges, ("s1", "s2", "s3"), {"s4", "s5"})
    for _ in range(5):
        chance.shuffle(edges)
        assert topology_svg(edges, ("s1", "s2", "s3"), {"s5", "s4"}) == drawn


def test_nothing_to_draw_is_an_empty_picture() -> None:
    ET.fromstring(topology_svg([]))  # noqa: S314
    assert "alone" in topology_svg([], ("alone",))
    ET.fromstring(topology_svg([call("a", "a")]))  # noqa: S314


def test_sixty_services_are_drawn_at_once() -> None:
    chance = random.Random(1)
    edges = [call(f"s{chance.randrange(60)}", f"s{chance.randrange(60)}") for _ in range(200)]
    start = time.perf_counter()
    topology_svg(edges)
    assert time.perf_counter() - start < 2  # about 60 ms on a free core
