"""Identifiers that sort by time.

Sixteen characters of Crockford's base 32 in lower case: ten for the milliseconds since 1970, six at
random. Lower case, because object stores and file systems may fold it; no `i l o u`, because people
read ids to each other.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import NewType

VmId = NewType("VmId", str)
"""A libvirt domain UUID in its canonical lower-case form."""

PointId = NewType("PointId", str)
"""A restore point's id."""

JobId = NewType("JobId", str)
"""A job's id."""

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME_CHARACTERS = 10
_RANDOM_CHARACTERS = 6
ID_LENGTH = _TIME_CHARACTERS + _RANDOM_CHARACTERS
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new_id(now: datetime) -> str:
    """A fresh id for the instant `now` [UTC]."""
    number = (now - _EPOCH) // timedelta(milliseconds=1)
    digits = []
    for _ in range(_TIME_CHARACTERS):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits)) + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARACTERS))


def is_id(text: str) -> bool:
    """Whether `text` has the form of an id."""
    return len(text) == ID_LENGTH and all(character in _ALPHABET for character in text)


def id_instant(text: str) -> datetime:
    """The instant [UTC] that an id was made for."""
    number = 0
    for character in text[:_TIME_CHARACTERS]:
        number = number * 32 + _ALPHABET.index(character)
    return _EPOCH + timedelta(milliseconds=number)
