"""The spool's files: what was appended is found again, whatever happened to the disk meanwhile."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.errors import StorageError, StorageFull
from storage import spool as module
from storage.spool import Spool, read_last, read_position


def opened(folder: Path, segment_bytes: int = 16 * 1024 * 1024) -> Spool:
    spool = Spool.open(folder, segment_bytes)
    assert spool is not None
    return spool


def left(folder: Path) -> list[tuple[int, bytes]]:
    """Return what the next process finds, and close again."""
    spool = opened(folder)
    found = [(place.sequence, payload) for place, payload in spool.recover()]
    spool.close()
    return found


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.segment"))


def test_what_is_appended_is_found_again_in_order_until_it_is_released(tmp_path: Path) -> None:
    spool = opened(tmp_path, segment_bytes=100)
    places = spool.append([b"a" * 60, b"b" * 60]) + spool.append([b"c"]) + spool.append([b""], at_least=50)
    assert [place.sequence for place in places] == [1, 2, 3, 50]
    assert [spool.read(place) for place in places] == [b"a" * 60, b"b" * 60, b"c", b""]
    assert len(segments(tmp_path)) == 2
    spool.release(2)
    assert len(segments(tmp_path)) == 1
    assert (read_position(tmp_path), read_last(tmp_path)) == (2, 50)
    spool.close()
    assert left(tmp_path) == [(3, b"c"), (50, b"")]
    spool = opened(tmp_path)
    list(spool.recover())
    spool.release(50)
    assert spool.append([b"d"])[0].sequence == 51
    spool.close()
    assert left(tmp_path) == [(51, b"d")]


def test_only_one_process_holds_a_spool(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    assert Spool.open(tmp_path) is None
    spool.close()
    opened(tmp_path).close()


@pytest.mark.parametrize("cut", [1, 5, 19, 20, 21, 30])
def test_an_unfinished_last_frame_is_cut_off_and_reported(tmp_path: Path, cut: int) -> None:
    spool = opened(tmp_path)
    spool.append([b"whole"])
    end = segments(tmp_path)[0].stat().st_size
    spool.append([b"torn" * 10])
    spool.close()
    os.truncate(segments(tmp_path)[0], end + cut)
    spool = opened(tmp_path)
    assert [payload for _, payload in spool.recover()] == [b"whole"]
    assert [(damage.length, damage.torn) for damage in spool.damages] == [(cut, True)]
    assert not (tmp_path / "damaged").exists()
    assert spool.append([b"next"])[0].sequence == 2
    spool.close()
    assert left(tmp_path) == [(1, b"whole"), (2, b"next")]


@pytest.mark.parametrize("offset", [0, 6, 9, 17, 30])
def test_a_damaged_frame_is_kept_aside_and_the_rest_is_found(tmp_path: Path, offset: int) -> None:
    spool = opened(tmp_path)
    spool.append([b"first"])
    start = segments(tmp_path)[0].stat().st_size
    spool.append([b"second " * 10, b"third"])
    spool.close()
    content = bytearray(segments(tmp_path)[0].read_bytes())
    content[start + offset] ^= 0xFF
    segments(tmp_path)[0].write_bytes(content)
    spool = opened(tmp_path)
    assert [payload for _, payload in spool.recover()] == [b"first", b"third"]
    assert [(damage.offset, damage.length, damage.torn) for damage in spool.damages] == [(start, 90, False)]
    spool.close()
    kept = list((tmp_path / "damaged").iterdir())
    assert [path.read_bytes() for path in kept] == [bytes(content[start : start + 90])]


def test_a_frame_that_changed_on_the_disk_is_not_read(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    place = spool.append([b"payload"])[0]
    content = bytearray(place.segment.read_bytes())
    content[place.offset] ^= 1
    place.segment.write_bytes(content)
    with pytest.raises(StorageError, match="is damaged at"):
        spool.read(place)
    assert spool.read_raw(place) == bytes(content[place.offset :])
    spool.close()


@pytest.mark.parametrize("failing", ["write", "sync"])
def test_what_could_not_be_written_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    spool = opened(tmp_path)
    spool.append([b"before"])
    write = os.write

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def half_then_full(file: int, content: bytes) -> int:
        return write(file, content[:7]) if len(content) > 40 else full()

    with monkeypatch.context() as patch:
        if failing == "write":
            patch.setattr(os, "write", half_then_full)
        else:
            patch.setattr(module, "_sync", full)
        with pytest.raises(StorageFull, match="no room left"):
            spool.append([b"lost" * 10])
    assert spool.append([b"after"])[0].sequence > 1
    assert spool.damages == []
    spool.close()
    assert [payload for _, payload in left(tmp_path)] == [b"before", b"after"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_costs_the_frames_it_hits_and_no_other(tmp_path: Path, data: st.DataObject) -> None:
    """Frames that hold the magic of frames, and bytes that were overwritten anywhere."""
    folder = tmp_path / str(len(list(tmp_path.iterdir())))
    payloads = data.draw(st.lists(st.binary(max_size=60) | st.just(b"CGf1" * 8), min_size=1, max_size=8))
    spool = opened(folder)
    places = spool.append(payloads)
    spool.close()
    path = segments(folder)[0]
    content = bytearray(path.read_bytes())
    hits = data.draw(st.lists(st.integers(0, len(content) - 1), max_size=3, unique=True))
    for hit in hits:
        content[hit] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    whole = [
        payload
        for place, payload in zip(places, payloads, strict=True)
        if not any(place.offset - 20 <= hit < place.offset + place.length for hit in hits)
    ]
    assert [payload for _, payload in left(folder)] == whole
