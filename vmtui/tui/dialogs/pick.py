"""Lists to pick from: the palette, what to copy, a theme."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from textual import events, on
from textual.widget import Widget
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from vmtui.tui.dialogs.base import Dialog
from vmtui.tui.widgets.field import Field
from vmtui.tui.widgets.frame import Piece, Text, content_of


@dataclass(frozen=True, slots=True)
class Choice:
    """One line to pick."""

    id: str
    pieces: tuple[Piece, ...]
    text: str
    """What is searched."""
    disabled: bool = False


class Pick(Dialog[str]):
    """A list with a field that narrows it.

    Args:
        title: What is picked.
        choices: The lines.
        searchable: Whether there is a field to narrow the list.
    """

    def __init__(self, title: str, choices: Sequence[Choice], *, searchable: bool = True) -> None:
        super().__init__()
        self._title = title
        self._choices = tuple(choices)
        self._searchable = searchable

    @property
    def guard_s(self) -> float:
        """Picking changes nothing by itself; it listens at once."""
        return 0.0

    def body(self) -> Iterable[Widget]:
        """Title, field, list."""
        title = Text()
        title.say([[(self._title, "strong")]])
        yield title
        if self._searchable:
            yield Field(id="find", placeholder="type to narrow")
        yield OptionList(*self._options(""), id="no")

    def _options(self, text: str) -> list[Option]:
        words = text.lower().split()
        return [
            Option(content_of(choice.pieces), id=choice.id, disabled=choice.disabled)
            for choice in self._choices
            if all(word in choice.text.lower() for word in words)
        ]

    def ready(self) -> None:
        """The field has the focus, else the list."""
        self.set_focus(self.query_one("#find" if self._searchable else "#no"))

    def hint(self) -> str:
        """What can be pressed."""
        return "enter picks   esc leaves"

    @on(Input.Changed, "#find")
    def narrowed(self, event: Input.Changed) -> None:
        """Narrow the list while typing."""
        options = self.query_one("#no", OptionList)
        options.clear_options()
        options.add_options(self._options(event.value))
        options.action_first()

    @on(Input.Submitted, "#find")
    def entered(self) -> None:
        """Enter picks the line that is lit."""
        self.query_one("#no", OptionList).action_select()

    def on_key(self, event: events.Key) -> None:
        """Arrows move in the list, also from the field."""
        options = self.query_one("#no", OptionList)
        moves = {"down": options.action_cursor_down, "up": options.action_cursor_up}
        if event.key in moves and self.focused is not options:
            event.stop()
            moves[event.key]()

    @on(OptionList.OptionSelected)
    def picked(self, event: OptionList.OptionSelected) -> None:
        """A line was picked."""
        event.stop()
        self.dismiss(event.option.id)
