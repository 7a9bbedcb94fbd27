"""A Chromium for the browser tests and the pictures in docs/: the machine's own, else Debian's, unpacked without root."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from domain.errors import StackError  # noqa: E402 - the folder above is on the path only now
from domain.local import Progress  # noqa: E402
from storage.debian_archive import Order, unpacking  # noqa: E402
from storage.provision import cache_folder  # noqa: E402

# No request of the browser's own: a closed network would answer each with a failure.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--font-render-hinting=none",
)
_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
_PACKAGES = ("chromium-headless-shell", "fonts-inter", "fonts-dejavu-core", "fontconfig-config")
_DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}
_STATUS = Path("/var/lib/dpkg/status")
_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
<dir>{root}/usr/share/fonts</dir><dir>/usr/share/fonts</dir><cachedir>{root}/fontcache</cachedir>
<alias><family>system-ui</family><prefer><family>Inter</family></prefer></alias>
<alias><family>sans-serif</family><prefer><family>Inter</family></prefer></alias>
<alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
</fontconfig>
"""


@dataclass(frozen=True, slots=True)
class Browser:
    """A Chromium that runs here: its file, and what its environment needs."""

    path: Path
    environ: dict[str, str] = field(default_factory=dict)


def provide_chromium(progress: Progress = lambda line: None) -> Browser:
    """Return a Chromium, fetched once per user where there is none; raises StackError that says what to install."""
    for name in _NAMES:
        if found := shutil.which(name):
            return Browser(Path(found))
    suite = _debian_suite()
    architecture = _DEBIAN.get(platform.machine(), "")
    if not (suite and architecture and _STATUS.is_file() and shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise StackError(
            "There is no Chromium on this machine, and only on Debian can it be fetched: install `chromium`."
        )
    folder = cache_folder(Path(tempfile.gettempdir())) / f"chromium-{suite}-{architecture}"
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        browser = _unpacked(folder, platform.machine())
        if not _runs(browser):
            _fetch(folder, suite, architecture, progress)
            browser = _unpacked(folder, platform.machine())
    if not _runs(browser):
        raise StackError(f"The Chromium in {folder} does not run here: install `chromium`.")
    return browser


def _debian_suite() -> str:
    try:
        told = platform.freedesktop_os_release()
    except OSError:
        return ""
    return told.get("VERSION_CODENAME", "") if told.get("ID") == "debian" else ""


def _unpacked(folder: Path, machine: str) -> Browser:
    libraries = folder / "usr" / "lib" / f"{machine}-linux-gnu"
    # Some libraries lie in folders of their own, as PulseAudio's private one does.
    paths = [libraries, *sorted(path for path in libraries.glob("*") if path.is_dir())]
    environ = {
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, paths)),
        "FONTCONFIG_FILE": str(folder / "fonts.conf"),
    }
    return Browser(folder / "usr/lib/chromium/chromium-headless-shell", environ)


def _runs(browser: Browser) -> bool:
    try:
        done = subprocess.run(
            [browser.path, "--version", "--no-sandbox"],
            env={**os.environ, **browser.environ},
            capture_output=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _fetch(folder: Path, suite: str, architecture: str, progress: Progress) -> None:
    order = Order(
        "Chromium",
        _PACKAGES,
        suite,
        megabytes=100,
        installed=_STATUS,
        otherwise="Check the network and apt's proxy settings, or install `chromium` yourself.",
    )
    with unpacking(folder, architecture, progress, order) as unpacked:
        (unpacked / "fonts.conf").write_text(_FONTS.format(root=folder))


if __name__ == "__main__":
    print(provide_chromium(print).path)
