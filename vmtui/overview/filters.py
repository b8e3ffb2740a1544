"""The filter language of lists: words, any order, all must match.

`web` occurs in the row; `~wb1` its letters do, in this order; `host:kvm3,kvm*` a field, any of these;
`age:>26h`, `rpo:>1.5`, `size:>500G` compare; `!` in front turns a word round. Case counts once a
capital is typed. Quotes hold blanks together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

Value = str | float | None
Fields = Mapping[str, Value]
"""What a row can be asked for: texts, and numbers in seconds, bytes, ratios or counts."""

KEYS = (
    "vm",
    "host",
    "state",
    "rpo",
    "age",
    "size",
    "tier",
    "points",
    "mode",
    "consistency",
    "verified",
    "kind",
    "phase",
    "error",
    "note",
    "has",
)

_UNITS = {
    "": 1,
    "m": 60,
    "h": 3600,
    "d": 86400,
    "K": 1 << 10,
    "M": 1 << 20,
    "G": 1 << 30,
    "T": 1 << 40,
}
_WORD = re.compile(r'(?:[^\s"]|"[^"]*")+|"[^"]*$')
_COMPARE = re.compile(r"(>=|<=|>|<)([0-9]+(?:\.[0-9]+)?)([mhdKMGT]?)")


class BadFilterError(ValueError):
    """A filter that says nothing; the message names the bad word."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter."""

    text: str
    terms: tuple[Callable[[str, Fields], bool], ...]

    def matches(self, text: str, fields: Fields) -> bool:
        """Whether a row passes.

        Args:
            text: All that is searched for plain words.
            fields: What `key:value` looks at.
        """
        return all(term(text, fields) for term in self.terms)


def parse_filter(text: str) -> Filter:
    """Parse what was typed. Pure.

    Raises:
        BadFilterError: A word is not understood.
    """
    return Filter(text, tuple(_term(word) for word in _WORD.findall(text)))


def _term(word: str) -> Callable[[str, Fields], bool]:
    if word.startswith("!"):
        if word == "!":
            raise BadFilterError("! needs a word behind it")
        inner = _term(word[1:])
        return lambda text, fields: not inner(text, fields)
    if word.startswith("~"):
        return _fuzzy(_unquoted(word[1:]))
    key, colon, value = word.partition(":")
    if colon and key.isalpha():
        return _field(key, value, word)
    return _plain(_unquoted(word))


def _unquoted(word: str) -> str:
    return word.replace('"', "")


def _plain(word: str) -> Callable[[str, Fields], bool]:
    if word != word.lower():
        return lambda text, _: word in text
    return lambda text, _: word in text.lower()


def _fuzzy(word: str) -> Callable[[str, Fields], bool]:
    form = re.compile(".*?".join(re.escape(letter) for letter in word), re.IGNORECASE | re.DOTALL)
    return lambda text, _: form.search(text) is not None


def _field(key: str, value: str, word: str) -> Callable[[str, Fields], bool]:
    if key not in KEYS:
        raise BadFilterError(f"{word}: there is no {key}; known are {', '.join(KEYS)}")
    compare = _COMPARE.fullmatch(value)
    if compare is not None:
        return _comparison(key, compare[1], float(compare[2]) * _UNITS[compare[3]])
    if value[:1] in ("<", ">"):
        raise BadFilterError(f"{word}: a number with m, h, d, K, M, G or T is needed")
    if not value:
        raise BadFilterError(f"{word}: a value is needed")
    wanted = [_unquoted(item).lower() for item in value.split(",")]
    return lambda _, fields: any(_equal(item, fields.get(f"{key}:word", fields.get(key))) for item in wanted)


def _equal(wanted: str, value: Value) -> bool:
    if value is None:
        return wanted in ("never", "none", "-")
    text = str(value).lower()
    return fnmatchcase(text, wanted) if any(sign in wanted for sign in "*?[") else wanted in [*text.split(), text]


def _comparison(key: str, sign: str, limit: float) -> Callable[[str, Fields], bool]:
    def test(_: str, fields: Fields) -> bool:
        value = fields.get(key)
        if not isinstance(value, int | float):
            return False
        return {">": value > limit, "<": value < limit, ">=": value >= limit, "<=": value <= limit}[sign]

    return test
