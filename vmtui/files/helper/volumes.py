"""What is on the disks of a point: partitions, logical volumes, file systems."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vmtui.files.helper import lvm
from vmtui.files.helper.btrfs import Btrfs
from vmtui.files.helper.disk import DiskFile
from vmtui.files.helper.ext import Ext
from vmtui.files.helper.fat import Fat
from vmtui.files.helper.node import Driver, UnreadableError, parsing
from vmtui.files.helper.ntfs import Ntfs
from vmtui.files.helper.partitions import has_gpt, partitions
from vmtui.files.helper.xfs import Xfs

_HEAD = 72 << 10
"""All magic numbers that are looked for are in the first bytes of a volume."""
_BTRFS = 64 << 10


@dataclass(slots=True)
class Found:
    """A volume: one with a driver can be browsed, any other has a reason."""

    name: str
    size: int
    kind: str
    driver: Driver | None = None
    reason: str = ""


_OPENERS: Mapping[str, Callable[[Any], Driver]] = {"ext": Ext, "xfs": Xfs, "ntfs": Ntfs, "fat": Fat}

_CLOSED = {
    "luks": "encrypted (LUKS); its key is in the guest",
    "bitlocker": "encrypted (BitLocker); its key is in the guest",
    "swap": "swap space, it holds no files",
    "raid": "part of a Linux software RAID, which is not supported",
    "zfs": "ZFS is not supported",
    "exfat": "exFAT is not supported",
    "refs": "ReFS is not supported",
    "iso9660": "ISO 9660 is not supported",
    "squashfs": "squashfs is not supported",
    "f2fs": "F2FS is not supported",
    "empty": "nothing but zeroes at its beginning",
    "unknown": "no file system that is known",
}


def find(disks: list[DiskFile]) -> list[Found]:
    """All volumes of these disks, in the order of their names on the disks, then logical volumes."""
    found: list[Found] = []
    physical: list[DiskFile] = []
    pools: dict[bytes, list[tuple[str, DiskFile]]] = {}
    for name, file in _candidates(disks, found):
        if lvm.is_physical(file):
            physical.append(file)
        else:
            found += _one(name, file, pools)
    if physical:
        found += _logical(physical, pools)
    for members in pools.values():
        found.append(_btrfs(members))
    return found


def _candidates(disks: list[DiskFile], found: list[Found]) -> list[tuple[str, DiskFile]]:
    """(name, file) of what may hold a file system: partitions, and disks without any."""
    result: list[tuple[str, DiskFile]] = []
    for disk in disks:
        if not has_gpt(disk) and kind_at(disk) not in ("unknown", "empty"):
            result.append((disk.disk, disk))
            continue
        try:
            parts = partitions(disk)
        except UnreadableError as error:
            found.append(Found(disk.disk, disk.size, "table", reason=str(error)))
            continue
        if parts is None:
            result.append((disk.disk, disk))
        else:
            digit = "p" if disk.disk[-1:].isdigit() else ""
            result += [(f"{disk.disk}{digit}{part.number}", part.file) for part in parts]
    return result


def _logical(physical: list[DiskFile], pools: dict[bytes, list[tuple[str, DiskFile]]]) -> list[Found]:
    found = []
    try:
        with parsing():
            for volume in lvm.logical_volumes(physical):
                if volume.file is None:
                    found.append(Found(volume.name, volume.size, "lvm", reason=volume.reason))
                else:
                    found += _one(volume.name, _Sized(volume.file, volume.size), pools)
    except UnreadableError as error:
        found.append(Found("lvm", sum(file.size for file in physical), "lvm", reason=f"its description: {error}"))
    return found


def _one(name: str, file: Any, pools: dict[bytes, list[tuple[str, DiskFile]]]) -> list[Found]:
    """A volume by what is on it; a btrfs waits for its other members."""
    kind = kind_at(file)
    if kind == "btrfs":
        file.seek(_BTRFS + 32)
        pools.setdefault(file.read(16), []).append((name, file))
        return []
    if kind not in _OPENERS:
        return [Found(name, file.size, kind, reason=_CLOSED[kind])]
    return [_opened(name, file.size, kind, lambda: _OPENERS[kind](file))]


def _btrfs(members: list[tuple[str, DiskFile]]) -> Found:
    size = sum(file.size for _, file in members)
    return _opened(members[0][0], size, "btrfs", lambda: Btrfs([file for _, file in members]))


def _opened(name: str, size: int, kind: str, opener: Callable[[], Driver]) -> Found:
    try:
        with parsing():
            driver = opener()
            driver.facts(driver.root())
    except UnreadableError as error:
        return Found(name, size, kind, reason=f"it cannot be opened: {error}")
    return Found(name, size, driver.kind, driver)


def kind_at(file: Any) -> str:
    """What lies on a volume, by its magic numbers: a key of `_OPENERS` or `_CLOSED`, or btrfs."""
    file.seek(0)
    head = file.read(_HEAD)
    for kind, offset, magic in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return kind
    if _is_fat(head):
        return "fat"
    return "unknown" if any(head) else "empty"


_MAGIC = (
    ("luks", 0, b"LUKS\xba\xbe"),
    ("bitlocker", 3, b"-FVE-FS-"),
    ("ntfs", 3, b"NTFS    "),
    ("exfat", 3, b"EXFAT   "),
    ("refs", 3, b"ReFS\x00\x00\x00\x00"),
    ("xfs", 0, b"XFSB"),
    ("squashfs", 0, b"hsqs"),
    ("btrfs", _BTRFS + 64, b"_BHRfS_M"),
    ("raid", 4096, b"\xfc\x4e\x2b\xa9"),
    ("raid", 0, b"\xfc\x4e\x2b\xa9"),
    ("swap", 4086, b"SWAPSPACE2"),
    ("swap", 65526, b"SWAPSPACE2"),
    ("f2fs", 1024, b"\x10\x20\xf5\xf2"),
    ("ext", 1080, b"\x53\xef"),
    ("iso9660", 0x8001, b"CD001"),
)


def _is_fat(head: bytes) -> bool:
    """Whether a boot sector is that of a FAT volume."""
    if len(head) < 512 or head[510:512] != b"\x55\xaa" or head[0] not in (0xEB, 0xE9):
        return False
    sector = int.from_bytes(head[11:13], "little")
    reserved = int.from_bytes(head[14:16], "little")
    return (
        sector in (512, 1024, 2048, 4096)
        and head[13] in (1, 2, 4, 8, 16, 32, 64, 128)
        and reserved > 0
        and head[16] in (1, 2)
        and head[21] in (0xF0, *range(0xF8, 0x100))
        and (head[54:57] == b"FAT" or head[82:85] == b"FAT")
    )


class _Sized:
    """A logical volume's stream with its size.

    Args:
        stream: From dissect.
        size: [bytes]
    """

    def __init__(self, stream: Any, size: int) -> None:
        self._stream = stream
        self.size = size
        self.tell = stream.tell
        self.seek = stream.seek
        self.read = stream.read
