"""The plan of a prune: every point with what becomes of it and why, before anything is deleted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, ClassVar

from textual.containers import VerticalScroll
from textual.widget import Widget

from vmtui.overview.vms import VmRow
from vmtui.overview.words import local, size
from vmtui.tui.picture import Picture
from vmtui.tui.screens.base import Page
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.widgets.frame import Piece, Text

if TYPE_CHECKING:
    from vmtui.retention import PlannedPoint, PrunePlan


class PrunePage(Page):
    """A plan, made at the instant when it was opened.

    Args:
        plan: The plan.
        vms: The VMs that it is about; none when it is about all.
        tab: The tab that stays lit.
    """

    VIEW: ClassVar[str] = "prune"
    HELP: ClassVar[str] = (
        "What the keep rules would delete, and why everything else stays. Nothing is deleted before f and your word. "
        "What goes is gone for good; points that stay are whole without it. h on a point holds it, whatever the rules say."
    )

    def __init__(self, plan: PrunePlan, vms: tuple[VmRow, ...], tab: str) -> None:
        super().__init__()
        self.plan = plan
        self._vms = vms
        self._tab = tab

    @property
    def lit_tab(self) -> str:
        """The tab of the view that it opened from."""
        return self._tab

    def body(self) -> Iterable[Widget]:
        """One text."""
        with VerticalScroll(classes="scroll", id="scroll", can_focus=True):
            yield Text(id="text")

    def on_mount(self) -> None:
        """Keys scroll."""
        self.focus_body()

    def focus_body(self) -> None:
        """Keys scroll."""
        self.set_focus(self.query_one("#scroll"))

    def draw(self, _picture: Picture, /) -> None:
        """The plan does not change."""
        self.query_one("#text", Text).say(plan_lines(self.plan))

    def status(self) -> list[Piece]:
        """What it is about."""
        return [(f" prune of {subject(self._vms)}", "strong"), (f"  as of {local(self.plan.at)}", "dim")]

    def focus_now(self) -> Focus:
        """The VMs that it is about."""
        return Focus(self.VIEW, vms=self._vms)


def subject(vms: Sequence[VmRow]) -> str:
    """Which VMs a plan is about. Pure."""
    if not vms:
        return "all VMs"
    return vms[0].path if len(vms) == 1 else f"{len(vms)} VMs"


def count_words(plan: PrunePlan) -> str:
    """`3 of 12 points go`. Pure."""
    left = f", and {plan.unfinished} that an earlier run left half deleted" if plan.unfinished else ""
    return f"{len(plan.go)} of {len(plan.points)} points go{left}"


def plan_lines(plan: PrunePlan) -> list[list[Piece]]:
    """A plan in words. Pure."""
    lines: list[list[Piece]] = [[(f"{count_words(plan)}.", "strong")]]
    if plan.go or plan.unfinished:
        lines.append([("f", "key"), (" deletes them, after your word", "")])
    for _, points in groupby(plan.points, key=lambda point: point.vm):
        own = list(points)
        tier = f"tier {own[0].tier}" if own[0].tier is not None else "no tier"
        lines += [[], [(own[0].path, "strong"), (f"  {tier}", "dim")]]
        lines += [_point_line(point) for point in own]
    return lines


def _point_line(point: PlannedPoint) -> list[Piece]:
    mark: Piece = ("  ✓ keep ", "good") if point.keep else ("  ✗ GO   ", "bad")
    about = f"{local(point.time)}  {point.id}  {size(point.stored_bytes):>9}  "
    return [mark, (about, "dim" if point.keep else ""), ("; ".join(point.reasons), "")]
