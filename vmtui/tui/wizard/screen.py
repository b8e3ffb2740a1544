"""The restore wizard: point, target, mapping, plan, confirm."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from textual.containers import VerticalScroll
from textual.widget import Widget

from vmtui.model.errors import VmtuiError
from vmtui.overview.points import PointView
from vmtui.overview.words import age
from vmtui.restore.offers import Offers
from vmtui.restore.plan import RestorePlan
from vmtui.tui import clock
from vmtui.tui.dialogs.ask import Ask
from vmtui.tui.dialogs.pick import Choice, Pick
from vmtui.tui.picture import Picture
from vmtui.tui.screens.base import Page
from vmtui.tui.screens.points import point_columns, point_words
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.widgets.frame import Piece, Text
from vmtui.tui.widgets.table import Cell, Column, VirtualTable
from vmtui.tui.widgets.timeline import timeline
from vmtui.tui.wizard import confirm, engine
from vmtui.tui.wizard.draft import (
    Draft,
    Setting,
    Target,
    changed,
    mapping_settings,
    missing,
    target_settings,
    with_safe_links,
)
from vmtui.tui.wizard.group import passed_over, passed_over_words
from vmtui.tui.wizard.words import check_lines, export_lines, plan_lines, summary_lines

POINT, TARGET, MAPPING, PLAN = range(1, 5)
STEPS = ("point", "target", "mapping", "plan", "confirm")


@dataclass(frozen=True, slots=True)
class Line:
    """A setting as a row."""

    setting: Setting

    @property
    def id(self) -> str:
        """Names the row."""
        return self.setting.id


def setting_columns() -> tuple[Column[Line], ...]:
    """What is shown of a setting."""
    return (
        Column("Setting", 24, lambda row, _: Cell(row.setting.label)),
        Column("Choice", 26, lambda row, _: Cell(row.setting.value, "good"), grow=2),
        Column("", 12, lambda row, _: Cell(row.setting.note, "dim"), grow=1),
    )


class RestoreWizard(Page):
    """Five steps; leaving at any of them changes nothing.

    Args:
        draft: What is chosen already.
    """

    VIEW: ClassVar[str] = "wizard"
    TAB: ClassVar[str] = "points"
    HELP: ClassVar[str] = (
        "Restoring in five steps: which point, to where, which pools and networks, the plan, your word. ] goes on, "
        "[ goes back, enter changes the line under the cursor. Nothing is written before you agree to the plan."
    )

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self.draft = draft
        self.step = POINT
        self.offers: Offers | None = None
        self.plan: RestorePlan | None = None
        self.error: VmtuiError | None = None
        self.asking = False
        self.begun = False
        """The job is in the queue: nothing is left to come back to."""
        self._asked = 0
        self._own: tuple[PointView, ...] = ()
        self._seen: tuple[PointView, ...] | None = None

    # -- what is seen ----------------------------------------------------------------------------

    def body(self) -> Iterable[Widget]:
        """The points, the settings, the text; one of the tables at a time."""
        yield Text(id="head")
        self.points: VirtualTable[PointView] = VirtualTable(
            point_columns(with_vm=False), "This VM has no restore point.", id="points"
        )
        self.settings: VirtualTable[Line] = VirtualTable(
            setting_columns(),
            "Nothing has to be mapped: ] goes on to the plan.",
            id="settings",
            keep_gone=False,
        )
        for table in (self.points, self.settings):
            table.clock = clock.now
            yield table
        with VerticalScroll(classes="scroll", id="below", can_focus=True):
            yield Text(id="text")

    def on_mount(self) -> None:
        """The first step."""
        self._show_step()
        if self.draft.point is not None:
            self.points.go_to(self.draft.point.id)

    def on_unmount(self) -> None:
        """What was chosen waits, in case the operator comes back."""
        super().on_unmount()
        if self.begun:
            self.ui.drafts.drop(self.draft.uuid)
        else:
            self.ui.drafts.keep(self.draft, clock.now())

    @property
    def table(self) -> VirtualTable[PointView] | VirtualTable[Line] | None:
        """The table that the keys move in."""
        if self.step == POINT:
            return self.points
        return self.settings if self.step in (TARGET, MAPPING) else None

    def focus_body(self) -> None:
        """The table of the step has the keys, else the text."""
        self.set_focus(self.table if self.table is not None else self.query_one("#below"))

    def draw(self, picture: Picture, /) -> None:
        """Show the step."""
        if picture.catalogue.points is not self._seen:
            self._seen = picture.catalogue.points
            self._own = tuple(point for point in picture.catalogue.points if point.uuid == self.draft.uuid)
        self.points.show(self._own)
        if self.step == TARGET:
            self._show_settings(target_settings(self.draft, tuple(self.ui.settings.hypervisors)))
        elif self.step == MAPPING and self.offers is not None:
            self._show_settings(mapping_settings(self.draft, self.offers))
        self.query_one("#head", Text).say(self._head())
        self.query_one("#text", Text).say(self._text())

    def _show_settings(self, settings: tuple[Setting, ...]) -> None:
        rows = tuple(Line(setting) for setting in settings)
        if [row.setting for row in self.settings.rows] != list(settings):
            self.settings.show(rows)

    def _show_step(self) -> None:
        self.points.display = self.step == POINT
        self.settings.display = self.step in (TARGET, MAPPING)
        if self.step == MAPPING:
            self.settings.show(())
        self.paint()
        self.focus_body()

    def status(self) -> list[Piece]:
        """Which step it is."""
        parts: list[Piece] = [(f" Restore {self.draft.vm}  ", "strong")]
        for number, name in enumerate(STEPS, 1):
            if number == self.step:
                parts.append((f"[{number} {name.upper()}]", "tab"))
            else:
                parts.append(
                    (f" {number} {name}{' ✓' if number < self.step else ''} ", "good" if number < self.step else "dim")
                )
        return parts

    def _head(self) -> list[list[Piece]]:
        if self.step == POINT:
            line = timeline(self._own, clock.now(), max(0, self.size.width - 4))
            return [
                [(f" {line}", "dim")],
                [(" Which point? ✗ is damaged. enter or ] takes the one under the cursor.", "")],
            ]
        if self.step == TARGET:
            return [[(" What becomes of it, and where? enter changes a line, ] goes on.", "")]]
        if self.step == MAPPING:
            return [
                [
                    (" Where do its disks and networks go on ", ""),
                    (self.draft.host, "strong"),
                    ("? Checked live below.", ""),
                ]
            ]
        return [[(" The plan. Nothing has been written. ] asks for your word.", "")]]

    def _text(self) -> list[list[Piece]]:
        if self.step == POINT:
            point = self.points.current
            return self._point_text(point) if point is not None else []
        if self.step == TARGET:
            return summary_lines(self.draft)
        if self.step == MAPPING:
            return check_lines(self.plan, self.error, asking=self.asking)
        if self.draft.target is Target.FILE:
            return export_lines(self.draft)
        return plan_lines(self.draft, self.plan, self.error, self.ui.picture.jobs.records, asking=self.asking)

    def _point_text(self, point: PointView) -> list[list[Piece]]:
        lost = age((clock.now() - point.time).total_seconds())
        newer = sum(1 for other in self._own if other.id > point.id and other.good)
        more = f"; {newer} newer good point{'s' if newer > 1 else ''} exist{'' if newer > 1 else 's'}" if newer else ""
        bad = passed_over(point, self._own)
        why = [[(f"Chosen because {passed_over_words(bad)}.", "warn")]] if bad is not None and point.good else []
        return [*point_words(point), *why, [(f"What was written in the last {lost} is not in it{more}.", "warn")]]

    def on_virtual_table_moved(self) -> None:
        """Another row."""
        self.paint()

    def focus_now(self) -> Focus:
        """The chosen point."""
        point = self.points.current if self.step == POINT else self.draft.point
        return Focus(self.VIEW, points=(point,) if point is not None else ())

    # -- moving ----------------------------------------------------------------------------------

    def go_on(self) -> None:
        """To the next step; from the plan to the confirmation."""
        if self.step == POINT:
            self._take_point()
        elif self.step == TARGET:
            self._leave_target()
        elif self.step == MAPPING:
            self._to(PLAN)
        else:
            self._confirm()

    def go_back(self) -> None:
        """To the step before."""
        if self.step == PLAN and self.draft.target is Target.FILE:
            self._to(TARGET)
        elif self.step > POINT:
            self._to(self.step - 1)

    def _to(self, step: int) -> None:
        self.step = step
        self._show_step()

    def _take_point(self) -> None:
        point = self.points.current
        if point is None or point.damaged:
            self.ui.notify("this point is damaged; choose another", severity="warning", markup=False)
            return
        if self.draft.point is None or point.id != self.draft.point.id:
            self.draft = replace(self.draft, point=point, disk="", networks={}, pools={})
            self._forget()
        self._to(TARGET)

    def _leave_target(self) -> None:
        if reason := missing(self.draft):
            self.ui.notify(reason, severity="warning", markup=False)
            return
        if self.draft.target is Target.FILE:
            self._to(PLAN)
            return
        self._to(MAPPING)
        self._ask_offers()

    @property
    def changes_nothing(self) -> bool:
        """Whether there is no line that enter could change."""
        return self.step > POINT and (self.step not in (TARGET, MAPPING) or self.settings.current is None)

    def change(self) -> None:
        """Change the line under the cursor."""
        if self.step == POINT:
            self._take_point()
            return
        row = self.settings.current
        if self.step not in (TARGET, MAPPING) or row is None:
            return
        setting = row.setting
        if setting.choices:
            choices = [Choice(name, ((name, ""),), name) for name in setting.choices]
            self.ui.push_screen(
                Pick(setting.label, choices, searchable=False), lambda value: self._set(setting.id, value)
            )
        else:
            shown = "" if setting.value in ("–", "(chosen by itself)") else setting.value  # a dash is meant
            self.ui.push_screen(Ask(setting.label, shown, setting.note), lambda value: self._set(setting.id, value))

    def _set(self, setting: str, value: str | None) -> None:
        if value is None:
            return
        self.draft = changed(self.draft, setting, value)
        if self.step == TARGET:
            self._forget()
        else:
            self._ask_plan()
        self.paint()

    # -- asking the target -----------------------------------------------------------------------

    def _forget(self) -> None:
        self.offers, self.plan, self.error = None, None, None
        self._asked += 1

    def _ask_offers(self) -> None:
        if self.offers is not None:
            self._ask_plan()
            return
        self.asking = True
        request, number = self.draft.request(), self._asked

        def told(found: Offers) -> None:
            if number == self._asked:
                self.offers = found
                self.draft = with_safe_links(self.draft, found)
                self._ask_plan()

        self.ui.planning.run(
            lambda: engine.ask_offers(self.ui.settings, request), told, lambda error: self._failed(number, error)
        )

    def _ask_plan(self) -> None:
        self._asked += 1
        self.asking, self.plan, self.error = True, None, None
        request, number = self.draft.request(), self._asked

        def told(plan: RestorePlan) -> None:
            if number == self._asked:
                self.asking, self.plan = False, plan
                self.paint()

        self.ui.planning.run(
            lambda: engine.ask_plan(self.ui.settings, request), told, lambda error: self._failed(number, error)
        )
        self.paint()

    def _failed(self, number: int, error: VmtuiError) -> None:
        if number == self._asked:
            self.asking, self.error = False, error
            self.paint()

    # -- the operator's word ---------------------------------------------------------------------

    def _confirm(self) -> None:
        if self.draft.target is Target.FILE:
            confirm.export(self.ui, self.draft)
        elif self.asking or self.plan is None:
            self.ui.notify("the plan is not there yet", severity="warning", markup=False)
        elif self.plan.refused:
            self.ui.notify("a check failed: change the target or the mapping", severity="warning", markup=False)
        else:
            confirm.restore(self.ui, self.draft, self.plan)

    @property
    def command_line(self) -> str:
        """The equivalent command line."""
        return self.plan.command if self.plan is not None else self.draft.command()
