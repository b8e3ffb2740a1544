"""Something that must be read; there is nothing to accept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textual import on
from textual.containers import Horizontal
from textual.widget import Widget
from textual.widgets import Button

from vmtui.tui.dialogs.base import Dialog
from vmtui.tui.widgets.frame import Piece, Text
from vmtui.tui.widgets.paint import PAINT


class Alarm(Dialog[None]):
    """An alarm: it can be closed, and nothing can be accepted in it.

    Args:
        title: What is wrong.
        lines: What it means and what to do.
    """

    destroys = True

    def __init__(self, title: str, lines: Sequence[Sequence[Piece]]) -> None:
        super().__init__()
        self._title = title
        self._lines = lines

    def body(self) -> Iterable[Widget]:
        """Title, words, one button."""
        title, words = Text(), Text()
        title.say([[(self._title, "bad")], []])
        words.say(self._lines)
        yield title
        yield words
        with Horizontal(classes="buttons"):
            yield Button(PAINT.text("Close"), id="no")

    def hint(self) -> str:
        """What can be pressed."""
        return "esc closes"

    @on(Button.Pressed, "#no")
    def close_it(self) -> None:
        """The button was pressed."""
        self.refuse()
