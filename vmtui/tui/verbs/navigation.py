"""Commands that change nothing but what is seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vmtui.tui.screens.base import TABS, TableView
from vmtui.tui.verbs.opening import no_open
from vmtui.tui.verbs.registry import Command, Focus

if TYPE_CHECKING:
    from vmtui.tui.app import VmtuiApp
    from vmtui.tui.widgets.table import VirtualTable

TABLES = ("vms", "vm", "points", "jobs", "hosts", "host", "log", "calls", "files")
"""Views whose body is a table."""

_TWINS = {
    "pulse": "vmtui pulse",
    "vms": "vmtui vms",
    "points": "vmtui points",
    "jobs": "vmtui jobs",
    "hosts": "vmtui hosts",
    "repo": "vmtui repo stats",
    "log": "vmtui log",
}


def _view(view: str) -> Callable[[VmtuiApp, Focus], None]:
    return lambda app, _: app.go_to(view)


def _table(act: Callable[[VirtualTable[Any]], object]) -> Callable[[VmtuiApp, Focus], None]:
    def run(app: VmtuiApp, _: Focus) -> None:
        table = getattr(app.screen, "table", None)
        if table is not None:
            act(table)

    return run


def _on_page(name: str) -> Callable[[VmtuiApp, Focus], None]:
    """Call a method of the present screen."""
    return lambda app, _: getattr(app.screen, name)()


def _moved(by: int) -> Callable[[VmtuiApp, Focus], None]:
    return lambda app, _: getattr(app.screen, "move")(by)  # noqa: B009  # a page of its own has it


def _filter(app: VmtuiApp, _: Focus) -> None:
    if isinstance(app.screen, TableView):
        app.screen.ask_line("filter", app.screen.filter_text)


def _attention(app: VmtuiApp, _: Focus) -> None:
    if isinstance(app.screen, TableView):
        app.screen.set_attention(not app.screen.attention)


def _open(app: VmtuiApp, focus: Focus) -> None:
    app.open(focus)


MOVES = (*TABLES, "wizard", "several")
"""Where a cursor moves in a table."""


VIEWS = tuple(
    Command(
        f"view.{view}",
        (key,),
        title,
        f"Go to view {key}, {title}.",
        _view(view),
        twin=_TWINS[view],
    )
    for view, key, title in TABS
)

COMMANDS = (
    *VIEWS,
    Command("view.last", ("minus",), "Last view", "Go to the view before this one.", lambda app, _: app.go_back_view()),
    Command("nav.back", ("escape",), "Back", "Leave the innermost thing: prompt, zoom, filter, marks, page. Never quits.", lambda app, _: app.leave()),
    Command("nav.open", ("enter",), "Open", "Drill into the row under the cursor.", _open, why_not=no_open, footer=1),
    Command("app.quit", ("q", "ctrl+q"), "Quit", "Back; at the root quit at once. Jobs go on.", lambda app, _: app.quit_or_back(), footer=99),
    Command("nav.up", ("up", "k"), "Up", "One row up.", _table(lambda table: table.move_by(-1)), views=MOVES),
    Command("nav.down", ("down", "j"), "Down", "One row down.", _table(lambda table: table.move_by(1)), views=MOVES),
    Command("wizard.next", ("right_square_bracket",), "Next step", "To the next step; from the plan to your word.", _on_page("go_on"), views=("wizard",), footer=2),
    Command("wizard.back", ("left_square_bracket",), "Step back", "To the step before.", _on_page("go_back"), views=("wizard",), footer=3),
    Command("several.next", ("right_square_bracket",), "Restore", "From the plan to your word.", _on_page("go_on"), views=("several",), footer=2),
    Command("several.down", ("J", "shift+down"), "Later", "Restore the VM under the cursor later.", _moved(1), views=("several",), footer=3),
    Command("several.up", ("K", "shift+up"), "Sooner", "Restore the VM under the cursor sooner.", _moved(-1), views=("several",), footer=4),
    Command("nav.top", ("g", "home"), "Top", "To the first row.", _table(lambda table: table.move_to(0)), views=MOVES),
    Command("nav.bottom", ("G", "end"), "Bottom", "To the last row.", _table(lambda table: table.move_to(len(table.rows))), views=MOVES),
    Command("nav.page-down", ("pagedown",), "Page", "A page down.", _table(lambda table: table.move_by(table.page)), views=MOVES),
    Command("nav.page-up", ("pageup",), "Page", "A page up.", _table(lambda table: table.move_by(-table.page)), views=MOVES),
    Command("nav.half-down", ("ctrl+d",), "Half", "Half a page down.", _table(lambda table: table.move_by(table.page // 2)), views=MOVES),
    Command("nav.half-up", ("ctrl+u",), "Half", "Half a page up.", _table(lambda table: table.move_by(-(table.page // 2))), views=MOVES),
    Command("view.zoom", ("z",), "Zoom", "The table takes the whole screen, or gives the room back.", _on_page("zoom"), views=TABLES),
    Command("find.filter", ("slash",), "Filter", "Filter the rows: words, key:value, age:>26h, !not.", _filter, views=TABLES, footer=80),
    Command("find.attention", ("exclamation_mark",), "Attention", "Only what needs attention.", _attention, views=TABLES),
    Command("find.command", ("colon",), "Command", "Type a command in the words of the command line.", lambda app, _: app.ask_command(), footer=90),
    Command("find.palette", ("ctrl+p", "ctrl+k"), "Palette", "All commands, those that cannot be run now with the reason.", lambda app, focus: app.show_palette(focus)),
    Command("help.open", ("question_mark", "f1"), "Help", "Keys of this view, what it shows, what the colours mean.", lambda app, _: app.show_help(), footer=98),
    Command("mark.toggle", ("space",), "Mark", "Mark the row, and go down.", _table(lambda table: table.toggle_mark()), views=TABLES),
    Command("mark.down", ("J", "shift+down"), "Mark down", "Mark from here while going down.", _table(lambda table: table.mark_range(1)), views=TABLES),
    Command("mark.up", ("K", "shift+up"), "Mark up", "Mark from here while going up.", _table(lambda table: table.mark_range(-1)), views=TABLES),
    Command("mark.all", ("asterisk",), "Mark all", "Mark all rows that are shown.", _table(lambda table: table.mark_all()), views=TABLES),
    Command("mark.clear", ("U",), "Unmark", "Mark nothing.", _table(lambda table: table.clear_marks()), views=TABLES),
    Command("sort.next", ("greater_than_sign",), "Sort", "Sort by the next column. The capital in a heading sorts by that column.", _table(lambda table: table.shift_sort(1)), views=TABLES),
    Command("sort.previous", ("less_than_sign",), "Sort", "Sort by the previous column.", _table(lambda table: table.shift_sort(-1)), views=TABLES),
    Command("sort.invert", ("I",), "Turn round", "Turn the order round.", _table(lambda table: table.order(table.sort_by, reverse=not table.reverse)), views=TABLES),
    Command("view.freeze", ("p",), "Freeze", "Stop the picture, or let it go on. Jobs go on anyway.", lambda app, _: app.freeze()),
    Command("view.refresh", ("ctrl+r",), "Ask now", "Ask hosts and repository now, past any back-off.", lambda app, _: app.ask_now()),
    Command("view.redraw", ("ctrl+l",), "Redraw", "Paint the whole screen anew.", lambda app, _: app.redraw()),
)  # fmt: skip
