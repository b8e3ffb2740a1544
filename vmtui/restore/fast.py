"""Restoring a disk on top of its old image: only what differs from the point is written.

The old image is at rest and stays as it is. What its dirty bitmap names is compared with the point's hashes, save where
all that was looked at nearby differs; what only the maps of two points tell apart is known to differ. All that was
written is read back and proven as in a whole restore. A sample of what should be the same is compared as well.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from vmtui.failpoint import failpoint
from vmtui.hosts import overlays, storage
from vmtui.hosts.disk_server import EXPORT, served
from vmtui.hosts.images import image_info
from vmtui.model.errors import DamageError, FailedError
from vmtui.model.progress import Watch
from vmtui.nbd import NbdClient
from vmtui.repository import BlobReader, MapReader
from vmtui.repository.streams import open_map
from vmtui.restore.bases import NoBaseError, bitmap_context, check_image
from vmtui.restore.context import RestoreContext
from vmtui.restore.differences import Stretch, between, blocks_in, dirty, sample_outside, without
from vmtui.restore.plan import Base, DiskPlacement, RestorePlan
from vmtui.restore.room import MARGIN
from vmtui.restore.write import DiskWriter, connected, disk_map_ids, merge

_PIECE = 1 << 20
_GROUP = 8
"""One of so many pieces is looked at first; the others only if a block of it, or of the next one, was the same."""
_SAMPLE = 32
_DEPTH = 8


@dataclass(frozen=True, slots=True)
class OnTop:
    """A disk that was written and proven on top of its old image [bytes]."""

    written: int
    read: int
    """From the old image."""
    compared: int
    """Read back."""
    sampled: int
    """Blocks of the sample."""


def write_on_top(context: RestoreContext, plan: RestorePlan, disk: DiskPlacement, base: Base) -> OnTop:
    """Write one disk beside its final name, on top of its old image, and prove it. The VM must be off.

    Raises:
        NoBaseError: The old image is not what it was thought to be; nothing was written.
        DamageError: The repository does not have what the point needs.
        FailedError: The target cannot be written, or does not read back.
        CancelledError: Somebody asked for it to stop.
    """
    session, repository = context.session, context.repository
    wanted = open_map(repository, disk.virtual_size, disk.root)
    before = open_map(repository, disk.virtual_size, base.root)
    work = _Finder(disk, wanted, repository.reader(), repository.block_size, context.watch)
    image = image_info(session, disk.path, "qcow2")
    check_image(image, disk.virtual_size)
    if not any(bitmap.usable for bitmap in image.bitmaps if bitmap.name == base.bitmap):
        raise NoBaseError("the bitmap of its old image was lost: it was not closed cleanly")
    try:
        apart = between(before, wanted)
    except DamageError as error:
        raise NoBaseError(error.cause) from error
    mark = state_of(context, disk.path)
    with served(session, disk.path, "qcow2", bitmaps=[base.bitmap]) as server:
        client = NbdClient(server.connect(), EXPORT, [bitmap_context(base.bitmap)])
        differs = work.find(client, bitmap_context(base.bitmap), apart)
        client.close()
    written = min(disk.virtual_size, blocks_in(differs) * repository.block_size)
    _check_room(context, disk, written)
    path = disk.new_path(plan.run)
    context.watch.phase("create", disk=disk.target)
    overlays.create_on_top(session, path, disk.path, disk.virtual_size)
    context.notes(plan.run).note(note_of(disk), mark)
    failpoint("restore.overlaid")
    writer = DiskWriter(disk.target, repository.reader(), repository.block_size, disk.virtual_size, context.watch)
    with connected(session, path, "qcow2", writable=True) as client:
        writer.write(client, wanted, written, differs)
    with connected(session, path, "qcow2", writable=False) as client:
        compared = writer.read_back(client, wanted, written, differs)
    return OnTop(written, work.read, compared, work.sampled)


def note_of(disk: DiskPlacement) -> str:
    """The run's note that a disk stands on its old image; its text says what that image was like. Pure."""
    return f"on top {disk.target}"


