"""Packages from the Debian archive, through the machine's own apt, without root and beside its state.

The machine's apt configuration is read as it is (proxies, time-outs, credentials, mirrors); lists, archives and status are
folders of our own, and the system's packages are not touched.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from domain.errors import StackError
from domain.local import Progress

SUITE = "trixie"
DEFAULT_MIRROR = "http://deb.debian.org/debian"
FETCH_SECONDS = 900
_KEYRINGS = ("debian-archive-keyring.gpg", "debian-archive-keyring.pgp")
OTHER_WAYS = (
    "or set CAUSEGRAPH_DATABASE_URL to a MariaDB >= 11.7 that you run, or start deploy/compose.yaml, which brings one."
)


@dataclass(frozen=True, slots=True)
class Order:
    """What to fetch: packages and all they need, except what `installed` (a status file of dpkg) says is there."""

    name: str
    packages: tuple[str, ...]
    suite: str = SUITE
    megabytes: int = 0
    installed: Path | None = None
    otherwise: str = ""


MARIADB = Order(
    "MariaDB 11.8",
    ("mariadb-server-core",),
    megabytes=16,
    otherwise=f"Check the network and apt's proxy settings, install MariaDB >= 11.7 yourself, {OTHER_WAYS}",
)


def download_packages(work: Path, architecture: str, progress: Progress, order: Order) -> list[Path]:
    """Fetch what is ordered as packages into `work`, signatures checked; raises StackError."""
    keyring = _find_keyring(work)
    failures: list[str] = []
    for mirror in [*debian_mirrors(Path("/etc/apt")), DEFAULT_MIRROR]:
        try:
            return _download_from(mirror, keyring, work, architecture, progress, order)
        except StackError as exc:
            failures.append(f"{mirror}: {exc}")
    raise StackError(
        f"{order.name} could not be fetched from the Debian archive:\n  "
        + "\n  ".join(dict.fromkeys(failures))
        + f"\n{order.otherwise}"
    )


@contextmanager
def unpacking(folder: Path, architecture: str, progress: Progress, order: Order) -> Iterator[Path]:
    """Fetch what is ordered and unpack it beside `folder`; what the block leaves there takes the folder's place in one step.

    Hold a lock of the folder: what a crash left half-way is removed. Raises StackError; then the folder stays as it was.
    """
    for stale in folder.parent.glob(f".{folder.name}.tmp-*"):
        shutil.rmtree(stale, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.tmp-", dir=folder.parent))
    try:
        packages = download_packages(work, architecture, progress, order)
        progress(f"Unpacking {order.name}")
        unpacked = work / "root"
        unpacked.mkdir()
        for package in packages:
            run_quietly(["dpkg-deb", "-x", str(package), str(unpacked)])
        yield unpacked
        os.sync()  # the rename must not reach the disk before the files do
        shutil.rmtree(folder, ignore_errors=True)
        unpacked.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _download_from(
    mirror: str, keyring: Path, work: Path, architecture: str, progress: Progress, order: Order
) -> list[Path]:
    apt = work / "apt"
    shutil.rmtree(apt, ignore_errors=True)
    for name in ("lists/partial", "archives/partial", "empty"):
        (apt / name).mkdir(parents=True)
    (apt / "status").write_bytes(order.installed.read_bytes() if order.installed else b"")
    options = f"arch={architecture} signed-by={keyring} target=Packages"
    (apt / "sources.list").write_text(f"deb [{options}] {mirror} {order.suite} main\n")
    (apt / "apt.conf").write_text(_apt_configuration(apt, architecture))
    apt_get = ["apt-get", "-q", "-c", str(apt / "apt.conf")]
    # apt takes an index that it could not fetch for a warning; here it is the end.
    run_quietly([*apt_get, "-o", "APT::Update::Error-Mode=any", "update"])
    _run_watched([*apt_get, "-y", "--download-only", "install", *order.packages], apt / "archives", progress, order)
    packages = sorted((apt / "archives").glob("*.deb"))
    if not packages:
        raise StackError("apt-get downloaded nothing")
    return packages


def _apt_configuration(apt: Path, architecture: str) -> str:
    """Read by apt after the machine's own configuration: proxies stay, hooks, pins and state are replaced."""
    sandbox = 'APT::Sandbox::User "root";\n' if os.geteuid() == 0 else ""
    return f"""#clear APT::Update;
#clear APT::Default-Release;
#clear APT::Architectures;
#clear DPkg;
{sandbox}APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Install-Suggests "false";
Acquire::Languages "none";
Acquire::Retries "2";
Dir::State "{apt}";
Dir::State::lists "{apt}/lists";
Dir::State::status "{apt}/status";
Dir::State::extended_states "{apt}/extended_states";
Dir::Cache "{apt}";
Dir::Cache::archives "{apt}/archives";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Etc::sourcelist "{apt}/sources.list";
Dir::Etc::sourceparts "{apt}/empty";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "{apt}/empty";
"""


