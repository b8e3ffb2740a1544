"""10,000 small files on each kind of file system: listed, found, taken out, and the same bytes as before."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support import images
from tests.support.browsing import browsing, everything, taken_into
from vmtui.files import Browser
from vmtui.files.entries import Place
from vmtui.files.walk import Problem, find
from vmtui.model.progress import SilentWatch

FILES = images.tree(10_000)
KINDS = {
    "ext4": (images.ext4_disk, "vda2"),
    "xfs": (images.lvm_xfs_disks, "vg0-data"),
    "btrfs": (images.btrfs_disk, "vda"),
    "ntfs": (images.ntfs_disk, "vda1"),
    "fat32": (images.fat_disk, "vda"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand_files_come_out_as_they_were(kind: str, tmp_path: Path) -> None:
    make, volume = KINDS[kind]
    with browsing(tmp_path / "r", *make(tmp_path, FILES)) as browser:
        assert {item.name: item.kind for item in browser.volumes if not item.reason} == {volume: kind}

        found, problems = everything(browser, volume, brief=True)
        assert not problems
        assert {path for path, what in found.items() if what == "file"} == {f"/{volume}/{path}" for path in FILES}
        assert _found(browser, volume, "*99.txt") == {path for path in FILES if path.endswith("99.txt")}

        taken = taken_into(browser, tmp_path / "out", f"/{volume}")
        assert (taken.files, taken.problems, taken.left_out) == (len(FILES), [], [])
        assert _hashes(tmp_path / "out" / volume) == _expected(FILES)


def _found(browser: Browser, volume: str, pattern: str) -> set[str]:
    problems: list[Problem] = []
    found = find(browser, Place(volume), pattern, SilentWatch(), problems.append)
    paths = {"/".join(place.path) for place, _ in found}
    assert not problems
    return paths


def _hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _expected(files: Mapping[str, bytes]) -> dict[str, str]:
    return {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
