"""Frozen dataclasses to plain JSON data and back.

What crosses a process border or lands in the repository is plain data: dicts, lists, strings,
numbers, true, false, null. Unknown keys are ignored, so that a newer writer may add some; a missing
key without a default is an error.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, TypeVar

T = TypeVar("T")

_EXACT = 1 << 53
"""Whole numbers up to here are the same as floats."""


def to_plain(value: Any) -> Any:
    """Turn dataclasses, enums, instants, tuples and mappings into JSON-able data."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, datetime):
        return format_instant(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list | frozenset | set):
        return [to_plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no plain form")


def from_plain(cls: type[T], data: Any) -> T:
    """Build `cls` from plain data.

    Raises:
        ValueError: The data does not have the shape of `cls`; the message names the field.
    """
    return typing.cast("T", _build(cls, data, cls.__name__))


def format_instant(instant: datetime) -> str:
    """ISO 8601 in UTC with microseconds."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_instant(text: str) -> datetime:
    """The inverse of `format_instant`.

    Raises:
        ValueError: Not an instant, or one without a zone.
    """
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    try:
        return instant.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} is outside of the calendar") from error


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _build(kind: Any, data: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _build_union(kind, data, where)
    if origin in (tuple, list):
        if not isinstance(data, list):
            raise ValueError(f"{where}: a list is needed")
        item_kind = typing.get_args(kind)[0]
        return origin(_build(item_kind, item, f"{where}[{index}]") for index, item in enumerate(data))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(data, dict):
            raise ValueError(f"{where}: an object is needed")
        item_kind = typing.get_args(kind)[1]
        return {key: _build(item_kind, item, f"{where}.{key}") for key, item in data.items()}
    return _build_plain(kind, data, where)


def _build_union(kind: Any, data: Any, where: str) -> Any:
    kinds = [item for item in typing.get_args(kind) if item is not type(None)]
    if data is None and len(kinds) < len(typing.get_args(kind)):
        return None
    if len(kinds) != 1:
        raise ValueError(f"{where}: a union of several kinds cannot be read")
    return _build(kinds[0], data, where)


def _build_plain(kind: Any, data: Any, where: str) -> Any:
    if kind is Any:
        return data
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(typing.cast("type", kind), data, where)
    kind = getattr(kind, "__supertype__", kind)
    if kind is datetime:
        if not isinstance(data, str):
            raise ValueError(f"{where}: an instant is needed")
        try:
            return parse_instant(data)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(data)
        except ValueError:
            raise ValueError(f"{where}: {data!r} is not one of {[item.value for item in kind]}") from None
    if kind is float and type(data) is int and abs(data) <= _EXACT:
        return float(data)
    if type(data) is not kind:
        raise ValueError(f"{where}: {getattr(kind, '__name__', kind)} is needed, not {type(data).__name__}")
    return data


def _build_dataclass(cls: type, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise ValueError(f"{where}: an object is needed")  # noqa: TRY004  # bad data, not a bad call
    hints = _hints(cls)
    values = {}
    for field in dataclasses.fields(cls):
        if field.name in data:
            values[field.name] = _build(hints[field.name], data[field.name], f"{where}.{field.name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where}.{field.name} is missing")
    return cls(**values)
