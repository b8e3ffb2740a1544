"""Passwords and passphrases that an operator typed: kept in memory alone, never in a file, an argument or the environment."""

from __future__ import annotations

import threading

REPOSITORY = "the repository"
"""Stands for the repository where a host is asked for; no host has a name with a blank."""

_lock = threading.Lock()
_kept: dict[str, str] = {}


def keep(host: str, secret: str) -> None:
    """Remember what was typed for a host, until the process ends."""
    with _lock:
        _kept[host] = secret


def kept(host: str) -> str | None:
    """What was typed for a host."""
    with _lock:
        return _kept.get(host)


def everything() -> dict[str, str]:
    """All that was typed, by host."""
    with _lock:
        return dict(_kept)
