"""What parsers get wrong most easily: holes, space that was never written, hard links, times, chains, blocks of pointers."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import pytest
from dissect.ntfs.ntfs import NTFS

from tests.support import images, ntfs
from tests.support.browsing import browsing, taken_into
from vmtui.files.entries import Kind, Place

MIB = images.MIB


@pytest.mark.parametrize("options", [("-t", "ext4"), ("-t", "ext3"), ("-t", "ext2"), ("-t", "ext4", "-b", "1024")])
def test_ext_holes_everywhere(options: tuple[str, ...], tmp_path: Path) -> None:
    """Holes at the beginning, in the middle, at the end, and where whole blocks of pointers are missing."""
    tree = tmp_path / "tree"
    tree.mkdir()
    source = random.Random(7)
    for number in range(6):
        with (tree / f"sparse{number}").open("wb") as file:
            for _ in range(source.randint(0, 12)):
                file.seek(source.randrange(60 * MIB))
                file.write(source.randbytes(source.randint(1, 9000)))
            file.truncate(source.randrange(60 * MIB, 70 * MIB))
    images.run("mke2fs", "-q", "-F", *options, "-d", tree, images.blank(tmp_path / "vda", 64 * MIB))
    with browsing(tmp_path / "r", tmp_path / "vda") as browser:
        taken = taken_into(browser, tmp_path / "out", "/vda")
    assert not taken.problems
    for path in tree.iterdir():
        other = tmp_path / "out" / "vda" / path.name
        assert other.read_bytes() == path.read_bytes(), path.name
        assert other.stat().st_blocks * 512 < 4 * MIB


def test_space_that_was_never_written_is_zero(tmp_path: Path) -> None:
    """Preallocated blocks hold what lay there before; no guest sees it, and neither may we."""
    tree = images.write_tree(tmp_path / "tree", {"a": b"a"})
    images.xfs(tmp_path / "vda", tree, 310 * MIB, "reserved r--644 0 0 2m")
    with browsing(tmp_path / "before", tmp_path / "vda") as browser:
        inode = browser.look(Place.parse("/vda/reserved"), follow=False)[1].inode
    images.run("xfs_db", "-x", "-c", f"inode {inode}", "-c", f"write core.size {2 * MIB}", tmp_path / "vda")
    images.run(
        "mke2fs",
        "-q",
        "-F",
        "-t",
        "ext4",
        "-E",
        "nodiscard",
        "-d",
        tree,
        images.blank(tmp_path / "vdb", 16 * MIB, junk=True),
    )
    images.run(
        "debugfs",
        "-w",
        "-f",
        "-",
        tmp_path / "vdb",
        stdin="write /dev/null reserved\nfallocate reserved 0 511\nset_inode_field reserved size 2097152\n",
    )
    with browsing(tmp_path / "r", tmp_path / "vda", tmp_path / "vdb") as browser:
        for volume in ("vda", "vdb"):
            place, entry = browser.look(Place.parse(f"/{volume}/reserved"), follow=False)
            assert entry.size == 2 * MIB
            parts = list(browser.contents(place))
            assert sum(len(part.data) or part.hole for part in parts) == entry.size
            assert not any(any(part.data) for part in parts)


def test_modes_times_links_and_hard_links_come_out(tmp_path: Path) -> None:
    tree = images.write_tree(tmp_path / "tree", {"one": b"same", "folder/x": b"x"})
    os.link(tree / "one", tree / "folder" / "two")
    (tree / "link").symlink_to("../elsewhere/$HOME")
    (tree / "one").chmod(0o640)
    (tree / "folder").chmod(0o551)
    os.utime(tree / "one", ns=(10**18, 1_234_567_890_123_456_789))
    os.utime(tree / "folder", ns=(10**18, 1_111_111_111_000_000_000))
    images.ext4(tmp_path / "vda", tree, 16 * MIB, "-I", "256")
    (tree / "folder").chmod(0o755)
    with browsing(tmp_path / "r", tmp_path / "vda") as browser:
        taken = taken_into(browser, tmp_path / "out", "/vda")
    assert not taken.problems
    out = tmp_path / "out" / "vda"
    assert str((out / "link").readlink()) == "../elsewhere/$HOME"
    assert (out / "one").stat().st_ino == (out / "folder" / "two").stat().st_ino
    assert (out / "one").stat().st_mode & 0o7777 == 0o640
    assert (out / "one").stat().st_mtime == pytest.approx(1_234_567_890, abs=1)
    assert (out / "folder").stat().st_mode & 0o7777 == 0o551
    assert (out / "folder").stat().st_mtime == 1_111_111_111


def test_owners_are_those_of_the_guest(tmp_path: Path) -> None:
    images.ext4(tmp_path / "vda", images.write_tree(tmp_path / "tree", {"a": b"a"}), 16 * MIB)
    images.run("debugfs", "-w", "-R", "set_inode_field a uid 70001", tmp_path / "vda")
    images.run("debugfs", "-w", "-R", "set_inode_field a gid 65537", tmp_path / "vda")
    with browsing(tmp_path / "r", tmp_path / "vda") as browser:
        entry = browser.look(Place.parse("/vda/a"), follow=False)[1]
        assert (entry.uid, entry.gid) == (70001, 65537)
        taken_into(browser, tmp_path / "out", "/vda/a")
    found = (tmp_path / "out" / "a").stat()
    assert (found.st_uid, found.st_gid) == ((70001, 65537) if os.geteuid() == 0 else (os.geteuid(), os.getegid()))


def test_fat_keeps_small_letters_and_scattered_chains(tmp_path: Path) -> None:
    """Short names in small letters, and files whose clusters lie backwards on the disk."""
    source = random.Random(3)
    image = images.blank(tmp_path / "vda", 40 * MIB)
    images.run("mkfs.fat", "-F", "32", "-s", "1", image)
    pieces = images.write_tree(
        tmp_path / "tree", {f"fill{number}": source.randbytes(512 * source.randint(1, 4)) for number in range(300)}
    )
    images.run("mcopy", "-i", image, "-Q", *sorted(pieces.iterdir()), "::", MTOOLS_SKIP_CHECK="1")
    for number in range(299, -1, -2):
        images.run("mdel", "-i", image, f"::fill{number}", MTOOLS_SKIP_CHECK="1") if number % 10 == 1 else None
    big = {"readme.txt": source.randbytes(30_000), "MixedCase.Text": source.randbytes(20_000), "UPPER.TXT": b"up"}
    more = images.write_tree(tmp_path / "more", big)
    images.run("mcopy", "-i", image, "-Q", *sorted(more.iterdir()), "::", MTOOLS_SKIP_CHECK="1")
    with browsing(tmp_path / "r", image) as browser:
        names = {entry.name for entry in browser.folder(Place("vda"))}
        assert set(big) <= names
        assert browser.look(Place.parse("/vda/README.TXT"), follow=False)[1].size == 30_000
        taken_into(browser, tmp_path / "out", *(f"/vda/{name}" for name in big), "/vda/fill0")
    for name, content in big.items():
        assert (tmp_path / "out" / name).read_bytes() == content
    assert (tmp_path / "out" / "fill0").read_bytes() == (pieces / "fill0").read_bytes()


def test_ntfs_files_of_all_lengths_and_names(tmp_path: Path) -> None:
    source = random.Random(5)
    files = {f"Größe {size}": source.randbytes(size) for size in (0, 1, 500, 700, 1024, 65_536, 3_000_001)}
    files["Ordner/Ähnlich ✓.txt"] = b"x"
    images.ntfs_of(tmp_path / "vda", files, 24 * MIB)
    with browsing(tmp_path / "r", tmp_path / "vda") as browser:
        assert browser.look(Place.parse("/vda/ORDNER/ähnlich ✓.TXT"), follow=False)[1].kind is Kind.FILE
        taken = taken_into(browser, tmp_path / "out", "/vda")
    assert not taken.problems
    for name, content in files.items():
        assert (tmp_path / "out" / "vda" / name).read_bytes() == content, name


def test_a_deleted_name_of_ntfs_does_not_come_back(tmp_path: Path) -> None:
    files = {f"file-with-a-long-name-{number:04}": b"x" for number in range(800)}
    images.ntfs_of(tmp_path / "vda", files, 16 * MIB)
    gone = sorted(files)[50:750]
    ntfs.delete(tmp_path / "vda", gone)
    with browsing(tmp_path / "r", tmp_path / "vda") as browser:
        assert {entry.name for entry in browser.folder(Place("vda"))} == set(files) - set(gone)


OPEN, CLOSED = 0, 2
IN_USE, NOBODY = 0, 0xFFFF


@pytest.mark.parametrize(
    ("pages", "dirty"),
    [
        ([], False),
        ([(5, IN_USE, OPEN)], True),
        ([(5, IN_USE, CLOSED)], False),
        ([(5, NOBODY, OPEN)], False),
        ([(5, IN_USE, CLOSED), (6, IN_USE, OPEN)], True),
        ([(7, IN_USE, CLOSED), (6, IN_USE, OPEN)], False),
    ],
)
def test_ntfs_says_so_when_its_log_was_not_closed(
    pages: list[tuple[int, int, int]], dirty: bool, tmp_path: Path
) -> None:
    """(LSN, first client in use, flags) of the pages at the begin of $LogFile."""
    image = tmp_path / "vda"
    images.ntfs_of(image, {"a": b"a"}, 16 * MIB)
    with image.open("rb") as file:
        log = NTFS(file).mft.get(2).dataruns()[0][0] * NTFS(file).cluster_size
    with image.open("r+b") as file:
        for number, (lsn, client, flags) in enumerate(pages):
            file.seek(log + number * 4096)
            file.write(b"RSTR".ljust(24, b"\0") + struct.pack("<H", 48).ljust(24, b"\0"))
            file.write(struct.pack("<QHHHH", lsn, 1, NOBODY, client, flags))
    with browsing(tmp_path / "r", image) as browser:
        assert browser.volumes[0].reason == ""
        assert ("log was not closed" in browser.volumes[0].note) == dirty


def test_btrfs_sparse(tmp_path: Path) -> None:
    tree = images.write_tree(tmp_path / "tree", {"plain/a": b"a" * 100_000, "big": b"0123456789" * 100_000})
    with (tree / "sparse").open("wb") as file:
        file.seek(5 * MIB)
        file.write(b"end")
    images.btrfs(tmp_path / "vda", tree, 128 * MIB)
    with browsing(tmp_path / "r", tmp_path / "vda") as browser:
        taken = taken_into(browser, tmp_path / "out", "/vda")
    assert not taken.problems
    for path in ("plain/a", "big", "sparse"):
        assert (tmp_path / "out" / "vda" / path).read_bytes() == (tree / path).read_bytes()


# -- volumes that a kernel made ------------------------------------------------------------------


def test_btrfs_subvolumes_are_folders_and_their_places_in_snapshots_are_empty(tmp_path: Path) -> None:
    """As Linux shows it. A system with snapshots has such places everywhere, also of subvolumes that are long gone."""
    images.unpacked("btrfs-snapshots", tmp_path / "vda")
    with browsing(tmp_path / "r", tmp_path / "vda") as browser:
        taken = taken_into(browser, tmp_path / "out", "/vda")
        assert browser.folder(Place.parse("/vda/snapshot/gone")) == []
    assert not taken.problems
    top = tmp_path / "out" / "vda"
    found = {str(path.relative_to(top)): path.read_text() if path.is_file() else None for path in top.rglob("*")}
    numbers = "".join(f"{number}\n" for number in range(1, 40001))
    assert found == {
        "numbers": numbers,
        "numbers-zlib": numbers,
        "numbers-lzo": numbers,
        "folder": None,
        "folder/home": None,
        "folder/home/a": "outer\n",
        "folder/home/c": "later\n",
        "folder/home/inner": None,
        "folder/home/inner/b": "inner\n",
        "snapshot": None,
        "snapshot/a": "outer\n",
        "snapshot/gone": None,
        "snapshot/inner": None,
    }
