"""Disk images with file systems, made without root or mounts."""

from __future__ import annotations

import os
import random
import struct
import subprocess
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import zstandard

from tests.support import ntfs

SECTOR = 512
MIB = 1 << 20


def tree(count: int, seed: int = 1) -> dict[str, bytes]:
    """Many small files: bytes by path, the same for the same seed."""
    source = random.Random(seed)
    return {
        f"d{number // 250:03}/file-{number:05}.txt": source.randbytes(source.randint(100, 6000))
        for number in range(count)
    }


def write_tree(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Write files into a folder."""
    for path, content in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return folder


def run(*argv: str | Path, stdin: str = "", **environment: str) -> None:
    """Run a tool that must succeed."""
    answer = subprocess.run(
        [str(item) for item in argv],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", **environment},
    )
    assert answer.returncode == 0, f"{argv}: {answer.stdout}{answer.stderr}"


def blank(path: Path, size: int, *, junk: bool = False) -> Path:
    """A new image: zeroes, or bytes that no file may ever show."""
    with path.open("wb") as file:
        if junk:
            for _ in range(size // MIB):
                file.write(b"\xaajunk!!!" * (MIB // 8))
        file.truncate(size)
    return path


# -- file systems --------------------------------------------------------------------------------


def unpacked(name: str, path: Path) -> Path:
    """A volume of tests/fixtures/volumes; its zeroes are holes."""
    packed = Path(__file__).parent.parent / "fixtures" / "volumes" / f"{name}.zst"
    with packed.open("rb") as source, path.open("wb") as target:
        for piece in zstandard.ZstdDecompressor().read_to_iter(source, write_size=MIB):
            if any(piece):
                target.write(piece)
            else:
                target.seek(len(piece), os.SEEK_CUR)
        target.truncate()
    return path


def ext4(path: Path, folder: Path, size: int, *options: str) -> None:
    """ext4 with what is in a folder."""
    run("mke2fs", "-q", "-F", "-t", "ext4", *options, "-d", folder, blank(path, size))


def xfs(path: Path, folder: Path, size: int, *extra: str) -> None:
    """XFS with what is in a folder, and further lines of the prototype."""
    proto = path.with_suffix(".proto")
    lines = ["/", "0 0", "d--755 0 0"]
    _proto(folder, lines)
    proto.write_text("\n".join([*lines, *extra, "$", "$"]) + "\n", encoding="utf-8")
    blank(path, size, junk=bool(extra))
    run("mkfs.xfs", "-q", "-f", "-K", "-p", proto, path)


def _proto(folder: Path, lines: list[str]) -> None:
    for item in sorted(folder.iterdir()):
        name = item.name
        if item.is_symlink():
            lines.append(f"{name} l--777 0 0 {item.readlink()}")
        elif item.is_dir():
            lines.append(f"{name} d--755 1000 1000")
            _proto(item, lines)
            lines.append("$")
        else:
            lines.append(f"{name} ---640 1000 1000 {item}")


def btrfs(path: Path, folder: Path, size: int) -> None:
    """btrfs with what is in a folder."""
    run("mkfs.btrfs", "-q", "--rootdir", folder, blank(path, size))


def fat(path: Path, folder: Path, size: int) -> None:
    """FAT32 with what is in a folder."""
    run("mkfs.fat", "-F", "32", blank(path, size))
    run("mcopy", "-i", path, "-s", "-Q", *sorted(folder.iterdir()), "::", MTOOLS_SKIP_CHECK="1")


def ntfs_of(path: Path, files: Mapping[str, bytes], size: int) -> None:
    """NTFS with these files."""
    run("mkntfs", "-q", "-Q", "-F", "-s", "512", "-p", "0", "-H", "255", "-S", "63", blank(path, size))
    ntfs.fill(path, files)


# -- disks ---------------------------------------------------------------------------------------


def disk(path: Path, label: str, parts: Sequence[Path]) -> Path:
    """A disk with a partition for each image."""
    sizes = [-(-part.stat().st_size // MIB) for part in parts]
    blank(path, (sum(sizes) + 2) * MIB)
    starts = [1 + sum(sizes[:number]) for number in range(len(parts))]
    lines = [
        f"start={start * MIB // SECTOR}, size={size * MIB // SECTOR}" for start, size in zip(starts, sizes, strict=True)
    ]
    run("sfdisk", "-q", path, stdin="\n".join([f"label: {label}", *lines]) + "\n")
    with path.open("r+b") as file:
        for start, part in zip(starts, parts, strict=True):
            file.seek(start * MIB)
            file.write(part.read_bytes())
    return path


def volume_group(name: str, disks: Sequence[Path], volumes: Mapping[str, Path], *, turn: int = 0) -> None:
    """LVM over several empty disks, written by hand: the volumes take extents of 1 MiB, one disk after the other.

    Args:
        name: Of the group.
        disks: Images, at least 2 MiB larger in sum than the volumes.
        volumes: Image of each logical volume, by name.
        turn: Offset of the description in its ring, to let it go round [bytes].
    """
    free = [(number, extent) for number, item in enumerate(disks) for extent in range(item.stat().st_size // MIB - 1)]
    segments: dict[str, list[tuple[int, int]]] = {}
    for volume, image in volumes.items():
        count = -(-image.stat().st_size // MIB)
        segments[volume], free = free[:count], free[count:]
        assert len(segments[volume]) == count
        for number, (place, extent) in enumerate(segments[volume]):
            with image.open("rb") as source, disks[place].open("r+b") as target:
                source.seek(number * MIB)
                target.seek((1 + extent) * MIB)
                target.write(source.read(MIB))
    text = _group_text(name, [item.stat().st_size // MIB - 1 for item in disks], segments)
    for number, item in enumerate(disks):
        _physical(item, _pv_id(number), text, turn)


def _pv_id(number: int) -> str:
    return f"pv{number:030}"


def _dashed(text: str) -> str:
    return "-".join([text[:6], *(text[start : start + 4] for start in range(6, 26, 4)), text[26:]])


def _group_text(name: str, extents: Sequence[int], segments: Mapping[str, Sequence[tuple[int, int]]]) -> bytes:
    lines = [f"{name} {{", f'id = "{_dashed("v" * 32)}"', "seqno = 3", 'format = "lvm2"']
    lines += [
        'status = ["RESIZEABLE", "READ", "WRITE"]',
        "flags = []",
        "extent_size = 2048",
        "max_lv = 0",
        "max_pv = 0",
    ]
    lines += ["metadata_copies = 0", "physical_volumes {"]
    for number, count in enumerate(extents):
        lines += [f"pv{number} {{", f'id = "{_dashed(_pv_id(number))}"', 'status = ["ALLOCATABLE"]', "flags = []"]
        lines += [f"dev_size = {(count + 1) * 2048}", "pe_start = 2048", f"pe_count = {count}", "}"]
    lines += ["}", "logical_volumes {"]
    for number, (volume, places) in enumerate(segments.items()):
        runs = _runs(places)
        lines += [f"{volume} {{", f'id = "{_dashed(f"lv{number:030}")}"', 'status = ["READ", "WRITE", "VISIBLE"]']
        lines += ["flags = []", f"segment_count = {len(runs)}"]
        start = 0
        for index, (place, extent, count) in enumerate(runs, 1):
            lines += [f"segment{index} {{", f"start_extent = {start}", f"extent_count = {count}", 'type = "striped"']
            lines += ["stripe_count = 1", "stripes = [", f'"pv{place}", {extent}', "]", "}"]
            start += count
        lines += ["}"]
    lines += [
        "}",
        "}",
        "# Generated by hand",
        'contents = "Text Format Volume Group"',
        "version = 1",
        'description = ""',
    ]
    lines += ['creation_host = "test"', "creation_time = 1700000000", ""]
    return "\n".join(lines).encode()


def _runs(places: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    runs: list[tuple[int, int, int]] = []
    for place, extent in places:
        if runs and runs[-1][0] == place and runs[-1][1] + runs[-1][2] == extent:
            runs[-1] = (place, runs[-1][1], runs[-1][2] + 1)
        else:
            runs.append((place, extent, 1))
    return runs


_AREA = 4096
"""Where the metadata area begins; it ends where the data do, at 1 MiB."""


def _physical(image: Path, identity: str, text: bytes, turn: int) -> None:
    size = image.stat().st_size
    ring = MIB - _AREA - SECTOR
    start = SECTOR + turn % ring
    label = struct.pack("<32sQ", identity.encode(), size)
    label += struct.pack("<QQQQ", MIB, 0, 0, 0) + struct.pack("<QQQQ", _AREA, MIB - _AREA, 0, 0)
    sector = struct.pack("<8sQ", b"LABELONE", 1)
    rest = struct.pack("<I8s", 32, b"LVM2 001") + label
    sector += struct.pack("<I", _crc(rest.ljust(SECTOR - 20, b"\0"))) + rest
    stored = text + b"\0"
    header = b" LVM2 x[5A%r0N*>" + struct.pack("<IQQ", 1, _AREA, MIB - _AREA)
    header += struct.pack("<QQII", start, len(stored), _crc(stored), 0) + bytes(24)
    header = header.ljust(SECTOR - 4, b"\0")
    with image.open("r+b") as file:
        file.seek(SECTOR)
        file.write(sector.ljust(SECTOR, b"\0"))
        file.seek(_AREA)
        file.write(struct.pack("<I", _crc(header)) + header)
        first = stored[: MIB - _AREA - start]
        file.seek(_AREA + start)
        file.write(first)
        file.seek(_AREA + SECTOR)
        file.write(stored[len(first) :])


def _crc(data: bytes) -> int:
    """LVM's checksum: the usual one with another beginning and without the last turn."""
    return zlib.crc32(data, 0xF597A6CF ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


Maker = Callable[[Path, Mapping[str, bytes]], list[Path]]
"""Makes the disks of a VM in a folder, with these files somewhere on them."""


def ext4_disk(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """ext4 in a partition of a GPT, between two others."""
    ext4(folder / "root", write_tree(folder / "tree", files), 96 * MIB)
    other = blank(folder / "other", 2 * MIB)
    return [disk(folder / "vda", "gpt", [other, folder / "root", other])]


def lvm_xfs_disks(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """XFS on a logical volume over two disks, one of them a partition of an MBR."""
    xfs(folder / "data", write_tree(folder / "tree", files), 320 * MIB)
    first, second = blank(folder / "first", 200 * MIB), blank(folder / "vdb", 140 * MIB)
    volume_group("vg0", [first, second], {"data": folder / "data"}, turn=MIB - _AREA - 2 * SECTOR)
    return [disk(folder / "vda", "dos", [first]), second]


def btrfs_disk(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """btrfs on a whole disk."""
    btrfs(folder / "vda", write_tree(folder / "tree", files), 160 * MIB)
    return [folder / "vda"]


def ntfs_disk(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """NTFS in a partition of an MBR."""
    ntfs_of(folder / "windows", files, 96 * MIB)
    return [disk(folder / "vda", "dos", [folder / "windows"])]


def fat_disk(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """FAT32 on a whole disk."""
    fat(folder / "vda", write_tree(folder / "tree", files), 128 * MIB)
    return [folder / "vda"]
