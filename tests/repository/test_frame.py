from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmtui.model.errors import DamageError
from vmtui.repository.frame import seal, unseal

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)


@given(JSON, st.text(st.characters(codec="ascii"), min_size=1))
def test_a_sealed_value_comes_back(value: object, name: str) -> None:
    assert unseal("points", name, seal("points", name, value)) == value


def test_a_flipped_byte_or_a_cut_anywhere_is_found() -> None:
    data = seal("points", "a", {"name": "x", "list": [1, 2, 3]})
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 0x01
        for bad in (bytes(flipped), data[:place]):
            with pytest.raises(DamageError):
                unseal("points", "a", bad)


@pytest.mark.parametrize(("namespace", "name"), [("points", "b"), ("events", "a")])
def test_an_object_cannot_take_another_ones_place(namespace: str, name: str) -> None:
    with pytest.raises(DamageError):
        unseal(namespace, name, seal("points", "a", 1))


@given(st.binary(max_size=200))
def test_foreign_bytes_are_damage(data: bytes) -> None:
    with pytest.raises(DamageError):
        unseal("points", "a", data)
