"""How to back up: mode, full or not, and what it would read, asked of the host before it is started."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual import on
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Button, Checkbox, RadioButton, RadioSet

from vmtui.model.errors import VmtuiError
from vmtui.model.point import DiskKind, Mode
from vmtui.overview.words import age, size
from vmtui.tui.dialogs.base import Dialog
from vmtui.tui.widgets.frame import Piece, Text
from vmtui.tui.widgets.paint import PAINT

if TYPE_CHECKING:
    from vmtui.backup.preview import Preview

_MODES = (Mode.HOT, Mode.PAUSED, Mode.COLD)
_WORDS = {
    Mode.HOT: "hot: the guest goes on, a frozen view is read",
    Mode.PAUSED: "paused: the same, with the guest paused for a moment",
    Mode.COLD: "cold: shut down, read, started again",
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was chosen."""

    mode: Mode
    full: bool


class _Mode(RadioButton):
    """One of several; which one is chosen is seen without colour as well."""

    @property
    def _button(self) -> Content:
        return Content(PAINT.text("(●)") if self.value else "( )")


class _Tick(Checkbox):
    """Yes or no, seen without colour as well."""

    @property
    def _button(self) -> Content:
        return Content("[x]" if self.value else "[ ]")


class BackupOptions(Dialog[Chosen]):
    """The sheet for one or several VMs.

    Args:
        names: The VMs.
        mode: What the tier asks for.
        look: Asks the host what a backup would do; calls back on the screens' loop.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        mode: Mode,
        look: Callable[[Chosen, Callable[[Preview], None], Callable[[VmtuiError], None]], None] | None,
    ) -> None:
        super().__init__(opened_by=("o",))
        self._names = names
        self._mode = mode
        self._look_at = look

    def body(self) -> Iterable[Widget]:
        """Modes, the switch, the plan, two buttons."""
        title = Text()
        what = self._names[0] if len(self._names) == 1 else f"{len(self._names)} VMs"
        title.say([[(f"Back up {what}", "strong")], []])
        yield title
        with RadioSet(id="mode"):
            for mode in _MODES:
                yield _Mode(PAINT.text(_WORDS[mode]), value=mode is self._mode)
        yield _Tick(PAINT.text("read every disk in full, also where changes are tracked"), id="full")
        yield Text(id="plan")
        with Horizontal(classes="buttons"):
            yield Button(PAINT.text("Leave"), id="no")
            yield Button(PAINT.text("Back up"), id="yes", variant="primary")

    @property
    def chosen(self) -> Chosen:
        """What is chosen now."""
        index = self.query_one("#mode", RadioSet).pressed_index
        return Chosen(_MODES[max(0, index)], self.query_one("#full", Checkbox).value)

    def ready(self) -> None:
        """Leave has the focus."""
        super().ready()
        self._ask()

    def hint(self) -> str:
        """What can be pressed."""
        return "tab moves   space chooses   enter presses   esc leaves"

    @on(RadioSet.Changed)
    @on(Checkbox.Changed)
    def _ask(self) -> None:
        plan = self.query_one("#plan", Text)
        if self._look_at is None or not self.listens:
            return
        asked = self.chosen
        plan.say([[], [("asking the host what this would read …", "dim")]])

        def told(preview: Preview) -> None:
            if self._still_asks(asked):
                plan.say(preview_lines(preview))

        def failed(error: VmtuiError) -> None:
            if self._still_asks(asked):
                plan.say([[], [(error.cause, "bad")], [(f"{error.next_step} [{error.id}]", "")]])

        self._look_at(asked, told, failed)

    def _still_asks(self, asked: Chosen) -> bool:
        """Whether it is still open and nothing else was chosen meanwhile."""
        return bool(self.query("#mode")) and self.chosen == asked

    @on(Button.Pressed, "#yes")
    def say_yes(self) -> None:
        """Back up."""
        self.dismiss(self.chosen)

    @on(Button.Pressed, "#no")
    def say_no(self) -> None:
        """Leave."""
        self.refuse()


def preview_lines(preview: Preview) -> list[list[Piece]]:
    """What a backup would do, in words. Pure."""
    lines: list[list[Piece]] = [[], [("What it would do", "strong"), (f" (the VM is {preview.state})", "dim")]]
    for disk in preview.disks:
        why = f" ({disk.reason})" if disk.reason is not None else ""
        if disk.kind is DiskKind.INCREMENTAL:
            changed = preview.changed.get(disk.target)
            amount = f"about {size(changed)} changed" if changed is not None else "what changed"
        else:
            amount = f"at most {size(disk.virtual_size)}"
        lines.append([(f"  {disk.target:6} {disk.kind}{why}: ", ""), (amount, "strong")])
    lines += [[(f"  {item.name:6} not held: {item.reason}", "warn")] for item in preview.left_out]
    lines += [[(f"  ! {warning}", "warn")] for warning in preview.warnings]
    if preview.mode is Mode.COLD and preview.state == "running":
        text = f"  The guest is off from its shutdown (at most {age(preview.shutdown_limit_s)}) until {size(preview.most_bytes)} were read."
        lines.append([(text, "warn")])
    elif preview.agent != "connected" and preview.mode is not Mode.COLD and preview.state == "running":
        lines.append([(f"  Guest agent {preview.agent}: the point will be crash-consistent.", "warn")])
    return lines
