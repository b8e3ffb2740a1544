"""The lines around every view: tabs and clock, counts and freshness, keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.geometry import Size
from textual.message import Message
from textual.widget import Widget

from vmtui.tui.widgets.paint import PAINT

Piece = tuple[str, str]
"""Text and its tone: a name of a style in the theme, or nothing."""


def content_of(pieces: Sequence[Piece]) -> Content:
    """Pieces as content; nothing in their text is taken for markup."""
    return Content.assemble(*((PAINT.text(text), _STYLES.get(tone, "")) for text, tone in pieces))


_STYLES = {
    "good": "$text-success",
    "warn": "$text-warning",
    "bad": "bold $text-error",
    "unknown": "$text-accent",
    "dim": "$text-muted",
    "strong": "bold",
    "key": "bold $text-primary",
    "tab": "reverse bold",
    "badge": "reverse $text-warning",
}


class Line(Widget):
    """One line of text, drawn again only when it changed."""

    DEFAULT_CSS = "Line { height: 1; width: 1fr; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # Textual's own name
        super().__init__(id=id, classes=classes)
        self._pieces: tuple[Piece, ...] = ()

    def say(self, pieces: Sequence[Piece]) -> None:
        """Replace the text."""
        if tuple(pieces) != self._pieces:
            self._pieces = tuple(pieces)
            self.refresh()

    @property
    def plain(self) -> str:
        """The text alone."""
        return "".join(text for text, _ in self._pieces)

    def render(self) -> Content:
        """The text."""
        return content_of(self._pieces).truncate(self.size.width, ellipsis=not PAINT.ascii)


_LABEL = 24
"""A first piece that is no wider [columns] and ends in a blank is a label."""
_ROOM = 3
"""A label takes at most this part of the width, or what follows it goes below it."""


def folded(pieces: Sequence[Piece], width: int) -> list[Content]:
    """A line folded to a width; what follows its label, a word or a number, stays beside it. Pure."""
    label = PAINT.text(pieces[0][0]) if len(pieces) > 1 else ""
    columns = cell_len(label)
    if not label.endswith(" ") or columns > min(_LABEL, width // _ROOM):
        return content_of(pieces).wrap(width) or [Content()]
    first, *rest = content_of(pieces[1:]).wrap(width - columns) or [Content()]
    return [content_of(pieces[:1]) + first, *(line.pad_left(columns) for line in rest)]


class Text(Widget):
    """Several lines of text that wrap."""

    DEFAULT_CSS = "Text { height: auto; width: 1fr; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # Textual's own name
        super().__init__(id=id, classes=classes)
        self._lines: tuple[tuple[Piece, ...], ...] = ()

    def say(self, lines: Sequence[Sequence[Piece]]) -> None:
        """Replace the text."""
        new = tuple(tuple(line) for line in lines)
        if new != self._lines:
            self._lines = new
            self.refresh(layout=True)

    @property
    def plain(self) -> str:
        """The text alone."""
        return "\n".join("".join(text for text, _ in line) for line in self._lines)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """How many lines it takes in a width."""
        del container, viewport
        if self.styles.text_wrap == "nowrap":
            return len(self._lines)
        return sum(len(folded(line, width)) for line in self._lines) if width else 0

    def render(self) -> Content:
        """The text; where it must not wrap, the style cuts it."""
        if self.styles.text_wrap == "nowrap":
            return Content("\n").join(content_of(line) for line in self._lines)
        width = max(2, self.size.width)
        return Content("\n").join(part for line in self._lines for part in folded(line, width))


class Clickable(Line):
    """A line whose parts can be clicked."""

    class Clicked(Message):
        """A part was clicked.

        Args:
            name: What it stands for.
        """

        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

    ALLOW_SELECT: ClassVar[bool] = False

    def __init__(self, *, id: str | None = None) -> None:  # Textual's own name
        super().__init__(id=id)
        self._parts: list[tuple[int, int, str]] = []

    def say_parts(self, parts: Sequence[tuple[Sequence[Piece], str]]) -> None:
        """Replace the text.

        Args:
            parts: Pieces of each part, and what it stands for; empty for plain text.
        """
        pieces: list[Piece] = []
        self._parts = []
        left = 0
        for part, name in parts:
            width = sum(len(PAINT.text(text)) for text, _ in part)
            if name:
                self._parts.append((left, left + width, name))
            left += width
            pieces += part
        self.say(pieces)

    def on_click(self, event: events.Click) -> None:
        """Find the part below the pointer."""
        for start, end, name in self._parts:
            if start <= event.x < end:
                self.post_message(self.Clicked(name))
