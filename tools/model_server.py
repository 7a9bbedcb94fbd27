"""A real model server to test against: llama.cpp's, the machine's own or Debian's unpacked without root, with tiny models.

.venv/bin/python tools/model_server.py      # serves both models until Ctrl-C and prints the settings that use them
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from domain.errors import StackError  # noqa: E402 - the folder above is on the path only now
from domain.local import Progress  # noqa: E402
from inference.minilm import find_weights  # noqa: E402
from storage.debian_archive import Order, unpacking  # noqa: E402
from storage.provision import cache_folder  # noqa: E402
from tools.tiny_models import write_chat_model, write_embedding_model  # noqa: E402

# It is in no stable release yet; what it needs of newer libraries comes along and is used by it alone.
_SUITES = ("forky", "sid")
_PACKAGES = ("llama.cpp-tools", "libggml0-backend-blas", "libopenblas0-pthread")
_DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}
_OTHERWISE = "Install llama.cpp so that `llama-server` is on the PATH, or check the network and apt's proxy settings."
_READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Llama:
    """A `llama-server` that runs here: the words that start it, and what its environment needs."""

    command: tuple[str, ...]
    environ: dict[str, str] = field(default_factory=dict)


def provide_llama(progress: Progress = lambda line: None) -> Llama:
    """Return a server, fetched once per user where there is none; raises StackError that says what to do."""
    if found := shutil.which("llama-server"):
        return Llama((found,))
    architecture = _DEBIAN.get(platform.machine(), "")
    if not (architecture and shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise StackError(
            f"There is no llama-server on this machine, and only on Debian can it be fetched. {_OTHERWISE}"
        )
    folder = cache_folder(Path(tempfile.gettempdir())) / f"llama-{architecture}"
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _runs(_unpacked(folder)):
            _fetch(folder, architecture, progress)
    if not _runs(_unpacked(folder)):
        raise StackError(f"The llama-server in {folder} does not run here. {_OTHERWISE}")
    return _unpacked(folder)


def provide_models(progress: Progress = lambda line: None) -> tuple[Path, Path]:
    """Return the files of the chat model and of the embedding model, written once per user."""
    folder = cache_folder(Path(tempfile.gettempdir())) / "tiny-models-1"
    chat, embedding = folder / "tiny.gguf", folder / "all-minilm.gguf"
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (chat.is_file() and embedding.is_file()):
            progress("Writing the tiny models")
            folder.mkdir(exist_ok=True)
            for path, write in ((chat, write_chat_model), (embedding, _write_embedding)):
                write(path.with_suffix(".part"))
                path.with_suffix(".part").rename(path)
    return chat, embedding


@contextmanager
def serving(
    llama: Llama, model: Path, alias: str, *flags: str, port: int = 0
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Serve a model and yield (its address, the process); raises StackError where it does not become ready."""
    port = port or _free_port()
    url = f"http://127.0.0.1:{port}"
    # One thread: those that wait for each other spin, and come to nothing where other work goes on.
    usual = ("--alias", alias, "--host", "127.0.0.1", "--port", str(port), "--offline", "--no-ui", "-t", "1")
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [*llama.command, "-m", str(model), *usual, *flags],
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **llama.environ},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_ready(url, process)
            yield url, process
        except StackError as exc:
            said.seek(0)
            raise StackError(f"{exc}\n{said.read().decode(errors='replace')[-2000:]}") from exc
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/health", timeout=5, trust_env=False).status_code == 200:
                return
        time.sleep(0.05)
    raise StackError(f"The model server at {url} did not become ready:")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write_embedding(path: Path) -> None:
    write_embedding_model(path, find_weights())


def _unpacked(folder: Path) -> Llama:
    libraries = folder / "usr" / "lib" / f"{platform.machine()}-linux-gnu"
    paths = [libraries / "openblas-pthread", libraries, libraries / "llama"]
    loader = next(iter(sorted(libraries.glob("ld-linux-*.so.*"))), libraries / "ld-linux.so")
    command = (str(loader), "--library-path", os.pathsep.join(map(str, paths)), str(folder / "usr/bin/llama-server"))
    return Llama(command)


def _runs(llama: Llama) -> bool:
    try:
        done = subprocess.run([*llama.command, "--version"], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _fetch(folder: Path, architecture: str, progress: Progress) -> None:
    failures = []
    for suite in _SUITES:
        order = Order("llama.cpp", _PACKAGES, suite, megabytes=23, otherwise=_OTHERWISE)
        try:
            with unpacking(folder, architecture, progress, order) as unpacked:
                libraries = unpacked / "usr" / "lib" / f"{platform.machine()}-linux-gnu"
                # The parts for each kind of processor are looked for beside the program, which here is the loader.
                for part in (libraries / "ggml" / "backends0").glob("*.so"):
                    (libraries / part.name).symlink_to(part.relative_to(libraries))
            return
        except StackError as exc:
            failures.append(str(exc))
    raise StackError("\n".join(failures))


def main() -> None:
    """Serve both models until Ctrl-C."""
    llama = provide_llama(print)
    chat, embedding = provide_models(print)
    with (
        contextlib.suppress(KeyboardInterrupt),
        serving(llama, chat, "tiny", "-c", "8192", "--jinja") as (talking, process),
        serving(llama, embedding, "all-minilm", "--embedding", "-c", "4096", "-ub", "2048") as (embedding_url, _),
    ):
        print(f"export CAUSEGRAPH_CHAT_URL={talking}/v1 CAUSEGRAPH_CHAT_MODEL=openai:tiny  # its words mean nothing")
        print(f"embeddings: {embedding_url}/v1/embeddings (all-minilm, 384)", flush=True)
        process.wait()


if __name__ == "__main__":
    main()
