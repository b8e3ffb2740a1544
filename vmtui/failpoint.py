"""Named places where a test can stop the program dead.

A crash is only tested where it can be made to happen. `VMTUI_FAILPOINT` in the environment names a
place and what to do there: `backup.begun=kill` ends the process as `kill -9` does,
`backup.transfer=hold:/path` waits while that file exists, `repository.manifest=error` raises. `restore.half#2=kill`
means the second time that the place is reached. Several are separated by commas. Without the variable a failpoint
costs one look at an empty mapping.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

NAMES = frozenset(
    {
        # hot and paused backup
        "backup.planned",
        "backup.guarded",
        "backup.frozen",
        "backup.begun",
        "backup.thawed",
        "backup.transfer",
        "backup.half",
        "backup.read",
        "backup.collected",
        "backup.packed",
        "backup.indexed",
        "backup.committed",
        "backup.ended",
        "backup.accepted",
        # cold backup
        "cold.guarded",
        "cold.stopped",
        "cold.serving",
        "cold.half",
        "cold.read",
        "cold.marked",
        "cold.started",
        # restore
        "restore.planned",
        "restore.stopped",
        "restore.overlaid",
        "restore.created",
        "restore.half",
        "restore.written",
        "restore.verified",
        "restore.kept",
        "restore.rebased",
        "restore.swapped",
        "restore.defined",
        "restore.started",
        # undoing a restore in place
        "revert.stopped",
        "revert.folded",
        "revert.swapped",
        "revert.defined",
        "revert.ended",
        # letting go what it kept
        "discard.pulling",
        "discard.folded",
        "discard.removed",
        # instant restore
        "instant.serving",
        "instant.created",
        "instant.defined",
        "instant.started",
        "instant.running",
        "instant.moving",
        "instant.moved",
        "instant.compared",
        # a host point, and a part of one brought back
        "host.captured",
        "host.defined",
        # rehearsal
        "rehearsal.planned",
        "rehearsal.guarded",
        "rehearsal.served",
        "rehearsal.created",
        "rehearsal.running",
        "rehearsal.marked",
        "rehearsal.pictured",
        "rehearsal.destroyed",
        "rehearsal.kept",
        "rehearsal.recorded",
        # deleting a point
        "prune.marked",
        "prune.unlisted",
        "prune.forgotten",
        # garbage collection
        "gc.repacked",
        "gc.named",
        "gc.indexed",
        "gc.unindexed",
        "gc.deleted",
    }
)
"""Every place; a test walks this set, so a new phase cannot be forgotten."""

_HOLD_POLL_S = 0.02
_HOLD_LIMIT_S = 600.0


class FailpointError(Exception):
    """Raised by the action `error`; nothing in the program knows it."""


def _parse(text: str) -> dict[str, str]:
    actions = dict(item.split("=", 1) for item in text.split(",") if item)
    if unknown := {name.partition("#")[0] for name in actions} - NAMES:
        raise ValueError(f"VMTUI_FAILPOINT names unknown places: {sorted(unknown)}")
    return actions


_ACTIONS = _parse(os.environ.get("VMTUI_FAILPOINT", ""))
_reached: Counter[str] = Counter()


def failpoint(name: str) -> None:
    """Do what the environment asks for at this place; nothing by default."""
    if not _ACTIONS:
        return
    _reached[name] += 1
    action = _ACTIONS.get(name) or _ACTIONS.get(f"{name}#{_reached[name]}")
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "error":
        raise FailpointError(name)
    elif action is not None and action.startswith("hold:"):
        _hold(Path(action.removeprefix("hold:")))


def _hold(path: Path) -> None:
    """Wait while `path` exists, if it does; `path`.reached then tells the test that we are here."""
    if not path.exists():
        return
    path.with_name(path.name + ".reached").touch()
    deadline = time.monotonic() + _HOLD_LIMIT_S
    while path.exists() and time.monotonic() < deadline:
        time.sleep(_HOLD_POLL_S)
