"""Where file systems lie: tables of partitions, logical volumes over disks, and what cannot be browsed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import images
from tests.support.browsing import browsing, everything
from vmtui.files.entries import Place

MIB = images.MIB


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small ext4."""
    images.ext4(tmp_path / "root", images.write_tree(tmp_path / "tree", {"a": b"a"}), 4 * MIB, "-L", "sys")
    return tmp_path / "root"


def test_logical_partitions_are_numbered_as_linux_does(root: Path, tmp_path: Path) -> None:
    disk = images.blank(tmp_path / "vda", 40 * MIB)
    table = "label: dos\nstart=2048,size=8192,type=83\nstart=16384,size=60000,type=5\nstart=18432,size=8192\nstart=30720,size=8192\n"
    images.run("sfdisk", "-q", disk, stdin=table)
    with disk.open("r+b") as file:
        for sector in (2048, 18432, 30720):
            file.seek(sector * 512)
            file.write(root.read_bytes())
    with browsing(tmp_path / "r", disk) as browser:
        assert [(item.name, item.kind, item.label) for item in browser.volumes] == [
            ("vda1", "ext4", "sys"),
            ("vda5", "ext4", "sys"),
            ("vda6", "ext4", "sys"),
        ]


def test_the_copy_of_a_damaged_gpt_is_used(root: Path, tmp_path: Path) -> None:
    disk = images.disk(tmp_path / "vda", "gpt", [root])
    with disk.open("r+b") as file:
        file.seek(1024)
        file.write(b"\xff" * 64)
    with browsing(tmp_path / "r", disk) as browser:
        assert [item.name for item in browser.volumes if not item.reason] == ["vda1"]
        assert everything(browser, "vda1")[0].keys() == {"/vda1/a", "/vda1/lost+found"}
    with disk.open("r+b") as file:
        file.seek(-512, 2)
        file.write(bytes(512))
    with browsing(tmp_path / "again", disk) as browser:
        (volume,) = browser.volumes
        assert "damaged" in volume.reason


def test_a_group_of_which_a_disk_is_missing_says_so(root: Path, tmp_path: Path) -> None:
    disks = [images.blank(tmp_path / name, 5 * MIB) for name in ("vda", "vdb")]
    whole = tmp_path / "whole"
    images.ext4(whole, tmp_path / "tree", 3 * MIB)
    images.volume_group("vg-1", disks, {"root": root, "whole": whole})
    with browsing(tmp_path / "both", *disks) as browser:
        assert {item.name: item.reason for item in browser.volumes} == {"vg--1-root": "", "vg--1-whole": ""}
        assert {entry.name for entry in browser.folder(Place("vg--1-root"))} == {"a", "lost+found"}
    with browsing(tmp_path / "one", disks[0]) as browser:
        reasons = {item.name: item.reason for item in browser.volumes}
        assert reasons["vg--1-root"] == ""
        assert "pv1 of the group are not in the point" in reasons["vg--1-whole"]


@pytest.mark.parametrize(
    ("offset", "magic", "word"),
    [
        (0, b"LUKS\xba\xbe", "LUKS"),
        (4086, b"SWAPSPACE2", "swap"),
        (0, b"", "zeroes"),
        (9, b"?", "known"),
        (3, b"-FVE-FS-", "BitLocker"),
    ],
)
def test_what_cannot_be_browsed_is_listed_with_the_reason(offset: int, magic: bytes, word: str, tmp_path: Path) -> None:
    data = bytearray(MIB)
    data[offset : offset + len(magic)] = magic
    (tmp_path / "vda").write_bytes(data)
    with browsing(tmp_path / "r", tmp_path / "vda") as browser:
        (volume,) = browser.volumes
        assert volume.name == "vda"
        assert word in volume.reason


def test_a_disk_of_no_bytes_and_a_point_of_no_disks(tmp_path: Path) -> None:
    (tmp_path / "vda").write_bytes(b"")
    with browsing(tmp_path / "r", tmp_path / "vda") as browser:
        assert [item.kind for item in browser.volumes] == ["empty"]
    with browsing(tmp_path / "none") as browser:
        assert browser.volumes == []
