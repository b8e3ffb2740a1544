"""A text to type."""

from __future__ import annotations

from collections.abc import Iterable

from textual import on
from textual.widget import Widget
from textual.widgets import Input

from vmtui.tui.dialogs.base import Dialog
from vmtui.tui.widgets.field import Field
from vmtui.tui.widgets.frame import Text


class Ask(Dialog[str]):
    """A field; enter takes it, esc leaves it as it was.

    Args:
        title: What is asked for.
        text: What is in it.
        note: A word on what it may be.
        secret: Whether what is typed is hidden.
    """

    def __init__(self, title: str, text: str, note: str = "", *, secret: bool = False) -> None:
        super().__init__()
        self._title = title
        self._text = text
        self._note = note
        self._secret = secret

    def body(self) -> Iterable[Widget]:
        """Title, note, field."""
        title, note = Text(), Text()
        title.say([[(self._title, "strong")]])
        note.say([[(self._note, "dim")]])
        yield title
        yield Field(self._text, id="no", password=self._secret)
        yield note

    def hint(self) -> str:
        """What can be pressed."""
        return "enter takes it   esc leaves"

    @on(Input.Submitted)
    def entered(self, event: Input.Submitted) -> None:
        """Enter takes it."""
        self.dismiss(event.value.strip() if not self._secret else event.value)
