"""Whoever looks into an XFS is told when its last changes are in its log alone. The volumes were made by Linux."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from vmtui.files.helper.xfs import Xfs
from vmtui.files.helper.xfs_log import unreplayed

BLOCK = 512
RECORD = b"\xfe\xed\xba\xbe\0\0\0\1"
"""Begin of a record of the first turn."""
HEADERS = 8
"""Blocks of a record's header, as the volume was mounted with logbsize=256k."""
DATA = HEADERS * BLOCK


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return images.unpacked("xfs-frozen", tmp_path_factory.mktemp("xfs") / "frozen")


Look = Callable[[], bool]


@pytest.fixture
def log(frozen: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[bytearray, Look]]:
    """The begin of the frozen volume's log, which may be changed, and what is then said of it."""
    seen: list[tuple[Any, int]] = []

    def noted(_file: Any, superblock: Any, start: int) -> bool:
        seen.append((superblock, start))
        return False

    monkeypatch.setattr("vmtui.files.helper.xfs.unreplayed", noted)
    with frozen.open("rb") as file:
        Xfs(file)  # type: ignore[arg-type]
        ((superblock, start),) = seen
        file.seek(start)
        content = bytearray(file.read(256 * BLOCK))
        patched: Any = Patched(file, start, content)
        yield content, lambda: unreplayed(patched, superblock, start)


class Patched:
    """A file with a part replaced."""

    def __init__(self, file: Any, start: int, content: bytearray) -> None:
        self._file = file
        self._start = start
        self._content = content

    def seek(self, position: int) -> None:
        self._position = position

    def read(self, size: int) -> bytes:
        self._file.seek(self._position)
        data = bytearray(self._file.read(size))
        for place in range(size):
            inside = self._position + place - self._start
            if 0 <= inside < len(self._content):
                data[place] = self._content[inside]
        return bytes(data)


def note(path: Path) -> str:
    with path.open("rb") as file:
        return Xfs(file).note  # type: ignore[arg-type]


def test_a_frozen_volume_is_complete(frozen: Path) -> None:
    assert note(frozen) == ""


def test_changes_that_are_in_the_log_alone_are_told(tmp_path: Path) -> None:
    assert "log was not empty" in note(images.unpacked("xfs-dirty", tmp_path / "dirty"))


def test_a_new_volume_is_complete(tmp_path: Path) -> None:
    images.xfs(tmp_path / "new", images.write_tree(tmp_path / "tree", {"a": b"a"}), 310 * images.MIB)
    assert note(tmp_path / "new") == ""


def records(log: bytearray) -> list[int]:
    """Where the last two records begin: the superblock is in the first or in both."""
    return [place for place in range(0, len(log), BLOCK) if log[place : place + 8] == RECORD][-2:]


@pytest.mark.parametrize(
    ("place", "what"),
    [
        (0, "magic"),
        (7, "cycle"),
        (12, "length"),
        (23, "its own place"),
        (40, "number of operations"),
        (321, "size of the buffer"),
        (DATA + 5, "length of the first operation"),
        (DATA + 52, "kind of the item"),
        (DATA + 54, "number of its regions"),
        (DATA + 60, "block of the buffer"),
    ],
)
def test_records_that_make_no_sense_are_not_taken_for_an_empty_log(
    log: tuple[bytearray, Look], place: int, what: str
) -> None:
    content, look = log
    assert look() is False
    found = records(content)
    assert found
    for record in found:
        content[record + place] ^= 0x41
    assert look() is True, what


def test_a_log_of_noise_is_not_empty(log: tuple[bytearray, Look]) -> None:
    content, look = log
    content[:] = bytes(range(256)) * (len(content) // 256)
    assert look() is True
