"""Stack traces become one event, whatever language wrote them and whatever is mixed with them; nothing else is joined."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.shipping.joining import Joiner

PYTHON = """\
2026-11-21 10:00:00 ERROR order 7 failed
Traceback (most recent call last):
  File "/srv/shop.py", line 7, in reserve
    stock[name] -= 1
KeyError: 'apple'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/srv/shop.py", line 9, in order
    reserve(name)
shop.OutOfStock: apple"""

JAVA = """\
10:00:00.123 [main] ERROR c.s.Shop - order failed
com.shop.OrderException: order 7
\tat com.shop.Order.place(Order.java:42)
\tat com.shop.Main.main(Main.java:7)
Caused by: java.sql.SQLException: gone
\tat com.shop.Db.get(Db.java:1)
\t... 2 more"""

JAVA_ALONE = """\
Exception in thread "main" java.lang.NullPointerException
\tat com.shop.Main.main(Main.java:7)"""

GO = """\
panic: runtime error: index out of range [5] with length 3

goroutine 1 [running]:
main.reserve(...)
\t/srv/shop/main.go:12
main.main()
\t/srv/shop/main.go:20 +0x1d
created by main.start in goroutine 7
\t/srv/shop/main.go:5 +0x2a
exit status 2"""

NODE = """\
/srv/shop/order.js:3
  throw new Error('no stock');
  ^

Error: no stock
    at reserve (/srv/shop/order.js:3:9)
    at node:internal/main/run_main_module:28:49 {
  code: 'E_STOCK'
}

Node.js v22.1.0"""

NODE_HANDLED = """\
TypeError: Cannot read properties of undefined (reading 'price')
    at total (/srv/shop/cart.js:10:22)
    at async order (/srv/shop/cart.js:4:3)"""

TRACES = {
    "python": PYTHON,
    "java": JAVA,
    "java alone": JAVA_ALONE,
    "go": GO,
    "node": NODE,
    "node handled": NODE_HANDLED,
}


def _join(lines: list[str]) -> list[str]:
    joiner = Joiner()
    done = [joined for line in lines if (joined := joiner.add(1, line)) is not None]
    return [joined.text for joined in done + joiner.flush()]


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES.keys())
def test_a_trace_between_other_lines_is_one_event(trace: str) -> None:
    before, after = "2026-11-21 09:59:59 INFO order 6 placed", "2026-11-21 10:00:01 INFO order 8 placed"
    assert _join([before, *trace.splitlines(), after]) == [before, trace, after]
    assert _join([*trace.splitlines(), *trace.splitlines()]) == [trace, trace]


def test_a_trace_that_no_message_leads_to_is_an_event_of_its_own() -> None:
    lines = ["Starting the shop", "Traceback (most recent call last):", '  File "a.py", line 1', "ValueError: x"]
    assert _join(lines) == [lines[0], "\n".join(lines[1:])]


def test_streams_are_kept_apart() -> None:
    joiner = Joiner()
    done = []
    trace = NODE_HANDLED.splitlines()
    for number, line in enumerate(trace):
        done += [joiner.add(number, line, "stderr"), joiner.add(number, f"request {number}", "stdout")]
    texts = {(joined.stream, joined.text) for joined in [*filter(None, done), *joiner.flush()]}
    assert texts == {("stderr", NODE_HANDLED), *(("stdout", f"request {number}") for number in range(len(trace)))}


def test_what_is_too_much_for_one_event_goes_on_in_the_next() -> None:
    lines = ["start", *[f"  line {number} " + "x" * 900 for number in range(100)]]
    joiner = Joiner()
    done = [joined for line in lines if (joined := joiner.add(1, line)) is not None] + joiner.flush()
    assert "\n".join(joined.text for joined in done) == "\n".join(lines)
    assert len(done) > 1
    assert all(len(joined.text) < 40_000 for joined in done)
    assert {joined.note for joined in done[1:]} == {"continued"}


def test_lines_can_be_kept_apart() -> None:
    joiner = Joiner(joins=False)
    lines = JAVA.splitlines()
    done = [joined for line in lines if (joined := joiner.add(1, line)) is not None] + joiner.flush()
    assert [joined.text for joined in done] == lines


@given(st.lists(st.sampled_from(["", "a line", "  indented", "}", *"\n".join(TRACES.values()).splitlines()])))
def test_no_line_is_lost_or_doubled(lines: list[str]) -> None:
    found = "\n".join(_join(lines)).split("\n")
    assert [line for line in found if line] == [line for line in lines if line]
