"""Questions that no slip of the finger can answer.

No has the focus. Input is dropped until a moment after the dialog was painted and after the last key,
so that what was typed for the window below runs dry; the dialog shows when it listens.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, Generic, TypeVar, cast

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Button, Input

from vmtui.tui.widgets.field import Field
from vmtui.tui.widgets.frame import Line, Piece, Text
from vmtui.tui.widgets.paint import PAINT

T = TypeVar("T")

_LOOK_S = 0.05


class Dialog(ModalScreen[T], Generic[T]):
    """A box above the page, closed to keys until it listens.

    Args:
        opened_by: The key that opened it; it never confirms.
    """

    INHERIT_BINDINGS = False
    AUTO_FOCUS: ClassVar[str | None] = ""
    destroys = False
    """Whether it is about T2."""

    def __init__(self, *, opened_by: Sequence[str] = ()) -> None:
        super().__init__()
        self._opened_by = tuple(opened_by)
        self._quiet_since = time.monotonic()
        self.listens = False

    def compose(self) -> ComposeResult:
        """Title, body, what can be pressed."""
        with VerticalScroll(id="box", can_focus=False):
            yield from self.body()
            yield Line(id="listens")

    @abstractmethod
    def body(self) -> Iterable[Widget]:
        """What it says and asks."""

    def on_mount(self) -> None:
        """Count from the first paint."""
        self.set_class(self.destroys, "destroys")
        self._quiet_since = time.monotonic()
        self.call_after_refresh(self._painted)

    def _painted(self) -> None:
        self._step_aside()
        self._quiet_since = time.monotonic()
        self._poll = self.set_interval(_LOOK_S, self._look)
        self._look()

    def _step_aside(self) -> None:
        """Yes is never under the pointer: a second click on what opened the dialog must not mean it."""
        if any(button.region.contains_point(self.app.mouse_position) for button in self.query("#yes")):
            self.query_one(".buttons").add_class("aside")

    @property
    def guard_s(self) -> float:
        """How long it stays closed."""
        from vmtui.tui.app import VmtuiApp

        return cast("VmtuiApp", self.app).look.guard_s

    def _look(self) -> None:
        if not self.listens and time.monotonic() - self._quiet_since >= self.guard_s:
            self.listens = True
            self._poll.stop()
            self.ready()
        self.query_one("#listens", Line).say([(self.hint() if self.listens else "…", "dim")])

    def ready(self) -> None:
        """It listens from now on: put the focus where it belongs."""
        self.set_focus(self.query_one("#no"))

    def hint(self) -> str:
        """What can be pressed."""
        return "y yes   n or esc no"

    def _forward_event(self, event: events.Event) -> None:
        """Drop clicks until it listens: Textual gives them to the widget below the pointer, past `on_event`."""
        if self.listens or not isinstance(event, events.MouseDown | events.MouseUp | events.Click):
            super()._forward_event(event)

    async def on_event(self, event: events.Event) -> None:
        """Drop keys and pastes until it listens."""
        if not self.listens and isinstance(event, events.Key | events.Paste):
            if isinstance(event, events.Key):
                self._quiet_since = time.monotonic()
            event.stop()
            event.prevent_default()
            return
        await super().on_event(event)

    def on_key(self, event: events.Key) -> None:
        """Esc is No, wherever the focus is."""
        if event.key == "escape":
            event.stop()
            self.refuse()

    def refuse(self) -> None:
        """Nothing is done."""
        self.dismiss(None)


class Confirm(Dialog[bool]):
    """A question with Yes and No.

    Args:
        title: What is about to happen, with its object.
        lines: What it means.
        yes: The word on the button.
        opened_by: The key that opened it.
    """

    def __init__(
        self, title: str, lines: Sequence[Sequence[Piece]], *, yes: str = "Yes", opened_by: Sequence[str] = ()
    ) -> None:
        super().__init__(opened_by=opened_by)
        self._title = title
        self._lines = lines
        self._yes = yes

    def body(self) -> Iterable[Widget]:
        """Title, words, two buttons; No comes first."""
        title, words = Text(), Text()
        title.say([[(self._title, "strong")], []])
        words.say(self._lines)
        yield title
        yield words
        with Horizontal(classes="buttons"):
            yield Button(PAINT.text("No"), id="no")
            yield Button(PAINT.text(self._yes), id="yes", variant="warning")

    def on_key(self, event: events.Key) -> None:
        """Letters answer; the key that opened the dialog never does."""
        if event.key in self._opened_by:
            event.stop()
        elif event.key == "y":
            event.stop()
            self.dismiss(True)
        elif event.key == "n":
            event.stop()
            self.refuse()
        elif event.key in ("left", "right", "tab", "shift+tab"):
            event.stop()
            other = "#yes" if self.focused is self.query_one("#no") else "#no"
            self.set_focus(self.query_one(other))

    @on(Button.Pressed, "#yes")
    def say_yes(self) -> None:
        """Yes was pressed."""
        self.dismiss(True)

    @on(Button.Pressed, "#no")
    def say_no(self) -> None:
        """No was pressed."""
        self.refuse()


_LONG_NAME = 32


def word_to_type(name: str, uuid: str) -> str:
    """What is typed to confirm: the name, or the start of the UUID for a name that is hard to type. Pure."""
    return name if name.isascii() and name.isprintable() and len(name) <= _LONG_NAME else uuid[:8]


class TypedInput(Field):
    """A field that takes typing, not pasting."""

    def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()


class Typed(Dialog[bool]):
    """A question that is answered by typing a name.

    Args:
        title: What is about to happen, with its object.
        lines: What is destroyed, what is kept.
        word: What must be typed.
        opened_by: The key that opened it.
    """

    destroys = True

    def __init__(
        self, title: str, lines: Sequence[Sequence[Piece]], *, word: str, opened_by: Sequence[str] = ()
    ) -> None:
        super().__init__(opened_by=opened_by)
        self._title = title
        self._lines = lines
        self._word = word

    def body(self) -> Iterable[Widget]:
        """Title, words, the field, two buttons."""
        title, words, ask = Text(), Text(), Text()
        title.say([[(self._title, "bad")], []])
        words.say(self._lines)
        ask.say([[], [("Type ", ""), (self._word, "strong"), (" to go on:", "")]])
        yield title
        yield words
        yield ask
        yield TypedInput(id="word")
        with Horizontal(classes="buttons"):
            yield Button(PAINT.text("No"), id="no")
            yield Button(PAINT.text("Go on"), id="yes", variant="error", disabled=True)

    def ready(self) -> None:
        """The field has the focus; it is empty, so enter does nothing."""
        self.set_focus(self.query_one("#word"))

    def hint(self) -> str:
        """What can be pressed."""
        return "type the word, then enter; esc no"

    @on(Input.Changed, "#word")
    def typed(self, event: Input.Changed) -> None:
        """The button opens when the word is there."""
        self.query_one("#yes", Button).disabled = event.value != self._word

    @on(Input.Submitted, "#word")
    def entered(self, event: Input.Submitted) -> None:
        """Enter counts only with the word."""
        if event.value == self._word:
            self.dismiss(True)

    @on(Button.Pressed, "#yes")
    def say_yes(self) -> None:
        """The button was pressed."""
        if self.query_one("#word", Input).value == self._word:
            self.dismiss(True)

    @on(Button.Pressed, "#no")
    def say_no(self) -> None:
        """No was pressed."""
        self.refuse()
