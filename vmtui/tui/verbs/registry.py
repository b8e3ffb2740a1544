"""The registry of commands: everything that a key, the palette or the command line can do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from vmtui.model.job import JobRecord
from vmtui.overview.journal import LogEntry
from vmtui.overview.points import PointView
from vmtui.overview.vms import VmRow
from vmtui.tui.picture import HostView

if TYPE_CHECKING:
    from vmtui.files.entries import Place
    from vmtui.tui.app import VmtuiApp


class Danger(StrEnum):
    """What a command may do to data."""

    NONE = "–"  # a dash is meant
    SAFE = "T0"
    """Changes something that no guest feels."""
    STOPS = "T1"
    """Can be undone, or stops something; asks."""
    DESTROYS = "T2"
    """Replaces data; asks for the name to be typed."""


WHOLE_VIEWS = ("repo", "prune")
"""Views that are about all that they show; nothing is chosen in them."""


@dataclass(frozen=True, slots=True)
class Focus:
    """What a command acts on: fixed when the key goes down."""

    view: str
    vms: tuple[VmRow, ...] = ()
    points: tuple[PointView, ...] = ()
    jobs: tuple[JobRecord, ...] = ()
    hosts: tuple[HostView, ...] = ()
    entries: tuple[LogEntry, ...] = ()
    files: tuple[Place, ...] = ()
    """In the point that is chosen, too."""
    copies: tuple[str, ...] = ()
    """Names of the repository's copies."""

    @property
    def count(self) -> int:
        """How many things."""
        return max(len(self.vms), len(self.points), len(self.jobs), len(self.hosts), len(self.entries))

    @property
    def nothing(self) -> bool:
        """Whether nothing is chosen where something should be."""
        return self.count == 0 and self.view not in WHOLE_VIEWS


def always(_app: VmtuiApp, _focus: Focus) -> str:
    """A command that can always be run."""
    return ""


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    `twin` is the command line that does the same, with {vms}, {vm}, {points}, {point}, {job}, {host} or
    {id} where the object goes, {copy} for a copy of the repository, {paths} for files; {which} are VMs or, for
    all of them, nothing. {good} and {goods} are points to bring back: of a VM the newest without known damage.
    """

    id: str
    keys: tuple[str, ...]
    label: str
    """For the footer: two words at most."""
    help: str
    run: Callable[[VmtuiApp, Focus], None]
    danger: Danger = Danger.NONE
    twin: str = ""
    views: tuple[str, ...] = ()
    """Where it applies; everywhere when empty."""
    why_not: Callable[[VmtuiApp, Focus], str] = always
    """Why it cannot be run now; empty when it can."""
    footer: int = 0
    """Place in the footer; 0 is not there."""

    def applies(self, view: str) -> bool:
        """Whether it belongs to a view."""
        return not self.views or view in self.views

    def command_line(self, focus: Focus) -> str:
        """The equivalent command line for what is chosen; names are quoted for a shell."""
        return fill(self.twin, focus)


def fill(template: str, focus: Focus) -> str:
    """Put names into a command line. Pure."""
    import shlex

    vms = [row.path for row in focus.vms] or [f"{job.host}/{job.vm}" for job in focus.jobs[:1] if job.host and job.vm]
    points: list[str] = [view.id for view in focus.points]
    jobs: list[str] = [record.id for record in focus.jobs[:1]]
    first: dict[str, list[str]] = {
        "vm": vms[:1] or ["VM"],
        "vms": vms or ["VM"],
        "which": vms,
        "point": points[:1] or ([f"{vms[0]}@latest"] if vms else ["POINT"]),
        "good": points[:1] or ([f"{vms[0]}@good"] if vms else ["POINT"]),
        "goods": points or [f"{vm}@good" for vm in vms] or ["POINT"],
        "points": points or [f"{vm}@latest" for vm in vms] or ["--all" if focus.view == "repo" else "POINT"],
        "job": jobs or ["JOB"],
        "host": [view.name for view in focus.hosts[:1]] or ["HOST"],
        "id": ["ID"],
        "copy": list(focus.copies) if len(focus.copies) == 1 else ["NAME"],
        "paths": [str(place) for place in focus.files] or ["PATH"],
        "path": [str(place) for place in focus.files[:1]] or ["PATH"],
    }
    words = []
    for word in template.split():
        if word.startswith("{") and word.endswith("}"):
            words += [shlex.quote(name) for name in first[word[1:-1]]]
        else:
            words.append(word)
    return " ".join(words)


KEY_NAMES = {
    "question_mark": "?",
    "exclamation_mark": "!",
    "slash": "/",
    "colon": ":",
    "at": "@",
    "asterisk": "*",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "minus": "-",
    "less_than_sign": "<",
    "greater_than_sign": ">",
    "escape": "esc",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "f1": "F1",
    "backspace": "bksp",
}


def key_name(key: str) -> str:
    """A key as people write it."""
    return KEY_NAMES.get(key, key)


class Registry:
    """All commands.

    Args:
        commands: In the order in which help shows them.

    Raises:
        ValueError: Two commands of one view want the same key, or have the same id.
    """

    def __init__(self, commands: Sequence[Command]) -> None:
        self.commands = tuple(commands)
        self.by_id = {command.id: command for command in commands}
        if len(self.by_id) != len(self.commands):
            raise ValueError("two commands have the same id")
        self._keys: dict[str, list[Command]] = {}
        for command in commands:
            for key in command.keys:
                for other in self._keys.get(key, []):
                    if not command.views or not other.views or set(command.views) & set(other.views):
                        raise ValueError(f"{command.id} and {other.id} want the same key {key}")
                self._keys.setdefault(key, []).append(command)

    def for_key(self, key: str, view: str) -> Command | None:
        """The command of a key in a view."""
        return next((command for command in self._keys.get(key, []) if command.applies(view)), None)

    def of_view(self, view: str) -> list[Command]:
        """Commands that belong to a view."""
        return [command for command in self.commands if command.applies(view)]

    def footer(self, view: str) -> list[Command]:
        """Commands for the footer of a view."""
        return sorted((command for command in self.of_view(view) if command.footer), key=lambda item: item.footer)
