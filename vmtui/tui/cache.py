"""The picture of the last session, so that the first screen is not empty. It says how old it is."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from vmtui.model.codec import from_plain, to_plain
from vmtui.tui.picture import CatalogueView, HostView, Picture

_FILE = "picture.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class _Saved:
    format: int
    hosts: tuple[HostView, ...]
    catalogue: CatalogueView


def save_picture(state: Path, picture: Picture) -> None:
    """Keep what is known; a folder that cannot be written costs nothing but the head start."""
    saved = _Saved(_FORMAT, tuple(picture.hosts.values()), picture.catalogue)
    temporary = state / f"{_FILE}.{os.getpid()}"
    try:
        state.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(to_plain(saved)), encoding="utf-8")
        temporary.replace(state / _FILE)
    except OSError:
        with contextlib.suppress(OSError):  # of a file system that became read-only
            temporary.unlink(missing_ok=True)


def load_picture(state: Path) -> Picture | None:
    """What was kept; None when there is nothing that can be read."""
    try:
        saved = from_plain(_Saved, json.loads((state / _FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    if saved.format != _FORMAT:
        return None
    return Picture(hosts={view.name: view for view in saved.hosts}, catalogue=saved.catalogue, cached=True)
