"""Reading typed values out of a TOML table, with errors that say where and what was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from vmtui.model.errors import UsageError

T = TypeVar("T")

_DURATION_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_LIMIT = 1 << 53
"""No duration is longer [s]; a float holds every whole number below."""
_SIZE = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint like "did you mean 'rpo'?", or the list of what is known."""
    names = sorted(known)
    matches = difflib.get_close_matches(word, names, n=1)
    if matches:
        return f"did you mean {matches[0]!r}?"
    return f"known: {', '.join(names)}" if names else "none is known"


def duration_s(text: str) -> int:
    """`4h`, `90m`, `1d12h` as seconds.

    Raises:
        ValueError: Not a duration, or not longer than zero.
    """
    if not re.fullmatch(r"(\d+[smhdw])+", text):
        raise ValueError("a duration like '4h', '90m' or '1d12h' is needed")
    total = sum(int(number) * _DURATION_S[unit] for number, unit in re.findall(r"(\d+)([smhdw])", text))
    if not 0 < total < _LIMIT:
        raise ValueError("a duration above zero, and shorter than the world is old, is needed")
    return total


def size_bytes(text: str) -> int:
    """`256M`, `1GiB` as bytes; units are powers of 1024.

    Raises:
        ValueError: Not a size.
    """
    match = re.fullmatch(r"(\d+)\s*([KMGT]?)(i?B)?", text)
    if not match:
        raise ValueError("a size like '256M' or '1GiB' is needed")
    return int(match[1]) * _SIZE[match[2]]


class Table:
    """One TOML table while it is read; `finish` complains of what nobody asked for."""

    def __init__(self, file: str, where: str, data: Any) -> None:
        self.file = file
        self._where = where
        self._known: set[str] = set()
        if not isinstance(data, dict):
            raise self.error("", "a table is needed")
        self._data: dict[str, Any] = data

    def error(self, key: str, reason: str) -> UsageError:
        """The error for one key of this table."""
        name = ".".join(part for part in (self._where, key) if part)
        return UsageError(
            "CONFIG-INVALID",
            f"{self.file}: {name or 'the file'}: {reason}",
            next_step=f"Correct {name or 'the file'} in {self.file}.",
            file=self.file,
            key=name,
        )

    def has(self, key: str) -> bool:
        """Whether the key is given."""
        self._known.add(key)
        return key in self._data

    def take(self, key: str, kind: type[T], default: T | None = None) -> T:
        """The key's value; without a default it must be given."""
        if not self.has(key):
            if default is None:
                raise self.error(key, "is missing" + self._misspelt(key))
            return default
        value = self._data[key]
        if kind is float and type(value) is int and abs(value) < _LIMIT:
            value = float(value)
        if type(value) is not kind:
            raise self.error(key, f"{kind.__name__} is needed, not {type(value).__name__}")
        return value

    def _misspelt(self, key: str) -> str:
        """A key of the file that may be meant."""
        near = difflib.get_close_matches(key, self._data, n=1)
        return f"; is {near[0]!r} meant?" if near else ""

    def optional(self, key: str, kind: type[T]) -> T | None:
        """The key's value, or None when it is not given."""
        return self.take(key, kind) if self.has(key) else None

    def parsed(self, key: str, parse: Callable[[str], T], default: T | None = None) -> T:
        """The key's text, turned into a value by `parse`, whose ValueError becomes ours."""
        if not self.has(key) and default is not None:
            return default
        text = self.take(key, str)
        try:
            return parse(text)
        except ValueError as error:
            raise self.error(key, f"{text!r}: {error}") from error

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty when not given."""
        values = self.take(key, list, [])
        if not all(isinstance(value, str) for value in values):
            raise self.error(key, "a list of texts is needed")
        return tuple(values)

    def table(self, key: str) -> Table:
        """A table inside this one; empty when not given."""
        value = self._data.get(key, {})
        self._known.add(key)
        return Table(self.file, ".".join(part for part in (self._where, key) if part), value)

    def tables(self, key: str) -> list[Table]:
        """A list of tables; empty when not given."""
        values = self.take(key, list, [])
        name = ".".join(part for part in (self._where, key) if part)
        return [Table(self.file, f"{name}[{index}]", value) for index, value in enumerate(values)]

    def names(self) -> list[str]:
        """The keys of a table whose keys are names."""
        self._known.update(self._data)
        return list(self._data)

    def finish(self) -> None:
        """Refuse keys that nobody asked for."""
        for key in self._data:
            if key not in self._known:
                raise self.error(key, f"is not a known key; {nearest(key, self._known)}")
