"""Which places held an encrypted repository, or a copy, when this machine opened them.

Configuration objects are not sealed. Whoever can write to a store could put that of a plain repository there,
and wait for backups that everybody can read. A machine that knows better refuses. And a copy is not begun anew below
the mount point of a file system that is not mounted.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from vmtui.model.errors import RefusedError, UnreachableError

_ENCRYPTED = "encrypted"
_BEGUN = "begun"


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
    file = _file(cache, url, _ENCRYPTED)
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
    _file(cache, url, _ENCRYPTED).unlink(missing_ok=True)


def begun(cache: Path, url: str) -> Path:
    """The file whose being there says that this machine has seen a copy at a place."""
    return _file(cache, url, _BEGUN)


def _file(cache: Path, url: str, kind: str) -> Path:
    return cache / kind / hashlib.sha256(url.encode()).hexdigest()[:32]
