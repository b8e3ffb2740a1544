"""LVM: the logical volumes on all disks of a point."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dissect.volume.lvm.lvm2 import LVM2
from dissect.volume.lvm.physical import LVM2Device, parse_metadata

from vmtui.files.helper.disk import DiskFile
from vmtui.files.helper.node import UnreadableError, parsing

_LABEL_SECTORS = 4
_HEADER = 512
"""Length of a metadata area's own header, after which its ring of texts begins [bytes]."""
_TEXT_LIMIT = 64 << 20
_INNER = ("snapshot", "thin-pool", "cache-pool", "vdo-pool")


@dataclass(frozen=True, slots=True)
class LogicalVolume:
    """One logical volume: a file, or the reason why it cannot be read."""

    name: str
    """As device-mapper names it: group-volume, with dashes of their own doubled."""
    size: int
    file: Any
    reason: str


def is_physical(file: DiskFile) -> bool:
    """Whether a partition or disk belongs to a volume group."""
    return any(file.at(sector * 512, 8) == b"LABELONE" for sector in range(_LABEL_SECTORS))


def logical_volumes(files: list[DiskFile]) -> Iterator[LogicalVolume]:
    """The volumes of all groups on these physical volumes."""
    groups: dict[str, list[LVM2Device]] = {}
    for file in files:
        device = LVM2Device(file)
        text = _metadata(device)
        device.__dict__["metadata"] = text  # the cached property: dissect reads no text that goes round its ring
        if text is None:
            groups.setdefault("", []).append(device)
        else:
            groups.setdefault(_group(text), []).append(device)
    bare = groups.pop("", [])
    for name, devices in groups.items():
        newest = max(devices, key=lambda device: device.metadata[_group(device.metadata)]["seqno"])
        ordered = [newest, *(device for device in devices if device is not newest), *bare]
        yield from _volumes(name, LVM2(ordered))


def _group(text: dict[str, Any]) -> str:
    return next(str(key) for key, value in text.items() if isinstance(value, dict))


def _metadata(device: LVM2Device) -> dict[str, Any] | None:
    """The newest description in a physical volume; None when it holds none."""
    for header, places in device._metadata_areas:  # noqa: SLF001  # nothing public gives them
        if not places or places[0].size == 0 or places[0].size > _TEXT_LIMIT:
            continue
        start, size = places[0].offset, places[0].size
        end = header.size
        device.fh.seek(header.start + start)
        text = device.fh.read(min(size, end - start))
        if size > end - start:
            device.fh.seek(header.start + _HEADER)
            text += device.fh.read(size - (end - start))
        found: dict[str, Any] = parse_metadata(text.rstrip(b"\x00").decode())
        return found
    return None


def _volumes(group: str, lvm: LVM2) -> Iterator[LogicalVolume]:
    extent = lvm.volume_group.extent_size * 512
    absent = [pv.name for pv in lvm.volume_group.physical_volumes.values() if pv.dev is None]
    for name, volume in lvm.volume_group.logical_volumes.items():
        if not volume.is_visible or volume.type in _INNER:
            continue
        full = f"{group.replace('-', '--')}-{name.replace('-', '--')}"
        size = sum(segment.extent_count for segment in volume.segments) * extent
        try:
            with parsing():
                file = volume.open()
                file.seek(0)
                file.read(512)
                file.seek(max(0, size - 512))
                file.read(512)
                file.seek(0, io.SEEK_SET)
        except UnreadableError as error:
            missing = f", and {', '.join(absent)} of the group are not in the point" if absent else ""
            yield LogicalVolume(full, size, None, f"LVM of type {volume.type}: {error}{missing}")
            continue
        yield LogicalVolume(full, size, file, "")
