"""A full disk: points are deleted and garbage is collected with what was set aside for that."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.repositories import START, backup, create, noise, read_disk
from tests.support.small import MIB, small_file_system
from vmtui.model.errors import FailedError
from vmtui.model.ids import JobId
from vmtui.model.progress import SilentWatch
from vmtui.repository.collect import collect


def fill(path: Path) -> None:
    """Write until nothing fits any more."""
    with path.open("wb") as file:
        while True:
            os.write(file.fileno(), bytes(4096))


def test_a_full_disk_is_emptied_with_what_was_set_aside(tmp_path: Path) -> None:
    with small_file_system(tmp_path / "small", 24 * MIB) as folder:
        repository = create(folder / "r", cache=tmp_path / "cache")
        first = backup(repository, noise(1, 1200), 0)
        second = backup(repository, noise(2, 1200), 1)
        with pytest.raises(OSError, match="No space"):
            fill(folder / "filler")
        with pytest.raises(FailedError) as caught:
            repository.points.hold(second, "no room for a word", START)
        assert caught.value.id == "REPO-FULL"
        with repository.store.making_room():
            repository.points.delete(first, START)
        result = collect(repository, JobId("01kdye0yr800run1"), SilentWatch(), lambda: START)
        assert result.deleted_bytes > 1200 * 4096
        repository.points.hold(second, "there is room again", START)
        assert (folder / "r" / "repository" / "reserve").stat().st_size > 0
        assert read_disk(repository, repository.points.load(second).disks[0].root, 1200 * 4096) == noise(2, 1200)
