"""Pages of text: help, explanations, definitions, all fields of something."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.containers import VerticalScroll
from textual.widget import Widget

from vmtui.tui.picture import Picture
from vmtui.tui.screens.base import Page
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.widgets.frame import Piece, Text


class TextPage(Page):
    """Text that scrolls.

    Args:
        title: The second line.
        lines: What is said.
        tab: The tab that stays lit.
        focus: What commands act on while it is open.
    """

    VIEW: ClassVar[str] = "text"
    HELP: ClassVar[str] = "A page of text: arrows and PgDn scroll, esc leaves."

    def __init__(self, title: str, lines: Sequence[Sequence[Piece]], tab: str, focus: Focus) -> None:
        super().__init__()
        self._title = title
        self._lines = lines
        self._tab = tab
        self._about = focus

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
        """The text does not change."""
        self.query_one("#text", Text).say(self._lines)

    def status(self) -> list[Piece]:
        """The title."""
        return [(f" {self._title}", "strong")]

    def focus_now(self) -> Focus:
        """What it is about."""
        return Focus(
            self.VIEW, self._about.vms, self._about.points, self._about.jobs, self._about.hosts, self._about.entries
        )
