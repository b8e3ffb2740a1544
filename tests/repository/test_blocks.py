from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmtui.repository.blocks import Codec, Kind, Packer, Unpacker
from vmtui.repository.keys import PLAIN

DATAS = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=3000),
        st.builds(lambda b, n: b * n, st.binary(min_size=1, max_size=4), st.integers(1, 2000)),
    ),
    min_size=1,
    max_size=8,
)


@given(DATAS)
def test_what_is_packed_is_unpacked(datas: list[bytes]) -> None:
    blobs = Packer(3).pack([PLAIN.block_id(data) for data in datas], Kind.BLOCK, [memoryview(data) for data in datas])
    unpacker = Unpacker()
    assert [unpacker.unpack(blob.codec, bytes(blob.payload), blob.size) for blob in blobs] == datas
    assert all(len(blob.payload) <= blob.size for blob in blobs)


@given(st.binary(max_size=2000), st.sampled_from([0, 1, 2, 255]), st.integers(0, 5000))
def test_foreign_bytes_give_data_of_that_size_or_none(payload: bytes, codec: int, size: int) -> None:
    data = Unpacker().unpack(codec, payload, size)
    assert data is None or len(data) == size


@pytest.mark.parametrize("size", [99, 101])
def test_a_payload_of_another_size_is_not_unpacked(size: int) -> None:
    (blob,) = Packer(3).pack([b""], Kind.BLOCK, [b"a" * 100])
    assert blob.codec == Codec.ZSTD
    assert Unpacker().unpack(blob.codec, blob.payload, size) is None


@given(st.binary(max_size=100))
def test_no_block_can_pass_for_a_node(data: bytes) -> None:
    assert PLAIN.block_id(data) != PLAIN.node_id(data)
