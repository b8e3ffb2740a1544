"""Changing the configuration file: only what was asked for; everything else keeps its place and its comments."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import tomli_w

from vmtui.config.load import parse
from vmtui.model.errors import UsageError


def add_host(path: Path, name: str, values: Mapping[str, str | int]) -> None:
    """Add a host at the end of the file; the file is replaced in one step, and only if it is still right.

    Args:
        path: The configuration file.
        name: The host's name in it.
        values: Keys of its table.

    Raises:
        UsageError: The name is taken or no name, a value is wrong, or the file cannot be written.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("CONFIG-INVALID", f"{path} cannot be read: {error}", file=str(path)) from error
    if name in parse(text, path).hosts:
        raise UsageError("CONFIG-INVALID", f"{path} has a host {name} already.", next_step="Choose another name.")
    table = tomli_w.dumps({"hosts": {name: dict(values)}})
    table = table.removeprefix("[hosts]\n")
    new = text + ("" if text.endswith("\n") else "\n") + "\n" + table
    parse(new, path)
    _replace(path, new)


def _replace(path: Path, text: str) -> None:
    try:
        mode = path.stat().st_mode & 0o777
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=path.name, delete=False
        ) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).chmod(mode)
        Path(file.name).replace(path)
    except OSError as error:
        raise UsageError("CONFIG-INVALID", f"{path} cannot be written: {error.strerror}", file=str(path)) from error


def host_values(place: str) -> dict[str, str | int]:
    """`[user@]address[:port]` as keys of a host's table. Pure.

    Raises:
        UsageError: It is not such a place.
    """
    user, _, rest = place.strip().rpartition("@")
    address, colon, port = rest.partition(":")
    if not address or " " in address or (colon and not port.isdigit()):
        raise UsageError("NAME-BAD", f"{place!r} is not a place.", next_step="Example: root@kvm1:22")
    values: dict[str, str | int] = {"address": address}
    if user:
        values["user"] = user
    return values | ({"port": int(port)} if colon else {})
