"""Several restores at once: target, order, mappings and plan on one page, then the operator's word."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from textual.containers import VerticalScroll
from textual.widget import Widget

from vmtui.model.errors import VmtuiError
from vmtui.restore.group import GroupPlan
from vmtui.restore.offers import Offers
from vmtui.tui import clock
from vmtui.tui.dialogs.pick import Choice, Pick
from vmtui.tui.picture import Picture
from vmtui.tui.screens.base import Page
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.widgets.frame import Piece, Text
from vmtui.tui.widgets.table import VirtualTable
from vmtui.tui.wizard import confirm, engine
from vmtui.tui.wizard.draft import missing, with_safe_links
from vmtui.tui.wizard.group import GroupDraft, group_lines, group_settings, head_lines
from vmtui.tui.wizard.screen import Line, setting_columns


class SeveralPage(Page):
    """Restores of several VMs as one job; leaving it changes nothing.

    Args:
        draft: The points, in the order in which they were shown.
        tab: The tab that stays lit.
    """

    VIEW: ClassVar[str] = "several"
    HELP: ClassVar[str] = (
        "Restoring several VMs as one job, in the order of the list: J and K move the VM under the cursor. The newest "
        "point without known damage of each is taken. All is checked before a byte is written, and nothing is written "
        "before ] and your word. If one fails, those before it stay, and those after it are not begun."
    )

    def __init__(self, draft: GroupDraft, tab: str) -> None:
        super().__init__()
        self.draft = draft
        self.offers: Offers | None = None
        self.plan: GroupPlan | None = None
        self.error: VmtuiError | None = None
        self.asking = False
        self._tab = tab
        self._asked = 0

    @property
    def lit_tab(self) -> str:
        """The tab of the view that it opened from."""
        return self._tab

    # -- what is seen ----------------------------------------------------------------------------

    def body(self) -> Iterable[Widget]:
        """The lines, and the plan below them."""
        yield Text(id="head")
        self.table: VirtualTable[Line] = VirtualTable(setting_columns(), "", id="settings", keep_gone=False)
        self.table.clock = clock.now
        yield self.table
        with VerticalScroll(classes="scroll", id="below", can_focus=True):
            yield Text(id="text")

    def on_mount(self) -> None:
        """Ask the target at once."""
        super().on_mount()
        self.focus_body()
        self._ask()

    def focus_body(self) -> None:
        """The table has the keys."""
        self.set_focus(self.table)

    def draw(self, picture: Picture, /) -> None:
        """Show the choices and what is known of them."""
        hosts = tuple(self.ui.settings.hypervisors)
        settings = group_settings(self.draft, hosts, self.offers, picture.catalogue.points)
        if [row.setting for row in self.table.rows] != list(settings):
            self.table.show(tuple(Line(setting) for setting in settings))
        self.query_one("#head", Text).say(head_lines(self.draft, picture.catalogue.points))
        self.query_one("#text", Text).say(group_lines(self.plan, self.error, asking=self.asking))

    def status(self) -> list[Piece]:
        """How many go where."""
        to = self.draft.common.host or "?"
        return [(f" Restore {len(self.draft.points)} VMs to {to}", "strong"), ("  as one job", "dim")]

    def focus_now(self) -> Focus:
        """The points."""
        return Focus(self.VIEW, points=self.draft.points)

    @property
    def command_line(self) -> str:
        """The equivalent command line."""
        from vmtui.restore.group import command_of

        return self.plan.command if self.plan is not None else command_of(self.draft.request().members)

    # -- keys ------------------------------------------------------------------------------------

    @property
    def changes_nothing(self) -> bool:
        """Whether enter could change nothing on the line under the cursor."""
        return self.table.current is None or not self.table.current.setting.choices

    def change(self) -> None:
        """Change the line under the cursor."""
        row = self.table.current
        if row is None or not row.setting.choices:
            return
        setting = row.setting
        choices = [Choice(name, ((name, ""),), name) for name in setting.choices]
        self.ui.push_screen(Pick(setting.label, choices, searchable=False), lambda value: self._set(setting.id, value))

    def _set(self, setting: str, value: str | None) -> None:
        if value is None:
            return
        self.draft = self.draft.set(setting, value)
        if setting in ("target", "host"):
            self.offers = None
        self._ask()

    def move(self, by: int) -> None:
        """Move the VM under the cursor; the cursor goes with it."""
        row = self.table.current
        moved = self.draft.moved(row.id, by) if row is not None else self.draft
        if moved is not self.draft:
            self.draft = moved
            self._ask()

    def go_on(self) -> None:
        """Ask for the operator's word."""
        if self.asking or self.plan is None:
            self.ui.notify("the plan is not there yet", severity="warning", markup=False)
        elif self.plan.refused:
            self.ui.notify("a check failed: change a line above", severity="warning", markup=False)
        else:
            confirm.restore_several(self.ui, self.draft, self.plan)

    # -- asking the target -----------------------------------------------------------------------

    def _ask(self) -> None:
        """Ask anew for what depends on the choices: offers once for each target, the plan always."""
        self._asked += 1
        self.plan, self.error = None, None
        self.asking = not missing(self.draft.common)
        if self.asking:
            self._ask_offers() if self.offers is None else self._ask_plan()
        self.paint()

    def _ask_offers(self) -> None:
        request, number = self.draft.request(), self._asked

        def told(found: Offers) -> None:
            if number == self._asked:
                self.offers = found
                self.draft = replace(self.draft, common=with_safe_links(self.draft.common, found))
                self._ask_plan()
                self.paint()

        self.ui.planning.run(
            lambda: engine.ask_group_offers(self.ui.settings, request), told, lambda error: self._failed(number, error)
        )

    def _ask_plan(self) -> None:
        request, number = self.draft.request(), self._asked

        def told(plan: GroupPlan) -> None:
            if number == self._asked:
                self.asking, self.plan = False, plan
                self.paint()

        self.ui.planning.run(
            lambda: engine.ask_group_plan(self.ui.settings, request), told, lambda error: self._failed(number, error)
        )

    def _failed(self, number: int, error: VmtuiError) -> None:
        if number == self._asked:
            self.asking, self.error = False, error
            self.paint()
