"""What differs between two states of a host. Pure; passwords never come out of it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from vmtui.hostpoint.canonical import canonical
from vmtui.hostpoint.capture import unreadable
from vmtui.hostpoint.hiding import shown, shown_xml
from vmtui.model.hostpoint import Entry, HostState, Part, PartKind

_LINES = 400
"""A longer difference of one part is cut."""
_WORDS = {True: "yes", False: "no", None: "not known"}


class What(StrEnum):
    """How a part differs."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    UNREADABLE = "unreadable"
    """It was read before and could not be read now, or the other way round: whether it changed is not known."""


@dataclass(frozen=True, slots=True)
class Change:
    """One part that differs."""

    kind: PartKind
    name: str
    what: What
    details: tuple[str, ...] = ()
    """What differs beside the content: `autostart: yes, now no`."""
    lines: tuple[str, ...] = ()
    """A unified diff of the content in its canonical form, without passwords."""

    @property
    def title(self) -> str:
        """`network default`."""
        return f"{self.kind} {self.name}"


def compare(before: HostState, after: HostState) -> tuple[Change, ...]:
    """What differs, sorted by kind and name."""
    order = list(PartKind)
    keys = sorted({*before.parts, *after.parts}, key=lambda key: (order.index(key[0]), key[1]))
    found = []
    for key in keys:
        old, new = before.parts.get(key), after.parts.get(key)
        if old is None and new is not None:
            found.append(_one_sided(new, What.ADDED, unreadable(key, before.left_out)))
        elif new is None and old is not None:
            found.append(_one_sided(old, What.REMOVED, unreadable(key, after.left_out)))
        elif old is not None and new is not None and old.entry != new.entry:
            found.append(_changed(old, new))
    return tuple(found)


def _one_sided(part: Part, what: What, reason: str) -> Change:
    kind, name = part.key
    if reason:
        return Change(kind, name, What.UNREADABLE, (reason,))
    return Change(kind, name, what, tuple(_facts(part.entry)))


def _facts(entry: Entry) -> list[str]:
    found = [f"{name}: {value}" for name, value in sorted(entry.facts.items())]
    if entry.active is not None:
        found.append(f"active: {_WORDS[entry.active]}")
    if entry.autostart is not None:
        found.append(f"autostart: {_WORDS[entry.autostart]}")
    return found


def _changed(old: Part, new: Part) -> Change:
    kind, name = new.key
    details = _differing("active", _WORDS[old.entry.active], _WORDS[new.entry.active])
    details += _differing("autostart", _WORDS[old.entry.autostart], _WORDS[new.entry.autostart])
    facts: tuple[Mapping[str, str], Mapping[str, str]] = (old.entry.facts, new.entry.facts)
    for fact in sorted({*facts[0], *facts[1]}):
        details += _differing(fact, facts[0].get(fact, "none"), facts[1].get(fact, "none"))
    lines: tuple[str, ...] = ()
    if old.entry.digest != new.entry.digest:
        lines = _diff(visible(old), visible(new))
        if not lines:
            details.append("what is not shown of it differs: a password, or bytes that are no text")
    return Change(kind, name, What.CHANGED, tuple(details), lines)


def _differing(name: str, old: str, new: str) -> list[str]:
    return [f"{name}: {old}, now {new}"] if old != new else []


def visible(part: Part) -> str:
    """A part's content in its canonical form, as it may be shown; empty when nothing of it may. Pure."""
    kind = part.entry.kind
    if kind.hidden:
        return ""
    if kind is PartKind.FILE:
        return shown(part.content).content.decode()
    return shown_xml(canonical(kind, part.content)) if kind.xml else canonical(kind, part.content)


def _diff(old: str, new: str) -> tuple[str, ...]:
    found = list(difflib.unified_diff(old.splitlines(), new.splitlines(), "before", "after", n=2, lineterm=""))
    if len(found) > _LINES:
        found = [*found[:_LINES], f"… {len(found) - _LINES} more lines"]
    return tuple(found[2:])
