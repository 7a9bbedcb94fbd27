"""Finding and fetching MariaDB."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.errors import StackError
from storage import debian_archive, provision

SOURCES = """Types: deb
# a comment
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb
URIs: http://vendor.example/debian
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/vendor.gpg
"""
LIST = """# deb http://comment.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/vendor.gpg] https://vendor.example/linux/debian bookworm main
deb https://plain.example/debian bookworm main contrib
deb cdrom:[Debian]/ bookworm main
deb-src https://source.example/debian bookworm main
"""


def test_mirrors_come_from_apt(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "debian.sources").write_text(SOURCES)
    (tmp_path / "sources.list.d" / "old.list").write_text(LIST)
    (tmp_path / "sources.list").write_text("deb http://mirror.example/debian trixie main\n")
    assert debian_archive.debian_mirrors(tmp_path) == ["http://mirror.example/debian", "https://plain.example/debian"]


def test_no_apt_is_no_mirror(tmp_path: Path) -> None:
    assert debian_archive.debian_mirrors(tmp_path) == []


def test_cache_falls_back_to_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAUSEGRAPH_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    monkeypatch.setenv("HOME", "/proc/nowhere")
    assert provision.cache_folder(tmp_path) == tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert provision.cache_folder(tmp_path) == tmp_path / "xdg" / "causegraph"
    monkeypatch.setenv("CAUSEGRAPH_CACHE_DIR", str(tmp_path / "chosen"))
    assert provision.cache_folder(tmp_path) == tmp_path / "chosen"


def test_old_mariadb_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "mariadbd"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'mariadbd  Ver 10.11.6-MariaDB for Linux on x86_64'\n")
    program.chmod(0o755)
    share = tmp_path / "share" / "mariadb"
    share.mkdir(parents=True)
    (share / "mariadb_system_tables.sql").touch()
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    assert provision.find_installed() is None
    program.write_text("#!/bin/sh\necho 'mariadbd  Ver 12.0.2-MariaDB for Linux on x86_64'\n")
    found = provision.find_installed()
    assert found is not None
    assert (found.version, found.share, found.command) == ("12.0.2", share, (str(program),))


def test_without_apt_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(provision, "_MORE_PLACES", ())
    with pytest.raises(
        StackError, match=r"install the package `mariadb-server` 11\.7.*CAUSEGRAPH_DATABASE_URL.*compose"
    ):
        provision.provide_mariadb(tmp_path, lambda line: None)


def test_failed_download_leaves_nothing_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not provision.can_fetch():
        pytest.skip("needs apt")
    monkeypatch.setenv("CAUSEGRAPH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(debian_archive, "DEFAULT_MIRROR", f"file:{tmp_path}/no-archive")
    monkeypatch.setattr(debian_archive, "debian_mirrors", lambda etc: [])
    monkeypatch.setattr(provision, "find_installed", lambda: None)
    with pytest.raises(StackError, match="could not be fetched from the Debian archive") as caught:
        provision.provide_mariadb(tmp_path, lambda line: None)
    assert "no-archive" in str(caught.value)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]