def state_of(context: RestoreContext, path: str) -> str:
    """Inode, size and time of the last change of a file: they move when anybody writes to it."""
    return context.session.run(["stat", "-L", "-c", "%i %s %y", path]).checked(context.session.host.name).output.strip()


def _check_room(context: RestoreContext, disk: DiskPlacement, need: int) -> None:
    folder = posixpath.dirname(disk.path)
    free = storage.free_bytes(context.session, folder)
    if free is not None and free < need + MARGIN:
        raise FailedError(
            "WRITE-FAILED",
            f"{folder} on {context.session.host.name} has {free} bytes free; {need + MARGIN} are needed for {disk.target}.",
            next_step="Make room there, then restore again.",
        )


class _Finder:
    """Finds the blocks of an old image that differ from a point."""

    def __init__(
        self, disk: DiskPlacement, wanted: MapReader, blobs: BlobReader, block_size: int, watch: Watch
    ) -> None:
        self._disk = disk
        self._wanted = wanted
        self._blobs = blobs
        self._block_size = block_size
        self._watch = watch
        self.read = 0
        self.sampled = 0

    def find(self, client: NbdClient, context: str, apart: Sequence[Stretch]) -> list[Stretch]:
        """All blocks to write, in order.

        Args:
            client: Of the old image, with the bitmap.
            context: The bitmap's.
            apart: Blocks that the maps of the bitmap's point and of the wanted one tell apart.

        Raises:
            NoBaseError: A block that should be the point's is not.
        """
        written = list(dirty(client, context, self._disk.virtual_size, self._block_size))
        self._check_sample(client, list(merge(written, apart, _ANY)))
        self._watch.phase("compare", disk=self._disk.target, total=blocks_in(written) * self._block_size)
        differs = self._compare(client, list(merge(written, [], max(1, _PIECE // self._block_size))))
        return list(merge(differs, without(apart, written), _ANY))

    def _check_sample(self, client: NbdClient, candidates: Sequence[Stretch]) -> None:
        blocks = sample_outside(candidates, self._wanted, _SAMPLE)
        self.sampled = len(blocks)
        for first, same in self._looked_at(client, [(block, 1) for block in blocks]):
            if not all(same):
                raise NoBaseError(
                    f"ALARM: the block at {first * self._block_size} differs, and nobody wrote it through QEMU"
                )

    def _compare(self, client: NbdClient, pieces: Sequence[Stretch]) -> Iterator[Stretch]:
        """What of the pieces differs; where all that is looked at differs, the pieces between are not read."""
        probed = dict(self._looked_at(client, pieces[::_GROUP]))
        mixed = [not all(not item for item in probed[first]) for first, _ in pieces[::_GROUP]]
        groups = range(len(mixed))
        near = {place for place in groups if mixed[place] or (place + 1 < len(mixed) and mixed[place + 1])}
        rest = [piece for place, piece in enumerate(pieces) if place % _GROUP and place // _GROUP in near]
        known = probed | dict(self._looked_at(client, rest))
        for first, count in pieces:
            same = known.get(first)
            if same is None:
                self._watch.advance(count * self._block_size)
                yield first, count
                continue
            yield from ((first + place, 1) for place, item in enumerate(same) if not item)

    def _looked_at(self, client: NbdClient, pieces: Iterable[Stretch]) -> Iterator[tuple[int, list[bool]]]:
        """(first block, whether each block is the point's), in any order."""
        size, step = self._disk.virtual_size, self._block_size
        ranges = [(first * step, min(count * step, size - first * step)) for first, count in pieces]
        for offset, data in client.read(ranges, depth=_DEPTH):
            self._watch.check()
            self._watch.advance(len(data))
            self.read += len(data)
            data.extend(bytes(-len(data) % step))
            view, first = memoryview(data), offset // step
            ids = disk_map_ids(self._wanted, first, len(data) // step)
            yield first, [self._blobs.holds(view[at * step : (at + 1) * step], item) for at, item in enumerate(ids)]


_ANY = 1 << 62