def debian_mirrors(etc_apt: Path) -> list[str]:
    """The Debian mirrors that this machine's apt is set to use, so that a company's mirror is used here too."""
    found: list[str] = []
    for path in [etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*"))]:
        try:
            text = path.read_text(errors="replace")
        except OSError:
            continue
        if path.suffix == ".sources":
            found += _mirrors_of_stanzas(text)
        elif path.suffix == ".list":
            found += _mirrors_of_lines(text)
    return list(dict.fromkeys(uri.rstrip("/") for uri in found))


_DEBIAN_SUITES = {"bullseye", "bookworm", SUITE, "forky", "duke", "sid", "stable", "oldstable", "testing", "unstable"}
_SCHEMES = ("http://", "https://", "mirror+")


def _mirrors_of_stanzas(text: str) -> Iterator[str]:
    for stanza in re.split(r"\n\s*\n", text):
        lines = [line for line in stanza.splitlines() if not line.startswith("#")]
        fields = {
            key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines) if value
        }
        if fields.get("enabled", "yes").lower() == "no" or not _signed_by_debian(fields.get("signed-by", "")):
            continue
        if _DEBIAN_SUITES & set(fields.get("suites", "").split()) and "main" in fields.get("components", "").split():
            yield from (uri for uri in fields.get("uris", "").split() if uri.startswith(_SCHEMES))


def _mirrors_of_lines(text: str) -> Iterator[str]:
    pattern = re.compile(r"^deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<parts>.+)$")
    for line in text.splitlines():
        match = pattern.match(line.strip())
        if match is None or match["suite"] not in _DEBIAN_SUITES or "main" not in match["parts"].split():
            continue
        signed_by = re.search(r"signed-by=(\S+)", match["options"] or "")
        if match["uri"].startswith(_SCHEMES) and _signed_by_debian(signed_by.group(1) if signed_by else ""):
            yield match["uri"]


def _signed_by_debian(signed_by: str) -> bool:
    return not signed_by or "debian-archive" in signed_by


def _find_keyring(work: Path) -> Path:
    """The keys that Debian signs with: this machine's, else from its own archive's package (Ubuntu carries one)."""
    for name in _KEYRINGS:
        path = Path("/usr/share/keyrings") / name
        if path.is_file():
            return path
    folder = work / "keyring"
    folder.mkdir()
    try:
        run_quietly(["apt-get", "-q", "download", "debian-archive-keyring"], cwd=folder)
        for package in folder.glob("*.deb"):
            run_quietly(["dpkg-deb", "-x", str(package), str(folder)])
    except StackError as exc:
        raise StackError(
            "The keys of the Debian archive are not on this machine: run `sudo apt-get install debian-archive-keyring`,"
            f" {OTHER_WAYS} ({exc})"
        ) from exc
    for name in _KEYRINGS:
        path = folder / "usr/share/keyrings" / name
        if path.is_file():
            return path
    raise StackError("The package debian-archive-keyring holds no keyring that is known here")


def run_quietly(command: list[str], cwd: Path | None = None) -> None:
    """Run a command to its end; raises StackError with its own words if it fails."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=FETCH_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise StackError(f"`{command[0]}` could not be run: {exc}") from exc
    if done.returncode != 0:
        raise StackError(_failure(command, done.stderr or done.stdout))


def _run_watched(command: list[str], archives: Path, progress: Progress, order: Order) -> None:
    """Run apt-get's download and say every two seconds how much has arrived."""
    with (archives.parent / "output").open("w+") as output:
        process = subprocess.Popen(
            command, env={**os.environ, "LC_ALL": "C"}, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            deadline = time.monotonic() + FETCH_SECONDS
            while True:
                try:
                    process.wait(timeout=2)
                    break
                except subprocess.TimeoutExpired:
                    progress(f"Fetching {order.name}: {_megabytes(archives)} of {order.megabytes} MB")
                if time.monotonic() > deadline:
                    raise StackError(f"the download took longer than {FETCH_SECONDS // 60} minutes")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        output.seek(0)
        if process.returncode != 0:
            raise StackError(_failure(command, output.read()))


def _megabytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:
            continue  # apt renames a file as soon as it is complete
    return total // 1_000_000


def _failure(command: list[str], output: str) -> str:
    lines = [line for line in output.splitlines() if line.startswith(("E:", "W:", "Err:"))] or output.splitlines()
    return f"`{command[0]}` failed: {' '.join(lines[-3:]) or 'without a word'}"
