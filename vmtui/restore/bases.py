"""Which disks of a VM that is still there can be restored on top of their old images.

What the VM has not written since a point of ours is the same as in that point: a dirty bitmap in the old image says
so. Together with the maps of both points that tells all that can differ from the point that is brought back.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from vmtui.hosts import checkpoints
from vmtui.hosts.disk_server import EXPORT, served
from vmtui.hosts.domains import IMAGE_SOURCES, Domain
from vmtui.hosts.images import image_info
from vmtui.model.errors import DamageError, FailedError
from vmtui.model.point import PointDisk, RestorePoint
from vmtui.model.vm import Disk, Image
from vmtui.nbd import NbdClient
from vmtui.repository.streams import open_map
from vmtui.restore.differences import between, blocks_in, dirty
from vmtui.restore.plan import Base, DiskPlacement
from vmtui.restore.write import merge

if TYPE_CHECKING:
    from vmtui.restore.preflight import Preflight


class NoBaseError(Exception):
    """A disk cannot be restored on top of its old image; says why."""


def bitmap_context(bitmap: str) -> str:
    """NBD's name of a bitmap."""
    return f"qemu:dirty-bitmap:{bitmap}"


def check_image(image: Image, virtual_size: int) -> None:
    """Return if an old image can be built on.

    Raises:
        NoBaseError: It cannot.
    """
    if image.format != "qcow2":
        raise NoBaseError(f"its old image is {image.format}, and only qcow2 records what is written")
    if image.virtual_size != virtual_size:
        raise NoBaseError(f"it has another size now ({image.virtual_size} bytes)")
    if not all(posixpath.isabs(path) for path in image.backing):
        raise NoBaseError("its old image stands on one that is not a file of the host")
    if image.internal_snapshots:
        raise NoBaseError("its old image holds snapshots")


def choose_bases(flight: Preflight) -> None:
    """Find the disks that can be restored on top of their old images, and how much of each differs. Blocks.

    Raises:
        UnreachableError: Host or repository do not answer.
    """
    if not flight.replaces_vm or flight.request.whole or not flight.disks:
        return
    search = _Search(flight)
    words = []
    for place, disk in enumerate(flight.disks):
        try:
            base = search.base_of(disk)
        except (NoBaseError, FailedError, DamageError) as error:
            words.append(f"{disk.target} is written whole: {error if isinstance(error, NoBaseError) else error.cause}")
            continue
        flight.disks[place] = replace(disk, base=base)
        about = "" if base.exact else "about "
        words.append(f"{disk.target}: {about}{base.differs} of {disk.virtual_size} bytes differ from the point")
    flight.passed("differs", "; ".join(words))


class _Search:
    """Looks for the bases of a VM's disks."""

    def __init__(self, flight: Preflight) -> None:
        self._flight = flight
        self._repository = flight.context.repository
        self._domain = Domain(flight.session, flight.uuid)
        self._facts = self._domain.facts_without_images()

    def base_of(self, disk: DiskPlacement) -> Base:
        """What a disk can be restored on.

        Raises:
            NoBaseError: It has to be written whole.
            FailedError: Its old image cannot be looked at.
            DamageError: A map is damaged; that of the wanted point is looked at elsewhere, too.
        """
        now = next((item.disk for item in self._facts.disks if item.disk.target == disk.target), None)
        if now is None or not disk.replaces or not self._is_at(now, disk.path):
            raise NoBaseError("the VM's disk is not the image that would be replaced")
        if disk.format != "qcow2" or now.format != "qcow2":
            raise NoBaseError("it is raw, and a raw image does not record what is written")
        image = image_info(self._flight.session, disk.path, "qcow2")
        check_image(image, disk.virtual_size)
        for point, bitmap in self._candidates(image):
            held = next((item for item in point.disks if item.name == disk.target), None)
            if held is None or held.virtual_size != disk.virtual_size:
                continue
            # A bitmap tells of its own layer alone, so it is worth something on the chain that it was made for.
            if held.path == image.path and held.backing == image.backing:
                base = self._estimate(disk, point, held, bitmap)
                if base.differs >= disk.data_bytes:
                    raise NoBaseError("as much of it differs as the point holds")
                return base
        raise NoBaseError("nothing records what the VM wrote since a point in this repository")

    def _is_at(self, now: Disk, path: str) -> bool:
        plain = now.device == "disk" and now.source_type in IMAGE_SOURCES and not (now.transient or now.encrypted)
        return plain and posixpath.normpath(self._domain.image_path(now)) == posixpath.normpath(path)

    def _candidates(self, image: Image) -> Iterator[tuple[RestorePoint, str]]:
        """Points whose bitmap is in the image and in order, with its name; the newest first.

        QEMU writes bitmaps into an image as it closes it, so of a VM that runs libvirt is asked.
        """
        at_rest = {bitmap.name for bitmap in image.bitmaps if bitmap.usable}
        there = set(self._facts.checkpoints) if self._facts.state.active else at_rest
        return ((point, bitmap) for point, bitmap in self._marked if bitmap in there)

    @cached_property
    def _marked(self) -> list[tuple[RestorePoint, str]]:
        """The VM's points with a checkpoint that the host may still have."""
        repository, found = self._repository, []
        for name in reversed(repository.points.of(self._flight.uuid)):
            try:
                point = repository.points.load(name)
            except DamageError:
                continue  # it is no help here; `verify` tells of it
            if point.checkpoint is not None:
                found.append((point, point.checkpoint.name))
            if len(found) == _POINTS:
                break
        return found

    def _estimate(self, disk: DiskPlacement, point: RestorePoint, held: PointDisk, bitmap: str) -> Base:
        block_size = self._repository.block_size
        before = open_map(self._repository, disk.virtual_size, held.root)
        wanted = open_map(self._repository, disk.virtual_size, disk.root)
        apart = between(before, wanted)
        if self._facts.state.active:
            written = self._changed.get(bitmap, {}).get(disk.target)
            if written is None:
                raise NoBaseError("QEMU cannot tell what the VM wrote")
            differs, exact = min(disk.virtual_size, written + blocks_in(apart) * block_size), False
        else:
            with served(self._flight.session, disk.path, "qcow2", bitmaps=[bitmap]) as server:
                client = NbdClient(server.connect(), EXPORT, [bitmap_context(bitmap)])
                changed = list(dirty(client, bitmap_context(bitmap), disk.virtual_size, block_size))
                client.close()
            written, exact = blocks_in(changed) * block_size, True
            differs = min(disk.virtual_size, blocks_in(merge(changed, apart, _ANY)) * block_size)
        return Base(point.id, bitmap, held.root, written, differs, exact)

    @cached_property
    def _changed(self) -> dict[str, dict[str, int]]:
        """By bitmap and target: what a running VM has written since [bytes]."""
        return {
            bitmap: checkpoints.changed_bytes(self._domain, bitmap)
            for _, bitmap in self._marked
            if bitmap in self._facts.checkpoints
        }


_ANY = 1 << 62
_POINTS = 8
"""Points with a checkpoint that are looked at; the host keeps that of the newest."""
