"""Partition tables: GPT and MBR.

Read here, as dissect gives GPT partitions a sector less than they have.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from dataclasses import dataclass

from vmtui.files.helper.disk import DiskFile
from vmtui.files.helper.node import UnreadableError

_SECTOR = 512
_TABLE = 446
_ENTRY = struct.Struct("<B3xB3xII")
_SIGNATURE = b"\x55\xaa"
_EXTENDED = (0x05, 0x0F, 0x85)
_PROTECTIVE = 0xEE
_MOST = 128
_GPT = struct.Struct("<8sIIII4Q16sQIII")
_GPT_MAGIC = b"EFI PART"
_GPT_ENTRY = struct.Struct("<16s16sQQQ72s")
_GPT_TABLE_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition."""

    number: int
    file: DiskFile


def partitions(disk: DiskFile) -> list[Partition] | None:
    """The partitions of a disk; None when it has no table.

    Raises:
        UnreadableError: It has a table that is damaged.
    """
    first = disk.at(0, _SECTOR)
    if len(first) < _SECTOR or first[510:] != _SIGNATURE:
        return None
    entries = _entries(first)
    if not _plausible(entries, disk.size):
        return None
    if any(kind == _PROTECTIVE for _, kind, _, _ in entries):
        return _gpt(disk)
    return _mbr(disk, entries)


def has_gpt(disk: DiskFile) -> bool:
    """Whether a disk begins with a protective table and a GPT."""
    return disk.at(510, 2) == _SIGNATURE and any(
        disk.at(sector, len(_GPT_MAGIC)) == _GPT_MAGIC for sector in (512, 4096)
    )


def _entries(sector: bytes) -> list[tuple[int, int, int, int]]:
    """(boot flag, type, first sector, sectors) of the entries of a boot sector."""
    return [_ENTRY.unpack_from(sector, _TABLE + 16 * number) for number in range(4)]


def _plausible(entries: list[tuple[int, int, int, int]], size: int) -> bool:
    """Whether these four are a partition table and not the code of a boot sector."""
    used = [entry for entry in entries if entry[1]]
    return bool(used) and all(
        flag in (0, 0x80) and start > 0 and count > 0 and (kind == _PROTECTIVE or start * _SECTOR < size)
        for flag, kind, start, count in used
    )


def _mbr(disk: DiskFile, entries: list[tuple[int, int, int, int]]) -> list[Partition]:
    found = []
    number = 5
    for place, (_, kind, start, count) in enumerate(entries, 1):
        if kind in _EXTENDED:
            for inner in _extended(disk, start):
                found.append(Partition(number, inner))
                number += 1
        elif kind:
            found.append(Partition(place, disk.part(start * _SECTOR, count * _SECTOR)))
    return sorted(found, key=lambda item: item.number)


def _extended(disk: DiskFile, base: int) -> list[DiskFile]:
    """The logical partitions of an extended one."""
    found: list[DiskFile] = []
    place = base
    seen = set()
    while place not in seen and len(found) < _MOST:
        seen.add(place)
        sector = disk.at(place * _SECTOR, _SECTOR)
        if len(sector) < _SECTOR or sector[510:] != _SIGNATURE:
            raise UnreadableError("its extended partition table is damaged")
        entries = _entries(sector)
        for _, kind, start, count in entries:
            if kind and kind not in _EXTENDED and count:
                found.append(disk.part((place + start) * _SECTOR, count * _SECTOR))
        following = [start for _, kind, start, _ in entries if kind in _EXTENDED]
        if not following:
            break
        place = base + following[0]
    return found


def _gpt(disk: DiskFile) -> list[Partition]:
    for sector in (_SECTOR, 4096):
        header = disk.at(sector, sector)
        if header[:8] == _GPT_MAGIC:
            found = _gpt_entries(disk, header, sector)
            if found is not None:
                return found
    last = disk.at(disk.size - _SECTOR, _SECTOR)
    found = _gpt_entries(disk, last, _SECTOR) if last[:8] == _GPT_MAGIC else None
    if found is None:
        raise UnreadableError("its partition table (GPT) is damaged, and so is the copy at its end")
    return found


def _gpt_entries(disk: DiskFile, header: bytes, sector: int) -> list[Partition] | None:
    """The partitions of a GPT; None when one of its checksums is wrong."""
    _, _, length, checksum, _, _, _, _, _, _, table, count, size, table_checksum = _GPT.unpack_from(header)
    if not _GPT.size <= length <= len(header) or size < _GPT_ENTRY.size or count * size > _GPT_TABLE_LIMIT:
        return None
    if zlib.crc32(header[:16] + bytes(4) + header[20:length]) != checksum:
        return None
    data = disk.at(table * sector, count * size)
    if len(data) != count * size or zlib.crc32(data) != table_checksum:
        return None
    found = []
    for number in range(count):
        kind, _, first, last, _, _ = _GPT_ENTRY.unpack_from(data, number * size)
        if uuid.UUID(bytes_le=kind).int and first <= last:
            found.append(Partition(number + 1, disk.part(first * sector, (last - first + 1) * sector)))
    return found
