"""View 6: the repository: room, points, how much of it was proven."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar

from textual.containers import VerticalScroll
from textual.widget import Widget

from vmtui.model.address import without_secrets
from vmtui.overview.room import forecast_of, forecast_words
from vmtui.overview.words import age, size
from vmtui.tui import clock
from vmtui.tui.picture import CatalogueView, Picture
from vmtui.tui.screens.base import Page
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.widgets.frame import Piece, Text

_OLD_S = 30 * 86400
_LATE_S = 60.0
"""It is read more often than this while it answers."""


class RepoView(Page):
    """The repository in numbers."""

    VIEW: ClassVar[str] = "repo"
    HELP: ClassVar[str] = (
        "Where the points are: how much is stored, how much room is left, and how many points were read again since "
        "they were made. v verifies everything: it reads every byte and compares it with its hash. f shows what the keep rules let go, and g frees the space of what no point needs any more. "
        "c looks whether every object is there, s sends to the copies what is missing there, m mends after damage, u "
        "gives the passphrase of an encrypted repository."
    )

    def body(self) -> Iterable[Widget]:
        """One text."""
        with VerticalScroll(classes="scroll", can_focus=False):
            yield Text(id="facts")

    def draw(self, picture: Picture, /) -> None:
        """Show the numbers."""
        self.query_one("#facts", Text).say(
            repo_words(without_secrets(self.ui.settings.repository), picture.catalogue, clock.now())
        )

    def focus_now(self) -> Focus:
        """The repository has no rows; of its copies, all are meant."""
        return Focus(self.VIEW, copies=tuple(self.ui.settings.copies))


def repo_words(address: str, view: CatalogueView, now: datetime) -> list[list[Piece]]:
    """The repository in words. Pure."""
    lines: list[list[Piece]] = [[("Repository  ", "strong"), (address, "")]]
    if view.error is not None:
        lines.append([("State       ", "strong"), (f"✗ {view.error['cause']}", "bad")])
        lines.append([("            ", ""), (f"{view.error['next_step']} [{view.error['id']}]", "")])
    if view.as_of is None:
        return lines if view.error is not None else [*lines, [("State       ", "strong"), ("not read yet", "dim")]]
    seconds = (now - view.as_of).total_seconds()
    if view.error is None and seconds > _LATE_S:
        lines.append([("State       ", "strong"), ("? asked, no answer yet; what follows was read before", "unknown")])
    elif view.error is None:
        lines.append([("State       ", "strong"), ("✓ can be read", "good")])
    lines.append([("As of       ", "strong"), (f"{age(seconds)} ago", "dim")])
    return lines + _numbers(view, now)


def _numbers(view: CatalogueView, now: datetime) -> list[list[Piece]]:
    points = view.points
    damaged = [point for point in points if point.damaged]
    never = [point for point in points if point.verified is None and not point.damaged]
    old = [point for point in points if point.verified is not None and (now - point.verified).total_seconds() > _OLD_S]
    proven = len(points) - len(damaged) - len(never)
    logical = sum(point.virtual_size for point in points)
    ratio = f"  {logical / view.stored_bytes:.1f} bytes of disks for each byte stored" if view.stored_bytes else ""
    vms = len({point.uuid for point in points})
    lines: list[list[Piece]] = [
        [("Id          ", "strong"), (view.repository, "dim")],
        [("Points      ", "strong"), (f"{len(points)} of {vms} VMs", "")],
        [("Stored      ", "strong"), (f"{size(view.stored_bytes)} in {view.packs} packs with {view.blobs} blocks and map nodes", ""), (ratio, "dim")],
        [("Free        ", "strong"), (size(view.free_bytes), "")],
        [("Full in     ", "strong"), (forecast_words(forecast_of(points, view.free_bytes, now)), "")],
        [("Block size  ", "strong"), (size(view.block_size), "")],
        [("Verified    ", "strong"), (f"✓ {proven} point{'' if proven == 1 else 's'}", "good" if proven else "dim"), (f", {len(old)} of them more than 30 days ago" if old else "", "warn")],
        [("            ", ""), (f"{len(never)} never", "warn" if never else "dim")],
    ]  # fmt: skip
    if damaged:
        lines.append([("Damaged     ", "strong"), (f"✗ {len(damaged)} point{'' if len(damaged) == 1 else 's'}", "bad")])
        lines += [
            [("            ", ""), (f"{point.host}/{point.vm} {point.id}: {point.damaged}", "bad")]
            for point in damaged[:10]
        ]
    lines.append([])
    lines.append(
        [
            ("v", "key"),
            (" verify everything   ", ""),
            ("f", "key"),
            (" what the keep rules let go   ", ""),
            ("3", "key"),
            (" points   ", ""),
            ("e", "key"),
            (" explain", ""),
        ]
    )
    return lines
