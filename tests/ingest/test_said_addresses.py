from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.said_addresses import may_say_address, read_said_addresses
from ingest.template import mask


@pytest.mark.parametrize(
    ("line", "hosts"),
    [
        ("connect to inventory:8080 refused", ["inventory"]),
        ("upstream 10.0.0.7:5432 timed out", ["10.0.0.7"]),
        ("2026-11-21T17:19:30Z dial tcp: lookup inventory.shop.svc.cluster.local:8080: no such host", ["inventory.shop.svc.cluster.local"]),
        ("dial tcp 10.2.3.4:5432: connect: connection refused", ["10.2.3.4"]),
        ("Foo.java:123 failed to reach https://api.example.com/v1: 503", ["api.example.com"]),
        ("Connection refused: payment/10.1.2.3:9090", ["payment"]),
        ("host=inventory:8080 connection refused", ["inventory"]),
        ("HTTPConnectionPool(host='inventory', port=8080): Max retries exceeded with url: /x", ["inventory"]),
        ('connection to server at "orders-db" (10.1.1.1), port 5432 failed: Connection refused', ["orders-db"]),
        ("connecting to postgres://u:secret@db1:5432/orders", ["db1"]),
        ("Error: connect ETIMEDOUT [fe80::1]:6379", ["fe80::1"]),
        ("calling cart:80 and then stock:81, both timed out", ["cart", "stock"]),
    ],
)  # fmt: skip
def test_a_line_about_a_connection_names_whom_it_calls(line: str, hosts: list[str]) -> None:
    assert [said.host for said in read_said_addresses(line)] == hosts
    assert may_say_address(mask(line))


@pytest.mark.parametrize(
    "line",
    [
        "inventory is slow, connect to it",
        "Connection from 10.0.0.9:41234 timed out",
        "listening on web:8080, ready to connect",
        "12:34:56 connect failed",
        "connect ECONNREFUSED 127.0.0.1:5432",
        "connection lost in worker.py:120",
        "retry:7 connection",
        "order inventory:8080 was shipped",
        "",
    ],
)
def test_other_lines_name_nobody(line: str) -> None:
    assert not read_said_addresses(line)


def test_a_bare_word_with_a_number_is_no_address_for_sure() -> None:
    (said,) = read_said_addresses("timeout:5000 ms while calling")
    assert not said.sure
    (said,) = read_said_addresses("connect to stock:8080 refused")
    assert said.sure


def test_a_host_inside_a_cluster_goes_by_the_name_of_its_service() -> None:
    (said,) = read_said_addresses("connect to http://stock.shop.svc.cluster.local:8080 refused")
    assert said.names == ("stock",)
    (said,) = read_said_addresses("connect to http://stock.shop:8080 refused")
    assert said.names == ("stock.shop", "stock")


@given(st.text(alphabet="ab.:/@[]-_0 19connect", max_size=700))
def test_any_line_is_read(line: str) -> None:
    for said in read_said_addresses("connect " + line):
        assert said.host
        assert all(0 < len(name) <= 128 for name in said.names)


@pytest.mark.parametrize("part", ["a", "a.", "a:", "a/", "a b", "://", "host='", "a-", "[a", "1:"])
def test_a_hostile_line_is_read_in_no_time(part: str) -> None:
    line = "connect " + part * 700
    began = time.process_time()
    for _ in range(20):
        read_said_addresses(line)
    assert time.process_time() - began < 1.0
