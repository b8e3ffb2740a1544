"""Which places held an encrypted repository when this machine opened them.

Configuration objects are not sealed. Whoever can write to a store could put that of a plain repository there,
and wait for backups that everybody can read. A machine that knows better refuses.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from vmtui.model.errors import RefusedError, UnreachableError

_FOLDER = "encrypted"


def check(cache: Path, url: str, *, encrypted: bool) -> None:
    """Return if a place is not weaker than it was; remember that it is encrypted.

    Args:
        cache: Folder of this machine for what it knows of repositories.
        url: The place, without secrets.
        encrypted: What its configuration object says now.

    Raises:
        RefusedError: It was encrypted and says that it is not.
        UnreachableError: The folder cannot be used.
    """
    file = _file(cache, url)
    try:
        if encrypted:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        elif file.exists():
            raise RefusedError(
                "REPO-DOWNGRADED",
                f"The repository {url} was encrypted, and now its configuration object says that it is not.",
                next_step=f"Find out who changed it. If you put another repository there on purpose: rm {file}",
                url=url,
            )
    except OSError as error:
        raise UnreachableError(
            "REPO-UNREACHABLE",
            f"The folder {file.parent} cannot be used: {error}.",
            next_step="Check the state folder of the configuration: its space and its owner.",
        ) from error


def forget(cache: Path, url: str) -> None:
    """A new repository was made at this place: it may be plain."""
    _file(cache, url).unlink(missing_ok=True)


def _file(cache: Path, url: str) -> Path:
    return cache / _FOLDER / hashlib.sha256(url.encode()).hexdigest()[:32]
