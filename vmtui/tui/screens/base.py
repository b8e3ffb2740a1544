"""What all views share: the lines around them, the filter, the table in the middle, keys."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input

from vmtui.model.host import HostState
from vmtui.overview.filters import BadFilterError, Filter, parse_filter
from vmtui.tui import clock
from vmtui.tui.picture import Picture
from vmtui.tui.verbs.registry import Danger, Focus, key_name
from vmtui.tui.widgets.field import Field
from vmtui.tui.widgets.frame import Clickable, Line, Piece, Text
from vmtui.tui.widgets.table import VirtualTable

if TYPE_CHECKING:
    from vmtui.tui.app import VmtuiApp

_QUIET_TICKS = 5

TABS = (
    ("pulse", "1", "Pulse"),
    ("vms", "2", "VMs"),
    ("points", "3", "Points"),
    ("jobs", "4", "Jobs"),
    ("hosts", "5", "Hosts"),
    ("repo", "6", "Repo"),
    ("log", "8", "Log"),
)


class Page(Screen[None]):
    """A screen with tabs, a status line and a footer; views and the pages that open from them."""

    VIEW: ClassVar[str] = ""
    """What its commands are registered for."""
    TAB: ClassVar[str] = ""
    """The tab that is lit; a page lights that of the view that it opened from."""
    HELP: ClassVar[str] = ""
    """What it shows, for the help page."""
    AUTO_FOCUS: ClassVar[str | None] = ""
    INHERIT_BINDINGS = False
    _mounted = False
    _ticks = 0

    def compose(self) -> ComposeResult:
        """Lines around the body."""
        yield Clickable(id="tabs")
        yield Line(id="status")
        yield from self.body()
        prompt = Field(id="prompt", classes="hidden", select_on_focus=False)
        prompt.display = False
        yield prompt
        yield Clickable(id="keys")

    @abstractmethod
    def body(self) -> Iterable[Widget]:
        """What is between the lines."""

    @property
    def ui(self) -> VmtuiApp:
        """The application."""
        return cast("VmtuiApp", self.app)

    # -- what is seen ----------------------------------------------------------------------------

    @property
    def lit_tab(self) -> str:
        """The tab that is lit."""
        return self.TAB or self.VIEW

    def on_mount(self) -> None:
        """Draw once before anything is heard."""
        self._mounted = True
        self.paint()

    def on_unmount(self) -> None:
        """Nothing can be drawn any more."""
        self._mounted = False

    @property
    def drawable(self) -> bool:
        """Whether its widgets are there: from mounting until it is taken away, which takes them one by one."""
        return self._mounted and not self._pruning

    def on_screen_resume(self) -> None:
        """Catch up with what happened while another screen was shown."""
        self.paint()

    def on_resize(self) -> None:
        """Other columns may fit."""
        self.set_class(self.size.width < 80 or self.size.height < 24, "small")

    def paint(self) -> None:
        """Show the picture as it is now, if there is anything to draw on yet."""
        if self.drawable:
            self.draw(self.ui.picture)
            self.lines()

    def tick(self) -> None:
        """A second has passed: the clock goes on, and ages have grown.

        Ages are minutes mostly, so they are drawn every second only while something runs.
        """
        if not self.drawable:
            return
        self._ticks += 1
        if self.ui.picture.jobs.active or self._ticks % _QUIET_TICKS == 0:
            self.grow_older()
        else:
            self.query_one("#tabs", Clickable).say_parts(self._tabs())

    def grow_older(self) -> None:
        """Draw ages again."""
        self.paint()

    @abstractmethod
    def draw(self, _picture: Picture, /) -> None:
        """Show what is new."""

    def focus_now(self) -> Focus:
        """What commands would act on."""
        return Focus(self.VIEW)

    def lines(self) -> None:
        """Tabs, status and keys."""
        self.query_one("#tabs", Clickable).say_parts(self._tabs())
        self.query_one("#status", Line).say(self.status())
        self.query_one("#keys", Clickable).say_parts(self._keys())

    def _tabs(self) -> list[tuple[Sequence[Piece], str]]:
        parts: list[tuple[Sequence[Piece], str]] = [([(" vmtui ", "strong")], "")]
        short = self.size.width < 80
        lit = self.lit_tab
        for view, key, title in TABS:
            label = f"{key} {title}" if not short else key
            parts.append(
                ([(f"[{label}]" if view == lit else f" {label} ", "tab" if view == lit else "")], f"view.{view}")
            )
        badges = self.ui.badges()
        time = clock.now().astimezone().strftime("%H:%M:%S")
        used = sum(len(text) for part, _ in parts for text, _ in part) + sum(len(badge) + 3 for badge in badges)
        gap = max(1, self.size.width - used - len(time) - 1)
        for badge in badges:
            parts += [([(" ", "")], ""), ([(f" {badge} ", "badge")], "")]
        return [*parts, ([(" " * gap, ""), (time, "dim")], "")]

    def status(self) -> list[Piece]:
        """The second line."""
        return [(" ", ""), *self.freshness()]

    def freshness(self) -> list[Piece]:
        """How true the picture is: live, or as of when."""
        picture = self.ui.picture
        if self.ui.frozen_at is not None:
            return [(f"frozen as of {self.ui.frozen_at.astimezone():%H:%M:%S}", "warn")]
        if picture.cached:
            times = [view.as_of for view in picture.hosts.values() if view.as_of is not None]
            return [(f"from the last session, as of {_clock(min(times))}" if times else "asking the hosts", "warn")]
        waiting = [view.name for view in picture.hosts.values() if view.state is HostState.CONNECTING]
        away = [view.name for view in picture.hosts.values() if view.away]
        text = "live" if not waiting else f"asking {len(waiting)} host{'s' if len(waiting) > 1 else ''}"
        if away:
            text += f", {len(away)} host{'s' if len(away) > 1 else ''} away"
        return [(text, "warn" if away or waiting else "good")]

    def _keys(self) -> list[tuple[Sequence[Piece], str]]:
        parts: list[tuple[Sequence[Piece], str]] = [([(" ", "")], "")]
        focus = self.focus_now()
        room = self.size.width - 1
        for command in self.ui.registry.footer(self.VIEW):
            off = bool(command.why_not(self.ui, focus)) or (command.danger is not Danger.NONE and focus.nothing)
            key = key_name(command.keys[0])
            room -= len(key) + len(command.label) + 3
            if room < 0:
                break
            parts.append(([(key, "dim" if off else "key"), (f" {command.label}  ", "dim" if off else "")], command.id))
        return parts

    # -- keys ------------------------------------------------------------------------------------

    def on_key(self, event: events.Key) -> None:
        """A key that no field took: the registry says what it does here."""
        if isinstance(self.focused, Input):
            # The field has first call on its keys; only those that leave it are ours.
            if event.key in ("escape", "enter"):
                # At once, not by a message: the next key belongs to the page again.
                event.stop()
                event.prevent_default()
                self.back() if event.key == "escape" else self.line_entered()
            elif event.is_printable and event.character is not None:
                # It was typed before the field had the focus, and is meant for it; never for a command.
                event.stop()
                event.prevent_default()
                self.focused.insert_text_at_cursor(event.character)
            return
        command = self.ui.registry.for_key(event.key, self.VIEW)
        if command is not None:
            event.stop()
            event.prevent_default()
            self.ui.perform(command, self.focus_now())

    def on_clickable_clicked(self, event: Clickable.Clicked) -> None:
        """A tab or a key was clicked."""
        command = self.ui.registry.by_id.get(event.name)
        if command is not None:
            self.ui.perform(command, self.focus_now())

    def back(self) -> bool:
        """Leave the innermost thing.

        Returns:
            Whether there was one besides the page itself.
        """
        if self.query_one("#prompt", Input).has_class("hidden"):
            return False
        self.close_line()
        return True

    def lines_shown(self) -> list[str]:
        """What is seen, as text."""
        return ["".join(segment.text for segment in strip).rstrip() for strip in self._compositor.render_strips()]

    # -- the prompt at the bottom: filter and command line ---------------------------------------

    def ask_line(self, what: str, text: str = "") -> None:
        """Open the prompt.

        Args:
            what: `filter` or `command`.
            text: What is in it.
        """
        prompt = self.query_one("#prompt", Input)
        prompt.value = text
        prompt.cursor_position = len(text)
        prompt.placeholder = {"filter": "filter, esc clears", "command": "a command, as in: backup web1"}[what]
        prompt.set_classes(what)
        prompt.display = True
        # At once, not by a message: what is typed next belongs into the field.
        self.set_focus(prompt)

    def close_line(self) -> None:
        """Close the prompt."""
        prompt = self.query_one("#prompt", Input)
        if not prompt.has_class("hidden"):
            prompt.set_classes("hidden")
            prompt.display = False
            self.focus_body()

    def focus_body(self) -> None:
        """Give the keys back to the body."""
        self.set_focus(None)

    def line_entered(self) -> None:
        """Enter keeps a filter, and runs a command."""
        prompt = self.query_one("#prompt", Input)
        is_command = prompt.has_class("command")
        text = prompt.value
        self.close_line()
        if is_command and text.strip():
            self.ui.run_line(text)


class TableView(Page):
    """A view whose body is one table, with a panel on the row under the cursor."""

    def __init__(self) -> None:
        super().__init__()
        self.filter_text = ""
        self.bad_filter = ""
        self.attention = False

    @abstractmethod
    def table_widget(self) -> VirtualTable[Any]:
        """Make the table."""

    def body(self) -> Iterable[Widget]:
        """The table and the panel."""
        self.table = self.table_widget()
        self.table.clock = clock.now
        yield self.table
        yield Text(id="panel")

    def on_mount(self) -> None:
        """The table has the keys."""
        self.focus_body()

    def focus_body(self) -> None:
        """The table has the keys."""
        self.set_focus(self.table)

    @abstractmethod
    def row_text(self, row: Any) -> str:
        """All that plain words of a filter look at."""

    @abstractmethod
    def row_fields(self, row: Any) -> Mapping[str, Any]:
        """What `key:value` of a filter looks at."""

    def is_urgent(self, _row: Any) -> bool:
        """Whether a row needs attention."""
        return False

    def panel(self, _row: Any) -> list[list[Piece]]:
        """The words about the row under the cursor."""
        return []

    def paint(self) -> None:
        """Show the picture, and the words on the row."""
        super().paint()
        if self.drawable:
            self._tell()

    def _tell(self) -> None:
        row = self.table.current
        lines = self.panel(row) if row is not None else []
        if self.table.is_ghost:
            lines = [[("This row has gone meanwhile; it disappears when you leave it.", "warn")], *lines]
        panel = self.query_one("#panel", Text)
        panel.display = bool(lines) and not self.has_class("zoomed")
        panel.say(lines)

    def grow_older(self) -> None:
        """Draw ages again."""
        self.table.refresh_ages()
        self.lines()

    def on_virtual_table_moved(self) -> None:
        """The cursor stands on another row."""
        self._tell()
        self.lines()

    def on_virtual_table_opened(self) -> None:
        """A row was opened with the mouse."""
        self.ui.perform(self.ui.registry.by_id["nav.open"], self.focus_now())

    def status(self) -> list[Piece]:
        """Counts, filter, sort, marks, freshness."""
        table = self.table
        shown, total = len(table.rows), table.total
        parts: list[Piece] = [(f" {shown} of {total}" if shown != total else f" {total}", "")]
        if self.attention:
            parts.append((" · attention only", "warn"))
        if self.filter_text:
            parts.append((f" · filter {self.filter_text}", "warn"))
        if self.bad_filter:
            parts.append((f" · {self.bad_filter}", "bad"))
        if table.sort_by is not None:
            parts.append((f" · sort {table.sort_by.title} {'▲' if table.reverse else '▼'}", ""))
        if table.marks:
            parts.append((f" · {len(table.marks)} marked", "strong"))
        return [*parts, (" · ", ""), *self.freshness()]

    # -- filter ----------------------------------------------------------------------------------

    def set_filter(self, text: str) -> None:
        """Filter by what was typed; a word that is not understood keeps the rows as they are."""
        try:
            parsed = parse_filter(text)
        except BadFilterError as error:
            self.bad_filter = str(error)
            self.lines()
            return
        self.filter_text, self.bad_filter = text.strip(), ""
        self._narrow(parsed)

    def set_attention(self, on: bool) -> None:
        """Show only what needs attention, or all."""
        self.attention = on
        self._narrow(parse_filter(self.filter_text))

    def _narrow(self, parsed: Filter) -> None:
        if not parsed.terms and not self.attention:
            self.table.narrow(None)
        else:
            self.table.narrow(
                lambda row: (
                    (not self.attention or self.is_urgent(row))
                    and parsed.matches(self.row_text(row), self.row_fields(row))
                )
            )
        self.lines()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while typing."""
        if event.input.has_class("filter"):
            self.set_filter(event.value)

    def on_key(self, event: events.Key) -> None:
        """Capitals sort; everything else is the registry's."""
        if event.character is not None and event.character.isupper() and self.focused is self.table:
            command = self.ui.registry.for_key(event.key, self.VIEW)
            if command is None and self.table.sort_letter(event.character):
                event.stop()
                self.lines()
                return

    def back(self) -> bool:
        """Prompt, zoom, filter, marks, in this order."""
        prompt = self.query_one("#prompt", Input)
        if not prompt.has_class("hidden"):
            if prompt.has_class("filter"):
                self.set_filter("")
            self.close_line()
            return True
        if self.has_class("zoomed"):
            self.zoom()
            return True
        if self.filter_text or self.attention or self.bad_filter:
            self.attention = False
            self.set_filter("")
            return True
        return self.table.clear_marks()

    def zoom(self) -> None:
        """The table takes the whole screen, or gives the room back."""
        self.toggle_class("zoomed")
        self._tell()


def _clock(instant: datetime) -> str:
    local = instant.astimezone()
    return f"{local:%H:%M}" if local.date() == clock.now().astimezone().date() else f"{local:%d %b %H:%M}"
