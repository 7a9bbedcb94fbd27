"""One private local stack for the whole session: real MariaDB, real FalkorDB. Tests keep apart by environment name."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import mariadb
import pytest
from hypothesis import settings

# What is started in the background of a script ignores Ctrl-C, and so would the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What the person running the tests has configured must not reach them.
for _name in [name for name in os.environ if name.startswith(("CAUSEGRAPH_", "OTEL_"))]:
    if _name != "CAUSEGRAPH_CACHE_DIR":
        del os.environ[_name]

# The same examples every time, so that a change is judged by what it changed; HYPOTHESIS_PROFILE=explore draws new ones.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None, max_examples=1_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

pytest.register_assert_rewrite("tests.sending")

from cli.stack import StackHandle, ensure_stack, stop_stack  # noqa: E402
from graph.topology import TopologyGraph  # noqa: E402
from storage.database import Database, parse_database_url  # noqa: E402
from storage.migrate import migrate  # noqa: E402

_versions: dict[str, str] = {}


@pytest.fixture(scope="session")
def data_dir() -> Iterator[Path]:
    """A data folder of the session's own, removed at its end."""
    folder = Path(tempfile.mkdtemp(prefix="causegraph-test-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def stack(data_dir: Path) -> Iterator[StackHandle]:
    """The running local stack."""
    handle = ensure_stack(data_dir, progress=lambda line: None)
    _versions.update(handle.versions)
    yield handle
    stop_stack(data_dir)


@pytest.fixture(scope="session")
async def database(stack: StackHandle) -> AsyncIterator[Database]:
    """The migrated database of the session."""
    opened = Database(stack.database_url)
    await migrate(opened)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
async def topology(stack: StackHandle) -> AsyncIterator[TopologyGraph]:
    """The topology graph of the session."""
    opened = TopologyGraph(stack.graph_url)
    yield opened
    await opened.close()


def with_database(url: str, name: str) -> str:
    """Return the URL with another database's name."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@pytest.fixture
def fresh_url(stack: StackHandle) -> Iterator[Callable[[], str]]:
    """Make empty databases and return their URLs; they are dropped after the test."""
    connection = mariadb.connect(**parse_database_url(stack.database_url), autocommit=True)
    cursor = connection.cursor()
    made: list[str] = []

    def make() -> str:
        name = f"test_{uuid.uuid4().hex[:12]}"
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        made.append(name)
        return with_database(stack.database_url, name)

    yield make
    for name in made:
        cursor.execute(f"DROP DATABASE {name}")
    connection.close()


@pytest.fixture
def environment() -> str:
    """An environment name that no other test uses."""
    return f"test-{uuid.uuid4().hex[:12]}"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that started this one, where there is one, which servers were used."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["versions"] = dict(_versions)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear from such a process."""
    _versions.update(getattr(node, "workeroutput", {}).get("versions", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _versions:
        terminalreporter.write_line("local stack: " + ", ".join(f"{k} {v}" for k, v in _versions.items()))
