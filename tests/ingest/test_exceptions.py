from __future__ import annotations

import pytest

from ingest.exceptions import Frame, read_exception

PYTHON = """Traceback (most recent call last):
  File "/app/x.py", line 33, in main
    foo()
  File "/app/y.py", line 3, in foo
    raise ValueError("bad")
ValueError: bad thing"""
GO = """panic: runtime error: index out of range [3]

goroutine 1 [running]:
main.foo(0x1, {0x2, 0x3})
\t/src/main.go:42 +0x1d"""
NODE = """TypeError: Cannot read properties of undefined (reading 'x')
    at Object.handler (/app/src/index.js:10:15)
    at /app/node_modules/express/lib/router.js:5:1"""
DOTNET = """System.NullReferenceException: Object reference not set
   at Shop.Cart.Add(String id) in C:\\src\\Cart.cs:line 42"""
RUBY = "app/models/x.rb:12:in `save': undefined method (NoMethodError)\n\tfrom app/main.rb:3:in `<main>'"
RUST = """thread 'main' panicked at src/main.rs:10:5:
stack backtrace:
   1: app::run
             at ./src/main.rs:10:5"""
PHP = """PHP Fatal error:  Uncaught TypeError: foo(): bad in /app/a.php:3
#0 /app/b.php(12): App\\Foo->bar(1)"""
JAVA = "java.lang.IllegalStateException: no bean\n\tat com.foo.Bar.baz(Bar.java:123)\n\tat a.B.c(Native Method)"


@pytest.mark.parametrize(
    ("text", "kind", "message", "frame"),
    [
        (PYTHON, "ValueError", "bad thing", Frame("/app/y.py", 3, "foo")),
        (GO, "panic", "runtime error: index out of range [3]", Frame("/src/main.go", 42, "main.foo")),
        (
            NODE,
            "TypeError",
            "Cannot read properties of undefined (reading 'x')",
            Frame("/app/src/index.js", 10, "Object.handler"),
        ),
        (
            DOTNET,
            "System.NullReferenceException",
            "Object reference not set",
            Frame("C:\\src\\Cart.cs", 42, "Shop.Cart.Add"),
        ),
        (RUBY, "NoMethodError", "", Frame("app/models/x.rb", 12, "save")),
        (RUST, "panic", "src/main.rs:10:5:", Frame("./src/main.rs", 10, "app::run")),
        (PHP, "TypeError", "foo(): bad in /app/a.php:3", Frame("/app/b.php", 12, "App\\Foo->bar")),
        (JAVA, "java.lang.IllegalStateException", "no bean", Frame("Bar.java", 123, "com.foo.Bar.baz")),
    ],
)
def test_exceptions_of_eight_languages_are_read(text: str, kind: str, message: str, frame: Frame) -> None:
    raised = read_exception(text)
    assert raised is not None
    assert (raised.type, raised.message, raised.frames[0]) == (kind, message, frame)


def test_a_line_without_an_exception_has_none() -> None:
    assert read_exception("order 7 placed") is None
    assert read_exception("errors: 0") is None
