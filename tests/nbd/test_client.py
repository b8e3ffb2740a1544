"""The client against real servers."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.nbd_servers import bitmap, connect, image, nbdkit, qemu_io, qemu_nbd, raw_bytes, serve
from vmtui.model.errors import FailedError, UnreachableError
from vmtui.nbd import BASE_ALLOCATION, DIRTY, ZERO, NbdClient, NbdLostError
from vmtui.nbd.wire import ExportFlag

MIB = 1 << 20
DIRTY_CONTEXT = "qemu:dirty-bitmap:changes"


def read_all(client: NbdClient, step: int = 100_003, depth: int = 8) -> bytes:
    pieces = dict(client.read(((at, min(step, client.size - at)) for at in range(0, client.size, step)), depth=depth))
    return b"".join(bytes(pieces[at]) for at in sorted(pieces))


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_size_and_flags_are_the_exports(tmp_path: Path, kind: str) -> None:
    path = image(tmp_path / "a", 3 * MIB, kind)
    with qemu_nbd(path, "-r", kind=kind) as at, closing(connect(at, "vda")) as client:
        assert client.size == 3 * MIB
        assert ExportFlag.READ_ONLY in client.flags
        assert client.max_block >= MIB


@pytest.mark.parametrize("depth", [1, 3, 16])
def test_pipelined_reads_bring_the_images_bytes(tmp_path: Path, depth: int) -> None:
    content = random.Random(1).randbytes(3 * MIB + 512)
    path = tmp_path / "a"
    path.write_bytes(content)
    with qemu_nbd(path, "-r", kind="raw") as at, closing(connect(at, "vda")) as client:
        assert read_all(client, depth=depth) == content


def test_replies_that_overtake_each_other_are_told_apart(tmp_path: Path) -> None:
    content = random.Random(2).randbytes(MIB)
    (tmp_path / "a").write_bytes(content)
    script = 'case "$1" in get_size) echo 1M;; pread) test $(($4 / 65536 % 2)) = 0 && sleep 0.05; dd if=$FILE bs=65536 skip=$(($4 / 65536)) count=1 2>/dev/null;; thread_model) echo parallel;; *) exit 2;; esac'
    (tmp_path / "plugin").write_text(f"#!/bin/sh\nFILE={tmp_path}/a\n{script}\n")
    (tmp_path / "plugin").chmod(0o700)
    with nbdkit(tmp_path, "sh", str(tmp_path / "plugin")) as at, closing(connect(at)) as client:
        got = list(client.read([(start, 65536) for start in range(0, MIB, 65536)], depth=8))
    assert [start for start, _ in got] != sorted(start for start, _ in got), "the server answered in order"
    assert b"".join(bytes(data) for _, data in sorted(got)) == content


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_what_is_written_is_in_the_image(tmp_path: Path, kind: str) -> None:
    path = image(tmp_path / "a", 4 * MIB, kind)
    model = bytearray(4 * MIB)
    source = random.Random(3)
    pieces = []
    for start in range(0, 3 * MIB, 300_000):
        data = source.randbytes(100_000 + start % 999)
        model[start : start + len(data)] = data
        pieces.append((start, data))
    with qemu_nbd(path, kind=kind) as at, closing(connect(at, "vda")) as client:
        assert sum(client.write(pieces, depth=4)) == sum(len(data) for _, data in pieces)
        client.write_zeroes(200_000, 700_000)
        client.flush()
    model[200_000:900_000] = bytes(700_000)
    assert raw_bytes(path, kind) == model


def test_zeroes_of_more_than_a_request_can_span_are_written(tmp_path: Path) -> None:
    path = image(tmp_path / "a", 9 << 30)
    qemu_io(path, "write -P 1 0 64k", f"write -P 2 {(9 << 30) - 65536} 64k")
    with qemu_nbd(path) as at, closing(connect(at, "vda")) as client:
        client.write_zeroes(0, 9 << 30)
        client.flush()
        for start, data in client.read([(0, 65536), ((9 << 30) - 65536, 65536)]):
            assert not any(data), start


def test_two_contexts_with_different_borders_agree_with_the_image(tmp_path: Path) -> None:
    path = image(tmp_path / "a", 8 * MIB, "qcow2", "-o", "cluster_size=4k")
    qemu_io(path, "write -P 1 0 1M", "write -P 2 3M 1M", "write -z -u 3500k 64k")
    bitmap(path, "changes")
    before = raw_bytes(path)
    qemu_io(path, "write -P 3 12k 20k", "write -z -u 512k 300k", "write -P 4 5M 4k", "discard 3M 256k")
    after = raw_bytes(path)
    with (
        qemu_nbd(path, "-r", "-B", "changes") as at,
        closing(connect(at, "vda", [BASE_ALLOCATION, DIRTY_CONTEXT])) as client,
    ):
        extents = list(client.extents([BASE_ALLOCATION, DIRTY_CONTEXT]))
    position = 0
    for extent in extents:
        assert extent.offset == position
        assert extent.length > 0
        end = position + extent.length
        if extent.flags[0] & ZERO:
            assert not any(after[position:end])
        if not extent.flags[1] & DIRTY:
            assert before[position:end] == after[position:end]
        position = end
    assert position == 8 * MIB
    assert {extent.flags[1] & DIRTY for extent in extents if extent.flags[0] & ZERO} == {0, DIRTY}


def test_contexts_come_in_the_order_asked(tmp_path: Path) -> None:
    path = image(tmp_path / "a", MIB)
    bitmap(path, "changes")
    qemu_io(path, "write -P 1 0 64k")
    with (
        qemu_nbd(path, "-r", "-B", "changes") as at,
        closing(connect(at, "vda", [BASE_ALLOCATION, DIRTY_CONTEXT])) as client,
    ):
        one = [item.flags for item in client.extents([BASE_ALLOCATION, DIRTY_CONTEXT])]
        other = [item.flags for item in client.extents([DIRTY_CONTEXT, BASE_ALLOCATION])]
    assert [(dirty, base) for base, dirty in one] == other
    assert one != other


def test_a_part_of_the_export_is_walked_exactly(tmp_path: Path) -> None:
    path = image(tmp_path / "a", 4 * MIB)
    qemu_io(path, "write -P 1 1M 1M")
    with qemu_nbd(path, "-r") as at, closing(connect(at, "vda", [BASE_ALLOCATION])) as client:
        extents = list(client.extents([BASE_ALLOCATION], MIB + 512, 3 * MIB - 512))
    assert extents[0].offset == MIB + 512
    assert sum(item.length for item in extents) == 2 * MIB - 1024
    assert [bool(item.flags[0] & ZERO) for item in extents] == [False, True]


def test_bitmap_context_not_granted(tmp_path: Path) -> None:
    path = image(tmp_path / "a", MIB)
    with qemu_nbd(path, "-r") as at, closing(connect(at, "vda", [BASE_ALLOCATION, DIRTY_CONTEXT])) as client:
        assert DIRTY_CONTEXT not in client.contexts
        with pytest.raises(FailedError) as caught:
            list(client.extents([BASE_ALLOCATION, DIRTY_CONTEXT]))
    assert caught.value.id == "DISK-CONTEXT-MISSING"


def test_a_sparse_tebibyte_is_walked_in_no_time(tmp_path: Path) -> None:
    path = image(tmp_path / "a", 1 << 40)
    bitmap(path, "changes")
    qemu_io(path, "write -P 1 700G 64k")
    with (
        qemu_nbd(path, "-r", "-B", "changes") as at,
        closing(connect(at, "vda", [BASE_ALLOCATION, DIRTY_CONTEXT])) as client,
    ):
        began = time.monotonic()
        extents = list(client.extents([BASE_ALLOCATION, DIRTY_CONTEXT]))
        took = time.monotonic() - began
    assert sum(item.length for item in extents) == 1 << 40
    assert sum(item.length for item in extents if item.flags[1] & DIRTY) == 65536
    assert took < 10


def test_a_refused_export_name_says_so(tmp_path: Path) -> None:
    with qemu_nbd(image(tmp_path / "a", MIB), "-r") as at, pytest.raises(FailedError, match="no such export"):
        connect(at, "other [b]name\n")


def test_an_empty_disk_has_no_extents(tmp_path: Path) -> None:
    with qemu_nbd(image(tmp_path / "a", 0), "-r") as at, closing(connect(at, "vda", [BASE_ALLOCATION])) as client:
        assert (client.size, list(client.extents([BASE_ALLOCATION]))) == (0, [])


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[NbdClient]:
    with nbdkit(tmp_path, "memory", "1M") as at, closing(connect(at)) as client:
        yield client


@pytest.mark.parametrize(("offset", "length"), [(MIB, 1), (MIB - 1, 2), (-1, 1), (0, 0), (1 << 63, 4)])
def test_a_range_outside_of_the_disk_is_never_asked_for(memory: NbdClient, offset: int, length: int) -> None:
    with pytest.raises(FailedError):
        list(memory.read([(offset, length)]))


def test_a_client_serves_on_after_each_kind_of_request(memory: NbdClient) -> None:
    for number in range(5):
        list(memory.write([(number * 1000, bytes([number + 1]) * 1000)]))
        memory.flush()
        assert bytes(next(iter(memory.read([(number * 1000, 1000)])))[1]) == bytes([number + 1]) * 1000
        memory.write_zeroes(number * 1000, 1000)
        assert not any(read_all(memory))


def test_known_data_is_read_right(tmp_path: Path) -> None:
    with nbdkit(tmp_path, "data", 'data=@100000 "x"*5000 @1048575 0x7a') as at, closing(connect(at)) as client:
        assert read_all(client, 7777) == bytes(100000) + b"x" * 5000 + bytes(MIB - 105001) + b"z"


@pytest.mark.parametrize(("error", "words"), [("EIO", "Input/output error"), ("ENOSPC", "No space left")])
def test_a_read_error_names_offset_and_reason(tmp_path: Path, error: str, words: str) -> None:
    words_of_server = ("--filter=error", "memory", "1M", f"error-pread={error}", "error-pread-rate=100%")
    with (
        nbdkit(tmp_path, *words_of_server) as at,
        closing(connect(at)) as client,
        pytest.raises(FailedError, match=words) as caught,
    ):
        list(client.read([(65536, 4096)]))
    assert caught.value.id == "DISK-UNREADABLE"
    assert caught.value.facts["offset"] == 65536


@pytest.mark.parametrize("what", ["pwrite", "zero"])
def test_a_failed_change_is_an_error(tmp_path: Path, what: str) -> None:
    words = ("--filter=error", "memory", "1M", f"error-{what}=EIO", f"error-{what}-rate=100%")

    def change(client: NbdClient) -> None:
        list(client.write([(0, b"x" * 512)]))
        client.write_zeroes(0, 512)

    with nbdkit(tmp_path, *words) as at, closing(connect(at)) as client, pytest.raises(FailedError) as caught:
        change(client)
    assert caught.value.id == "WRITE-FAILED"


def test_a_slow_server_loses_nothing(tmp_path: Path) -> None:
    words = ("--filter=delay", "data", 'data="x"*200000', "rdelay=20ms")
    with nbdkit(tmp_path, *words) as at, closing(connect(at)) as client:
        assert read_all(client, 20_000) == b"x" * 200000


def test_the_servers_block_sizes_are_known(tmp_path: Path) -> None:
    words = ("--filter=blocksize-policy", "memory", "1M", "blocksize-minimum=4096", "blocksize-maximum=64k")
    with nbdkit(tmp_path, *words, "blocksize-preferred=4096") as at, closing(connect(at)) as client:
        assert (client.min_block, client.max_block) == (4096, 65536)
        assert len(read_all(client, 65536)) == MIB


def test_a_server_that_dies_while_reading_is_a_lost_connection(tmp_path: Path) -> None:
    path = tmp_path / "s"
    argv = ["nbdkit", "-f", "-U", str(path), "--filter=delay", "memory", "1M", "rdelay=5"]
    with serve(argv, path) as process, closing(connect(path)) as client:
        pieces = client.read([(0, 512), (512, 512)])
        process.kill()
        began = time.monotonic()
        with pytest.raises(NbdLostError) as caught:
            list(pieces)
        assert time.monotonic() - began < 4
    assert isinstance(caught.value, UnreachableError)
    assert caught.value.id == "NBD-LOST"
