"""A table for live data: ten thousand rows, drawn line by line; cursor and marks stay with their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from vmtui.tui.widgets.paint import PAINT


class Row(Protocol):
    """What a table shows."""

    @property
    def id(self) -> str:
        """Names the row, whatever its place."""


R = TypeVar("R", bound=Row)


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its text and what it means: good, warn, bad, unknown, dim or nothing."""

    text: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Column(Generic[R]):
    """One column.

    The one capital in the title that is not its first letter, else the first, is the key that sorts by it.
    """

    title: str
    width: int
    """Least width [columns]."""
    cell: Callable[[R, datetime], Cell]
    sort: Callable[[R], Any] | None = None
    right: bool = False
    grow: int = 0
    """Share of the room that is left."""
    wide: int = 0
    """Shown from this terminal width on."""

    @property
    def letter(self) -> str:
        """The capital that sorts by this column; empty when it does not sort."""
        if self.sort is None:
            return ""
        capitals = [character for character in self.title if character.isupper()]
        return capitals[-1] if capitals else ""


TONES = ("good", "warn", "bad", "unknown", "dim")


class VirtualTable(ScrollView, Generic[R], can_focus=True, inherit_bindings=False):
    """A table of rows that are named by ids.

    Args:
        columns: What is shown.
        empty: What an empty table says.
        id: The widget's id.
        keep_gone: The row under the cursor stays to be read when it has gone.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "table--head",
        "table--cursor",
        "table--mark",
        *(f"table--{tone}" for tone in TONES),
    }

    class Moved(Message):
        """The cursor stands on another row, or its row changed."""

    class Opened(Message):
        """A row was opened with the mouse."""

    def __init__(
        self, columns: Sequence[Column[R]], empty: str, *, id: str | None = None, keep_gone: bool = True
    ) -> None:  # Textual's own name
        super().__init__(id=id)
        self.columns = tuple(columns)
        self.empty = empty
        self.clock: Callable[[], datetime] = datetime.now
        self.marks: set[str] = set()
        self.sort_by: Column[R] | None = None
        self.reverse = False
        self._all: tuple[R, ...] = ()
        self._rows: list[R] = []
        self._place: dict[str, int] = {}
        self._passes: Callable[[R], bool] | None = None
        self._cursor = ""
        self._at = 0
        self._ghost: R | None = None
        self._layout: list[tuple[Column[R], int]] = []
        self._keep_gone = keep_gone

    # -- rows ------------------------------------------------------------------------------------

    @property
    def rows(self) -> Sequence[R]:
        """Rows that pass the filter, in the order that is shown."""
        return self._rows

    @property
    def total(self) -> int:
        """How many rows there are without the filter."""
        return len(self._all)

    def show(self, rows: tuple[R, ...]) -> None:
        """Replace the rows. The cursor stays on its row; if that row has gone it stays to be read, until left."""
        if rows is self._all:
            self.refresh()
            return
        before = self.current
        self._all = rows
        self.marks &= {row.id for row in rows}
        self._arrange(before if self._keep_gone else None)

    def narrow(self, passes: Callable[[R], bool] | None) -> None:
        """Show only rows that pass."""
        self._passes = passes
        self._ghost = None
        self._arrange(None)

    def order(self, column: Column[R] | None, *, reverse: bool = False) -> None:
        """Sort; None is the order in which the rows came."""
        self.sort_by, self.reverse = column, reverse
        self._arrange(None)

    def _arrange(self, before: R | None) -> None:
        rows = list(self._all) if self._passes is None else [row for row in self._all if self._passes(row)]
        if self.sort_by is not None and self.sort_by.sort is not None:
            rows.sort(key=self.sort_by.sort, reverse=self.reverse)
        elif self.reverse:
            rows.reverse()
        self._place = {row.id: place for place, row in enumerate(rows)}
        if before is not None and before.id not in self._place and before.id == self._cursor:
            self._ghost = next((row for row in self._all if row.id == before.id), before)  # it may pass no longer
            at = min(self._at, len(rows))
            rows.insert(at, self._ghost)
            self._place = {row.id: place for place, row in enumerate(rows)}
        self._rows = rows
        self._at = self._place.get(self._cursor, min(self._at, max(0, len(rows) - 1)))
        self._cursor = rows[self._at].id if rows else ""
        self._resize()
        self.refresh()
        self.post_message(self.Moved())

    # -- cursor and marks ------------------------------------------------------------------------

    @property
    def current(self) -> R | None:
        """The row under the cursor."""
        return self._rows[self._at] if self._rows else None

    @property
    def is_ghost(self) -> bool:
        """Whether the row under the cursor has gone meanwhile."""
        return self._ghost is not None and self.current is self._ghost

    def chosen(self) -> tuple[R, ...]:
        """The marked rows, else the one under the cursor; what verbs act on."""
        marked = tuple(row for row in self._rows if row.id in self.marks and row is not self._ghost)
        current = self.current
        return marked or ((current,) if current is not None and not self.is_ghost else ())

    def go_to(self, row_id: str) -> None:
        """Put the cursor on a row, if it is there; before there are any rows, on it when they come."""
        if row_id in self._place:
            self.move_to(self._place[row_id])
        elif not self._rows:
            self._cursor = row_id

    def move_to(self, place: int) -> None:
        """Put the cursor on a place; a row that has gone disappears when it is left."""
        if not self._rows:
            return
        place = max(0, min(place, len(self._rows) - 1))
        target = self._rows[place].id
        if self._ghost is not None and target != self._ghost.id:
            self._ghost = None
            self._cursor = target
            self._arrange(None)
        self._at = self._place.get(target, place)
        self._cursor = target
        self._reveal()
        self.refresh()
        self.post_message(self.Moved())

    def move_by(self, steps: int) -> None:
        """Move the cursor."""
        self.move_to(self._at + steps)

    @property
    def page(self) -> int:
        """Rows on a page."""
        return max(1, self.size.height - 1)

    def toggle_mark(self) -> None:
        """Mark the row under the cursor, or not, and go down."""
        if (row := self.current) is not None and not self.is_ghost:
            self.marks ^= {row.id}
            self.move_by(1)

    def mark_range(self, steps: int) -> None:
        """Mark from here while moving."""
        if (row := self.current) is not None:
            self.marks.add(row.id)
            self.move_to(self._at + steps)
            if (row := self.current) is not None:
                self.marks.add(row.id)

    def mark_all(self) -> None:
        """Mark all rows that are shown."""
        self.marks = {row.id for row in self._rows if row is not self._ghost}
        self.refresh()
        self.post_message(self.Moved())

    def clear_marks(self) -> bool:
        """Mark nothing.

        Returns:
            Whether anything was marked.
        """
        had = bool(self.marks)
        self.marks = set()
        self.refresh()
        self.post_message(self.Moved())
        return had

    def sort_letter(self, letter: str) -> bool:
        """Sort by the column of that capital; again turns it round.

        Returns:
            Whether there is such a column.
        """
        for column in self.columns:
            if column.letter == letter:
                self.order(column, reverse=not self.reverse if self.sort_by is column else False)
                return True
        return False

    def shift_sort(self, steps: int) -> None:
        """Sort by the next or the previous column."""
        able = [column for column in self.columns if column.sort is not None]
        at = able.index(self.sort_by) + steps if self.sort_by in able else (0 if steps > 0 else -1)
        if able:
            self.order(able[at % len(able)])

    # -- drawing ---------------------------------------------------------------------------------

    def on_mount(self) -> None:
        """Lay out once the size is known."""
        self._resize()

    def on_resize(self, _: events.Resize) -> None:
        """Lay out anew."""
        self._resize()
        self._reveal()

    def _resize(self) -> None:
        width = self.size.width
        shown = [column for column in self.columns if self.app.size.width >= column.wide]
        room = width - 2 - sum(column.width + 1 for column in shown)
        while room < 0 and len(shown) > _LEAST_COLUMNS:
            room += _drop(shown).width + 1
        shares = sum(column.grow for column in shown) or 1
        self._layout = [(column, column.width + max(0, room) * column.grow // shares) for column in shown]
        self.virtual_size = Size(width, len(self._rows) + 1)

    def _reveal(self) -> None:
        top = round(self.scroll_offset.y)
        height = self.page
        if self._at < top:
            self.scroll_to(y=self._at, animate=False, immediate=True)
        elif self._at >= top + height:
            self.scroll_to(y=self._at - height + 1, animate=False, immediate=True)

    def render_line(self, y: int) -> Strip:
        """One line of the screen; the first is the heading."""
        width = self.size.width
        if y == 0:
            return self._head(width)
        if not self._rows:
            return self._strip(PAINT.fit(f"  {self.empty}" if y == 1 else "", width), self._style("table--dim"))
        place = y - 1 + round(self.scroll_offset.y)
        if place >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        return self._line(self._rows[place], width, under_cursor=place == self._at)

    def _head(self, width: int) -> Strip:
        parts = []
        for column, columns in self._layout:
            arrow = ("▲" if self.reverse else "▼") if column is self.sort_by else ""
            parts.append(PAINT.fit(f"{column.title}{arrow}", columns, right=column.right))
        return self._strip(PAINT.fit("  " + " ".join(parts), width), self._style("table--head"))

    def _line(self, row: R, width: int, *, under_cursor: bool) -> Strip:
        base = self.rich_style
        marked = row.id in self.marks
        if marked:
            base += self._style("table--mark")
        if under_cursor:
            base += self._style("table--cursor")
        now = self.clock()
        sign = ("►" if under_cursor else " ") if not marked else "*"
        segments = [Segment(PAINT.fit(sign, 1) + " ", base)]
        for column, columns in self._layout:
            cell = column.cell(row, now)
            tone = "dim" if row is self._ghost else cell.tone
            style = base + self._tone(tone, under_cursor=under_cursor) if tone else base
            segments.append(Segment(PAINT.fit(cell.text, columns, right=column.right), style))
            segments.append(Segment(" ", base))
        return Strip(segments).adjust_cell_length(width, base)

    def _tone(self, tone: str, *, under_cursor: bool) -> Style:
        style = self._style(f"table--{tone}")
        return Style(bold=style.bold, underline=style.underline) if under_cursor else style

    def _style(self, component: str) -> Style:
        return self.get_component_rich_style(component, partial=True)

    def _strip(self, text: str, style: Style) -> Strip:
        return Strip([Segment(text, self.rich_style + style)])

    def refresh_ages(self) -> None:
        """Draw again what is seen; time has passed."""
        self.refresh(Region(0, 1, self.size.width, max(0, self.size.height - 1)))

    # -- the mouse -------------------------------------------------------------------------------

    def on_click(self, event: events.Click) -> None:
        """A click moves the cursor; a second one on the same row opens it."""
        if event.y == 0:
            self._click_head(event.x)
            return
        place = event.y - 1 + round(self.scroll_offset.y)
        if place < len(self._rows):
            again = place == self._at
            self.move_to(place)
            if again and event.chain > 1:
                self.post_message(self.Opened())

    def _click_head(self, x: int) -> None:
        left = 2
        for column, columns in self._layout:
            if left <= x < left + columns and column.sort is not None:
                self.order(column, reverse=not self.reverse if self.sort_by is column else False)
            left += columns + 1


_LEAST_COLUMNS = 2


def _drop(columns: list[Column[Any]]) -> Column[Any]:
    """Take the last column away that is not the state or the RPO: those go last."""
    for place in range(len(columns) - 1, 0, -1):
        if columns[place].title.lower() not in ("state", "rpo"):
            return columns.pop(place)
    return columns.pop()


def words_of(cells: Iterable[Cell]) -> str:
    """Cells as one line of text."""
    return "  ".join(cell.text for cell in cells if cell.text)
