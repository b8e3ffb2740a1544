"""Captured files come back piece by piece, exactly as they went in."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.support.repositories import BLOCK, create, noise
from vmtui.model.point import CapturedFile, Role
from vmtui.repository import FANOUT, store_stream
from vmtui.restore.belongings import stream_pieces, stream_sha256

LEAF = FANOUT * BLOCK


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"short", id="less than a block"),
        pytest.param(bytes(3 * BLOCK + 7), id="zeroes of an odd length"),
        pytest.param(noise(1, 3) + bytes(5 * BLOCK) + b"tail", id="a hole in a leaf"),
        pytest.param(bytes(LEAF) + noise(2, 2) + bytes(LEAF), id="leaves of zeroes around data"),
        pytest.param(noise(3, 1) + bytes(2 * LEAF + 100), id="zeroes at the end, of an odd length"),
    ],
)
def test_stream_comes_back_as_it_was(tmp_path: Path, data: bytes) -> None:
    repository = create(tmp_path)
    writer = repository.writer(1)
    try:
        root = store_stream(data, writer, BLOCK).hex()
        writer.settle()
    finally:
        writer.close()
    assert b"".join(stream_pieces(repository, "file", len(data), root)) == data
    item = CapturedFile(Role.TPM, "/state", len(data), root)
    assert stream_sha256(repository, item.label, item) == hashlib.sha256(data).hexdigest()
