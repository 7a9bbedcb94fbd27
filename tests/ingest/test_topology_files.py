from __future__ import annotations

import json

import pytest

from domain.errors import PayloadError
from ingest.json_records import decode_topology
from ingest.topology_files import read_topology_file


def test_our_own_form_as_yaml_and_as_json() -> None:
    text = """
      observed_by: cmdb
      valid_from: 2026-11-20T10:00:00Z
      valid_to: 2026-11-21
      edges:
        - {source: web, target: cart}
        - {source: web, target: n1, kind: RUNS_ON}
    """
    body = read_topology_file(text)
    assert body["observed_by"] == "cmdb"
    edges = decode_topology(json.dumps(body).encode(), "application/json", "e").records
    assert [(e.source, e.target, e.kind, e.observed_by) for e in edges] == [
        ("web", "cart", "CALLS", "cmdb"),
        ("web", "n1", "RUNS_ON", "cmdb"),
    ]
    assert edges[0].valid_to_us is not None
    assert (edges[0].valid_from_us, edges[0].valid_to_us) == (1_795_168_800_000_000, 1_795_219_200_000_000)
    assert read_topology_file(json.dumps(body)) == body
    assert read_topology_file('[{"source": "a", "target": "b"}]') == {"edges": [{"source": "a", "target": "b"}]}


def test_a_compose_file_says_who_depends_on_whom() -> None:
    text = """
      services:
        web:
          image: web
          depends_on: [cart, db]
          links: ["db:database", cache]
        cart:
          depends_on:
            db: {condition: service_healthy}
        db: {image: postgres}
        broken:
    """
    body = read_topology_file(text)
    assert body["observed_by"] == "compose"
    pairs = [(edge["source"], edge["target"]) for edge in body["edges"]]
    assert pairs == [("web", "cart"), ("web", "db"), ("web", "cache"), ("cart", "db")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "neither JSON nor YAML in line 1"),
        ("!!python/object/apply:os.system ['true']", "neither JSON nor YAML"),
        ("just words", "states no topology"),
        ("{}", "states no topology"),
        ("", "states no topology"),
        ("edges: []", "no edges"),
        ("edges: web", "no edges"),
        ("services: {web: {image: web}}", "no edges"),
        ("services: [web]", "must be a mapping"),
    ],
)
def test_what_is_no_topology_is_refused(text: str, told: str) -> None:
    with pytest.raises(PayloadError, match=told):
        read_topology_file(text)
