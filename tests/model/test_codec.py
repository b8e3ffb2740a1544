from __future__ import annotations

import copy
import dataclasses
import json
import typing
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmtui.backup.cold import ColdRead
from vmtui.backup.hot import Begun, Transferred
from vmtui.backup.plan import BackupPlan
from vmtui.model.codec import from_plain, parse_instant, to_plain
from vmtui.model.job import JobSpec
from vmtui.model.point import RestorePoint
from vmtui.restore.plan import RestorePlan

KINDS: list[Any] = [RestorePoint, BackupPlan, Begun, Transferred, ColdRead, RestorePlan, JobSpec]
FOREIGN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.just(10**400)
    | st.just("0001-01-01T00:00:00+14:00"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.__name__))
@given(data=st.data())
def test_what_crosses_a_border_comes_back(kind: Any, data: st.DataObject) -> None:
    value = data.draw(values(kind))
    assert from_plain(kind, json.loads(json.dumps(to_plain(value)))) == value


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.__name__))
@given(data=st.data())
def test_hostile_data_is_a_value_error_that_names_the_kind(kind: Any, data: st.DataObject) -> None:
    plain = to_plain(data.draw(values(kind)))
    place, key = data.draw(st.sampled_from(list(places(plain))))
    if data.draw(st.booleans()):
        del place[key]
    else:
        place[key] = data.draw(FOREIGN)
    words = ""
    try:
        from_plain(kind, plain)
    except ValueError as error:
        words = str(error)
    assert not words or words.startswith(kind.__name__)


@given(FOREIGN)
def test_foreign_data_is_no_point(data: Any) -> None:
    with pytest.raises(ValueError, match="RestorePoint"):
        from_plain(RestorePoint, copy.deepcopy(data))


@given(st.text() | st.just("0001-01-01T00:00:00+14:00") | st.just("9999-12-31T23:59:59-14:00"))
def test_a_foreign_instant_is_a_value_error_or_aware(text: str) -> None:
    try:
        assert parse_instant(text).tzinfo is not None
    except ValueError:
        pass


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Instances of a kind, with small collections: what is tested is every field, not their number."""
    plain = {
        str: st.text(max_size=5),
        int: st.integers(),
        bool: st.booleans(),
        float: st.floats(allow_nan=False),
        datetime: st.datetimes(timezones=st.just(UTC)),
        Any: st.none() | st.integers() | st.text(max_size=5),
    }
    kind = getattr(kind, "__supertype__", kind)
    if kind in plain:
        return plain[kind]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return st.builds(kind, **{item.name: values(hints[item.name]) for item in dataclasses.fields(kind)})
    inner = typing.get_args(kind)
    origin = typing.get_origin(kind)
    if origin is tuple:
        return st.lists(values(inner[0]), max_size=2).map(tuple)
    if origin is list:
        return st.lists(values(inner[0]), max_size=2)
    if origin is Mapping:
        return st.dictionaries(st.text(max_size=3), values(inner[1]), max_size=2)
    return st.one_of(*(st.none() if item is type(None) else values(item) for item in inner))


def places(plain: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of plain data."""
    for key, item in plain.items() if isinstance(plain, dict) else enumerate(plain):
        yield plain, key
        if isinstance(item, dict | list):
            yield from places(item)
