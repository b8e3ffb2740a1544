"""Host points as lists and pages show them, by name, and what has changed since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmtui.model.errors import DamageError, UsageError
from vmtui.model.hostpoint import GOOD, LATEST
from vmtui.model.ids import host_subject, is_host_subject
from vmtui.model.point import PointStatus
from vmtui.overview.points import PointView, load_view
from vmtui.overview.words import unknown

if TYPE_CHECKING:
    from vmtui.hostpoint import Change
    from vmtui.repository import PointName, Repository


def host_names(repository: Repository) -> list[PointName]:
    """All points of hosts, lost ones included, oldest first."""
    everything = {*repository.points.names(), *repository.points.lost()}
    return sorted((name for name in everything if is_host_subject(name.vm)), key=lambda name: name.id)


def host_views(repository: Repository, host: str | None = None) -> list[PointView]:
    """Points of one host, or of all, newest first.

    Raises:
        UnreachableError: The repository cannot be read.
    """
    statuses = repository.points.statuses()
    names = [name for name in host_names(repository) if host is None or name.vm == host_subject(repository.id, host)]
    return [load_view(repository, name, statuses.get(name, PointStatus())) for name in reversed(names)]


def find_host_point(repository: Repository, text: str) -> PointName:
    """A host point by its id, an unambiguous start of it, `HOST@latest`, or `HOST@good`: the newest without damage.

    Raises:
        UsageError: There is none, or several, or it is a VM's.
        DamageError: It was committed and its manifest is gone, or it has known damage.
    """
    host, at, which = text.rpartition("@")
    names = host_names(repository)
    if at:
        own = [name for name in names if name.vm == host_subject(repository.id, host)]
        found = ([_good(repository, own)] if which == GOOD else own[-1:]) if own else []
        if which not in (LATEST, GOOD) or not found:
            raise UsageError(
                "NAME-UNKNOWN", f"There is no host point {text!r}.", next_step=f"Make one: vmtui host backup {host}"
            )
    else:
        found = [name for name in names if name.id == text] or [n for n in names if text and n.id.startswith(text)]
    if not found:
        raise unknown("host point", text, [name.id for name in names])
    if len(found) > 1:
        raise UsageError(
            "NAME-AMBIGUOUS", f"Several points start with {text!r}: {', '.join(n.id for n in found[:10])}."
        )
    _check(repository, found[0])
    return found[0]


def _good(repository: Repository, own: Sequence[PointName]) -> PointName:
    """The newest good one; the newest, to be refused with its reason, where none is good."""
    from vmtui.repository import newest_good

    there = [name for name in own if repository.points.exists(name)]
    return newest_good(there, repository.points.statuses()) or own[-1]


def _check(repository: Repository, name: PointName) -> None:
    if not repository.points.exists(name):
        raise DamageError(
            "POINT-MISSING", f"The point {name.id} was committed, and its manifest is gone.", point=name.id
        )
    damaged = repository.points.status(name).damaged
    if damaged:
        raise DamageError("POINT-DAMAGED", f"The point {name.id} has known damage: {damaged}", point=name.id)


@dataclass(frozen=True, slots=True)
class LinesOfChange:
    """A change in words."""

    mark: str
    """+ added, - removed, ~ changed, ? not known."""
    title: str
    details: tuple[str, ...]
    lines: tuple[str, ...]


_MARKS = {"added": "+", "removed": "-", "changed": "~", "unreadable": "?"}


def words_of(changes: Iterable[Change]) -> list[LinesOfChange]:
    """Changes in words. Pure."""
    return [LinesOfChange(_MARKS[item.what], item.title, item.details, item.lines) for item in changes]


def summary(changes: Sequence[Change]) -> str:
    """`2 added, 1 changed`, or that nothing differs. Pure."""
    counts: Mapping[str, int] = {what: sum(item.what == what for item in changes) for what in _MARKS}
    said = [f"{count} {'not known' if what == 'unreadable' else what}" for what, count in counts.items() if count]
    return ", ".join(said) or "nothing differs"
