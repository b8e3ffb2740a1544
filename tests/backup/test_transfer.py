"""From a real export into a real repository and back."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.nbd_servers import bitmap, connect, image, qemu_io, qemu_nbd, raw_bytes
from tests.support.repositories import create, read_disk, reopen
from vmtui.backup.journal import LeafJournal
from vmtui.backup.transfer import DiskRead, DiskTransfer, SampleDiffersError, Source
from vmtui.model.errors import CancelledError
from vmtui.model.progress import SilentWatch
from vmtui.nbd import NbdClient
from vmtui.repository import Repository, block_count

KIB = 1 << 10
MIB = 1 << 20


class StopsAfter(SilentWatch):
    """Cancels after some pieces."""

    def __init__(self, pieces: int) -> None:
        self._left = pieces

    def check(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise CancelledError("CANCELLED", "stopped")


def read(
    repository: Repository,
    path: Path,
    *,
    parent: DiskRead | None = None,
    dirty: str | None = None,
    journal: LeafJournal | None = None,
    watch: SilentWatch | None = None,
    kind: str = "qcow2",
) -> DiskRead:
    """Read an image as a run does, settled at its end or where it stopped."""
    repository.sync()
    writer = repository.writer(1)
    journal = journal or LeafJournal(None)
    with ExitStack() as stack:
        at = stack.enter_context(qemu_nbd(path, "-r", *(["-B", dirty] if dirty else []), kind=kind))

        def connected(contexts: Sequence[str]) -> NbdClient:
            return connect(at, "vda", contexts)

        source = Source(connected, None, None)
        if parent is not None:
            blocks = block_count(parent.size, repository.block_size)
            disk_map = repository.reader().map(bytes.fromhex(parent.root), blocks)
            source = Source(connected, f"qemu:dirty-bitmap:{dirty}", disk_map, parent.size)
        transfer = DiskTransfer("vda", writer, repository.block_size, journal, watch or SilentWatch(), half="test.half")
        try:
            return transfer.run(source)
        finally:
            writer.settle()
            journal.write_down()
            writer.close()


def write_at_random(path: Path, source: random.Random, size: int) -> None:
    commands = []
    for _ in range(source.randint(1, 12)):
        start = source.randrange(0, size, 512)
        length = min(source.choice([512, 4096, 65536, 300 * KIB, 2 * MIB]), size - start)
        command = source.choice([f"write -P {source.randint(1, 255)}", "write -z", "write -z -u", "discard"])
        commands.append(f"{command} {start} {length}")
    qemu_io(path, *commands)


@pytest.mark.parametrize("block_size", [4096, 65536])
@pytest.mark.parametrize("seed", range(4))
def test_random_writes_between_two_reads_give_exactly_the_images_bytes(
    tmp_path: Path, seed: int, block_size: int
) -> None:
    source = random.Random(f"{seed} {block_size}")
    size = 20 * MIB + source.choice([0, 512, 4096])
    path = image(tmp_path / "a", size, "qcow2", "-o", f"cluster_size={source.choice(['4k', '64k', '2M'])}")
    repository = create(tmp_path, block_size)
    write_at_random(path, source, size)
    bitmap(path, "b1")
    first = read(repository, path)
    before = raw_bytes(path)
    assert read_disk(reopen(tmp_path), first.root, size) == before
    write_at_random(path, source, size)
    second = read(repository, path, parent=first, dirty="b1")
    assert read_disk(reopen(tmp_path), second.root, size) == raw_bytes(path)
    assert read_disk(reopen(tmp_path), first.root, size) == before


def test_a_grown_disk_is_read_beyond_its_old_end(tmp_path: Path) -> None:
    path = image(tmp_path / "a", 5 * MIB + 512)
    repository = create(tmp_path)
    qemu_io(path, "write -P 1 0 5243392")
    bitmap(path, "b1")
    first = read(repository, path)
    qemu_io(path, "truncate 9M", "write -P 2 8M 64k")
    second = read(repository, path, parent=first, dirty="b1")
    assert (second.size, read_disk(reopen(tmp_path), second.root, 9 * MIB)) == (9 * MIB, raw_bytes(path))


def test_an_increment_reads_only_what_changed(tmp_path: Path) -> None:
    path = image(tmp_path / "a", 64 * MIB)
    repository = create(tmp_path, 65536)
    qemu_io(path, "write -P 1 0 32M")
    bitmap(path, "b1")
    first = read(repository, path)
    assert first.read_bytes == 32 * MIB
    qemu_io(path, "write -P 2 1M 64k", "write -z -u 4M 8M")
    assert read(repository, path, parent=first, dirty="b1").read_bytes == 65536


@pytest.mark.parametrize("pieces", [0, 1, 5, 9, 14])
def test_a_stopped_read_is_taken_up_through_its_journal(tmp_path: Path, pieces: int) -> None:
    size = 16 * MIB
    path = tmp_path / "a"
    path.write_bytes(random.Random(1).randbytes(size))
    repository = create(tmp_path)
    with pytest.raises(CancelledError):
        read(repository, path, journal=LeafJournal(tmp_path / "j"), watch=StopsAfter(pieces), kind="raw")
    done = LeafJournal(tmp_path / "j")
    kept = len(done.done) * MIB  # 256 blocks of 4 KiB
    whole = read(repository, path, journal=done, kind="raw")
    assert whole.read_bytes == size - kept
    assert read_disk(reopen(tmp_path), whole.root, size) == path.read_bytes()


def test_a_stopped_increment_is_taken_up_through_its_journal(tmp_path: Path) -> None:
    path = image(tmp_path / "a", 16 * MIB)
    repository = create(tmp_path)
    qemu_io(path, *[f"write -P {number + 1} {number}M 1M" for number in range(16)])
    bitmap(path, "b1")
    first = read(repository, path)
    qemu_io(path, *[f"write -P {number + 100} {number}M 512k" for number in range(0, 16, 2)])
    with pytest.raises(CancelledError):
        read(repository, path, parent=first, dirty="b1", journal=LeafJournal(tmp_path / "j"), watch=StopsAfter(4))
    second = read(repository, path, parent=first, dirty="b1", journal=LeafJournal(tmp_path / "j"))
    assert read_disk(reopen(tmp_path), second.root, 16 * MIB) == raw_bytes(path)


def test_the_sample_notices_that_clean_blocks_changed(tmp_path: Path) -> None:
    path = image(tmp_path / "a", 4 * MIB)
    repository = create(tmp_path)
    qemu_io(path, "write -P 1 0 4M")
    first = read(repository, path)
    qemu_io(path, "write -P 2 0 4M")
    bitmap(path, "b1")  # began too late: it calls all of that clean
    with pytest.raises(SampleDiffersError):
        read(repository, path, parent=first, dirty="b1")
