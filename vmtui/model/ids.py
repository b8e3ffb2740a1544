"""Identifiers that sort by time.

Sixteen characters of Crockford's base 32 in lower case: ten for the milliseconds since 1970, six at
random. Lower case, because object stores and file systems may fold it; no `i l o u`, because people
read ids to each other.
"""

from __future__ import annotations

import re
import secrets
import uuid
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


# -- points of a host ----------------------------------------------------------------------------

_HOST_PREFIX = "686f7374"
"""`host` in ASCII; with version 8 of RFC 9562, which is nobody's but its maker's, no VM gets such a UUID by itself."""
_HOST_SUBJECT = re.compile(_HOST_PREFIX + r"-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_NAMESPACE = uuid.UUID("5b1c6f1e-93a5-4d0c-8f0e-2f1d0c6b9a77")


def host_subject(repository: str, host: str) -> VmId:
    """The id under which a repository keeps the points of a host's own configuration."""
    digits = str(uuid.uuid5(_NAMESPACE, f"{repository}/{host}"))
    return VmId(f"{_HOST_PREFIX}{digits[8:14]}8{digits[15:]}")


def is_host_subject(vm: str) -> bool:
    """Whether an id stands for a host's configuration, not for a VM."""
    return _HOST_SUBJECT.fullmatch(vm) is not None
