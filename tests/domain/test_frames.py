"""Frames of stack traces as the languages write them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.frames import MAX_FRAMES, Frame, parse_frames

_PYTHON = """ERROR payment failed
Traceback (most recent call last):
  File "/app/shop/payment.py", line 31, in charge
    reply = bank.debit(card)
            ^^^^^^^^^^^^^^^^
  File "/app/shop/bank.py", line 12, in debit
    raise ConnectionError("no route")
ConnectionError: no route

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/app/shop/server.py", line 80, in answer
    self.charge()
PaymentFailed: charge"""

_JAVA = """java.lang.IllegalStateException: cannot place order
\tat com.shop.orders.OrderService.place(OrderService.java:118)
\tat java.base/java.util.Optional.map(Optional.java:260)
\tat app//com.shop.web.Orders$Handler.lambda$post$0(Orders.kt:33)
Caused by: java.sql.SQLException: pool is empty
\tat com.shop.db.Pool.take(Pool.java:71)
\t... 3 more"""

_GO = """panic: runtime error: index out of range [3] with length 3

goroutine 17 [running]:
github.com/acme/shop/internal/cart.(*Store).Add(0xc0000b2000, {0x6f, 0x3})
\t/build/internal/cart/store.go:57 +0x1d
main.main.func1()
\t/build/cmd/shop/main.go:21 +0x44
created by main.main in goroutine 1
\t/build/cmd/shop/main.go:19 +0x30"""

_NODE = """TypeError: Cannot read properties of undefined (reading 'total')
    at Cart.total (/srv/app/src/cart.js:14:22)
    at async checkout (file:///srv/app/src/checkout.mjs:40:5)
    at /srv/app/node_modules/express/lib/router.js:12:3
    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)"""

_DOTNET = r"""System.InvalidOperationException: Sequence contains no elements
   at System.Linq.ThrowHelper.ThrowNoElementsException()
   at Shop.Cart.CartStore.<AddItemAsync>d__7.MoveNext() in C:\src\cart\CartStore.cs:line 42
--- End of stack trace from previous location ---
   at Shop.Web.CartController.Post(String id, Int32 count) in /src/web/CartController.cs:line 18"""

_RUBY = """app/models/order.rb:27:in `total': undefined method `price' for nil:NilClass (NoMethodError)
\tfrom app/models/order.rb:12:in `block in Order#lines'
\tfrom /usr/lib/ruby/3.2.0/set.rb:501:in 'Hash#each_key'"""

_RUST = """thread 'main' panicked at src/cart.rs:17:9:
called `Option::unwrap()` on a `None` value
stack backtrace:
   0: rust_begin_unwind
             at /rustc/9fc6b431/library/std/src/panicking.rs:665:5
   1: shop::cart::Cart::total::h0123456789abcdef
             at ./src/cart.rs:17:9"""

_PHP = """PHP Fatal error:  Uncaught Exception: no stock in /var/www/src/Stock.php:44
Stack trace:
#0 /var/www/src/Order.php(20): Shop\\Stock->take(3)
#1 {main}"""

_GDB = "#0  0x00007f in cart_total (c=0x0) at src/cart.c:88\n#1  0x0000 in main () at main.c:12"


@pytest.mark.parametrize(
    ("text", "first", "count"),
    [
        (_PYTHON, Frame("python", "/app/shop/bank.py", 12, "debit"), 3),
        (_JAVA, Frame("java", "Pool.java", 71, "take", "com.shop.db.Pool"), 4),
        (_GO, Frame("go", "/build/internal/cart/store.go", 57, "Add", "github.com/acme/shop/internal/cart"), 3),
        (_NODE, Frame("node", "/srv/app/src/cart.js", 14, "total", "Cart"), 4),
        (_DOTNET, Frame("dotnet", "", 0, "ThrowNoElementsException", "System.Linq.ThrowHelper"), 3),
        (_RUBY, Frame("ruby", "app/models/order.rb", 27, "total"), 3),
        (_RUST, Frame("rust", "src/cart.rs", 17, ""), 3),
        (_PHP, Frame("php", "/var/www/src/Stock.php", 44, ""), 2),
        (_GDB, Frame("c", "src/cart.c", 88, "cart_total"), 2),
    ],
    ids=["python", "java", "go", "node", "dotnet", "ruby", "rust", "php", "c"],
)
def test_the_innermost_frame_of_the_first_cause_comes_first(text: str, first: Frame, count: int) -> None:
    frames = parse_frames(text)
    assert frames[0] == first
    assert len(frames) == count, frames


def test_the_rest_of_a_frame_is_read_too() -> None:
    assert parse_frames(_JAVA)[3] == Frame("java", "Orders.kt", 33, "lambda$post$0", "com.shop.web.Orders$Handler")
    assert parse_frames(_GO)[1] == Frame("go", "/build/cmd/shop/main.go", 21, "main", "main")
    assert parse_frames(_NODE)[1] == Frame("node", "/srv/app/src/checkout.mjs", 40, "checkout")
    assert parse_frames(_DOTNET)[1] == Frame(
        "dotnet", "/src/cart/CartStore.cs", 42, "AddItemAsync", "Shop.Cart.CartStore"
    )
    assert parse_frames(_RUBY)[1] == Frame("ruby", "app/models/order.rb", 12, "lines", "Order")
    assert parse_frames(_RUST)[2] == Frame("rust", "./src/cart.rs", 17, "total", "shop::cart::Cart")
    assert parse_frames(_PHP)[1] == Frame("php", "/var/www/src/Order.php", 20, "take", "Shop\\Stock")


def test_a_trace_in_one_escaped_line_is_read() -> None:
    assert parse_frames(_PYTHON.replace("\n", "\\n")) == parse_frames(_PYTHON)


@pytest.mark.parametrize(
    "text", ["", "payment failed at 10:42:07", "look at this (really: 12:13)", "in file x, line 3"]
)
def test_prose_has_no_frames(text: str) -> None:
    assert parse_frames(text) == ()


@given(st.text(alphabet=" \tat:.()#<>/\\\"`'FilenrustgoPanicked0x1,;$\n", max_size=2_000))
def test_no_text_breaks_the_parser(text: str) -> None:
    assert len(parse_frames(text)) <= MAX_FRAMES


@pytest.mark.parametrize(
    "line", ["at " + "a." * 90_000, "\tat " + "(" * 90_000, "at " + "x " * 90_000, "#1 " + "a(" * 90_000]
)
def test_long_lines_take_little_time(line: str) -> None:
    began = time.process_time()
    parse_frames("\n".join([line, *([line[:1_990]] * 100)]))
    assert time.process_time() - began < 5.0
