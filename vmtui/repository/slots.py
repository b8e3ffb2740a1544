"""Key slots: a repository's secrets, wrapped so that a passphrase opens them.

Each slot is an object of its own, so a passphrase is added or taken away without touching the data. The key
that wraps comes from the passphrase by Argon2id (RFC 9106) with the second recommended set of parameters.

The *paper key* is the secrets themselves, in letters that can be typed from paper: it opens the repository
when every passphrase is forgotten and every slot is lost.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from vmtui.model.codec import format_instant
from vmtui.model.errors import DamageError, UsageError
from vmtui.model.ids import new_id
from vmtui.repository.keys import KEY_SIZE, SECRET_SIZE, Keys
from vmtui.repository.records import Records
from vmtui.repository.store import KEYS, damaged

_MEMORY_KIB = 64 << 10
_ITERATIONS = 3
_LANES = 4
_MAX_MEMORY_KIB = 4 << 20
_MAX_ITERATIONS = 1000
_MAX_LANES = 256
"""A slot is not sealed: whoever can write to the store must not be able to keep us busy for ever."""
_NONCE = bytes(12)
"""A wrapping key wraps one thing, as its salt is random; so its only nonce may be this."""
_PAPER_CHECK = 4
_PAPER_HEAD = "vmtui paper key"


@dataclass(frozen=True, slots=True)
class Slot:
    """A way to open the repository."""

    id: str
    label: str
    created: str


def add_slot(records: Records, repository: str, keys: Keys, passphrase: str, label: str, now: datetime) -> Slot:
    """Let a further passphrase open the repository; durable when this returns.

    Raises:
        UsageError: The passphrase is empty.
    """
    if not passphrase:
        raise UsageError("REPO-PASSPHRASE-WRONG", "A passphrase must not be empty.")
    slot = new_id(now)
    value: dict[str, Any] = {
        "kdf": "argon2id",
        "salt": secrets.token_bytes(16).hex(),
        "memory_kib": _MEMORY_KIB,
        "iterations": _ITERATIONS,
        "lanes": _LANES,
        "label": label,
        "created": format_instant(now),
    }
    value["wrapped"] = AESGCM(_wrapping_key(value, passphrase)).encrypt(_NONCE, keys.secret, _bound(repository)).hex()
    records.put(KEYS, slot, value)
    return Slot(slot, label, value["created"])


def unlock(records: Records, repository: str, passphrase: str) -> tuple[Keys, str]:
    """The secrets, by the first slot that the passphrase opens, and that slot's id.

    Raises:
        DamageError: No slot can be read.
        UsageError: The passphrase opens none.
    """
    items = records.list(KEYS)
    broken: DamageError | None = None
    for item in items:
        try:
            opened = _try(records.get(KEYS, item.name), repository, passphrase, item.name)
        except DamageError as error:
            broken = error
            continue
        if opened is not None:
            return opened, item.name
    if broken is not None or not items:
        raise broken or DamageError(
            "REPO-OBJECT-MISSING",
            "No key slot of the repository is left.",
            next_step="Use the paper key: vmtui key import",
        )
    raise UsageError("REPO-PASSPHRASE-WRONG", "This passphrase opens none of the repository's key slots.")


def slots(records: Records) -> list[Slot]:
    """All slots, oldest first.

    Raises:
        DamageError: One cannot be read.
    """
    found = []
    for item in records.list(KEYS):
        value = records.get(KEYS, item.name)
        found.append(Slot(item.name, str(value.get("label", "")), str(value.get("created", ""))))
    return found


def _try(value: Any, repository: str, passphrase: str, slot: str) -> Keys | None:
    try:
        known = value["kdf"] == "argon2id" and 0 < value["memory_kib"] <= _MAX_MEMORY_KIB
        if not known or value["iterations"] > _MAX_ITERATIONS or value["lanes"] > _MAX_LANES:
            raise damaged(KEYS, slot, "its key derivation is not known")
        opened = AESGCM(_wrapping_key(value, passphrase)).decrypt(
            _NONCE, bytes.fromhex(value["wrapped"]), _bound(repository)
        )
    except InvalidTag:
        return None
    except (KeyError, TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise damaged(KEYS, slot, f"a field is not as written: {error}") from error
    return Keys(opened)


def _wrapping_key(value: Any, passphrase: str) -> bytes:
    derive = Argon2id(
        salt=bytes.fromhex(value["salt"]),
        length=KEY_SIZE,
        iterations=value["iterations"],
        lanes=value["lanes"],
        memory_cost=value["memory_kib"],
    )
    return derive.derive(passphrase.encode())


def _bound(repository: str) -> bytes:
    return f"vmtui key slot of {repository}".encode()


# -- on paper ------------------------------------------------------------------------------------


def paper_key(repository: str, keys: Keys) -> str:
    """The secrets as lines of text, each with a check of its own.

    vmtui paper key
    repository 0123456789abcdef0123456789abcdef
    1: ABCD-EFGH-… CHK4
    """
    secret = keys.secret
    lines = [_PAPER_HEAD, f"repository {repository}"]
    for number, start in enumerate(range(0, len(secret), 10), start=1):
        text = base64.b32encode(secret[start : start + 10]).decode().rstrip("=")
        groups = "-".join(text[place : place + 4] for place in range(0, len(text), 4))
        lines.append(f"{number}: {groups} {_check(number, text)}")
    return "\n".join(lines) + "\n"


def read_paper_key(text: str, repository: str) -> Keys:
    """The inverse of `paper_key`; forgiving about case, spaces and empty lines.

    Raises:
        UsageError: A line is wrong, named by its number; or it is another repository's key.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    secret = b""
    expected = 1
    for line in lines:
        head, _, rest = line.partition(":")
        if line.lower().startswith("repository") and line.split()[-1].lower() != repository:
            raise UsageError("PAPER-KEY-BAD", f"This is the paper key of another repository, {line.split()[-1]}.")
        if not rest or not head.strip().isdigit():
            continue
        letters = "".join(rest.upper().replace("-", " ").split())
        body, check = letters[:-_PAPER_CHECK], letters[-_PAPER_CHECK:]
        if int(head) != expected or _check(expected, body) != check:
            raise UsageError("PAPER-KEY-BAD", f"Line {head.strip()} of the paper key is not as printed.")
        try:
            secret += base64.b32decode(body + "=" * (-len(body) % 8))
        except binascii.Error as error:
            raise UsageError("PAPER-KEY-BAD", f"Line {expected} of the paper key is not as printed.") from error
        expected += 1
    if len(secret) != SECRET_SIZE:
        raise UsageError("PAPER-KEY-BAD", f"The paper key has {expected - 1} good lines; 7 are needed.")
    return Keys(secret)


def _check(number: int, text: str) -> str:
    digest = hashlib.sha256(f"{number}:{text}".encode()).digest()
    return base64.b32encode(digest).decode()[:_PAPER_CHECK]
