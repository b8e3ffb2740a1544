"""The files of a point: volumes and the way on the left, a folder on the right, the beginning of a file below."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from textual.containers import Horizontal
from textual.widget import Widget

from vmtui.files.entries import Entry, Kind, Place, Volume
from vmtui.files.walk import Problem
from vmtui.model.errors import VmtuiError
from vmtui.overview.files import changed_words, mode_words, name_words
from vmtui.overview.points import PointView
from vmtui.overview.words import local, size
from vmtui.tui import clock
from vmtui.tui.browsing import FOUND_LIMIT, Session, found_below
from vmtui.tui.picture import Picture
from vmtui.tui.screens.base import TableView
from vmtui.tui.screens.vms import short_size
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.widgets.frame import Piece, Text
from vmtui.tui.widgets.table import Cell, Column, VirtualTable

_PREVIEW = 2048
"""Bytes of a file that are looked at for the panel."""
_PREVIEW_LINES = 4
VIEW_LIMIT = 256 << 10
"""Bytes of a file that a page of text shows."""
_TONES = {Kind.FOLDER: "", Kind.FILE: "", Kind.LINK: "dim", Kind.UNKNOWN: "bad"}


@dataclass(frozen=True, slots=True)
class FileRow:
    """Something in a folder, or found."""

    place: Place
    entry: Entry
    shown: str
    """Its name, or its path when it was found."""

    @property
    def id(self) -> str:
        """Names the row."""
        return str(self.place)


@dataclass(frozen=True, slots=True)
class PlaceRow:
    """A volume, or a folder on the way to the one that is shown."""

    place: Place
    text: str
    about: str
    tone: str = ""

    @property
    def id(self) -> str:
        """Names the row."""
        return str(self.place)


class FilesPage(TableView):
    """One point, open for browsing.

    Args:
        point: The point.
        tab: The tab that stays lit.
    """

    VIEW: ClassVar[str] = "files"
    HELP: ClassVar[str] = (
        "The files inside a point, read from the repository without touching any VM; every block is compared with its "
        "hash. On the left the volumes and the way to this folder, on the right what is in it; tab changes sides. "
        "enter opens, backspace goes up, space marks, f searches below here, / narrows what is shown. w takes what is "
        "chosen into a local folder, u puts a file back into the running guest."
    )

    def __init__(self, point: PointView, tab: str) -> None:
        super().__init__()
        self.point = point
        self.place = Place("")
        self.volumes: tuple[Volume, ...] = ()
        self._tab = tab
        self._session: Session | None = None
        self._rows: tuple[FileRow, ...] = ()
        self._said = "opening the point …"
        self._tone = "warn"
        self._search = ""
        self._previews: dict[str, list[str]] = {}
        self._asked_preview = ""
        self._then = ""

    @property
    def lit_tab(self) -> str:
        """The tab of the view that it opened from."""
        return self._tab

    @property
    def session(self) -> Session:
        """The open point."""
        if self._session is None:
            self._session = Session(self.ui.settings, self.point, self.ui.browsing)
        return self._session

    # -- what is on it ---------------------------------------------------------------------------

    def body(self) -> Iterable[Widget]:
        """Two tables side by side, and the panel."""
        self.right: VirtualTable[FileRow] = VirtualTable(_COLUMNS, "", id="table", keep_gone=False)
        self.left: VirtualTable[PlaceRow] = VirtualTable(_PLACES, "", id="places", keep_gone=False)
        self.table = self.left
        for table in (self.left, self.right):
            table.clock = clock.now
        with Horizontal(id="panes"):
            yield self.left
            yield self.right
        yield Text(id="panel")

    def table_widget(self) -> VirtualTable[Any]:
        """The one that has the keys."""
        return self.table

    def on_mount(self) -> None:
        """Open the point."""
        super().on_mount()
        self.session.ask(lambda browser: tuple(browser.volumes), self._opened, self._failed)

    def on_unmount(self) -> None:
        """Close the point."""
        super().on_unmount()
        self.session.close()

    def _opened(self, volumes: tuple[Volume, ...]) -> None:
        self.volumes = volumes
        self._say("")
        self._show_places()
        self.paint()

    def draw(self, _picture: Picture, /) -> None:
        """What is shown changes only when somebody goes somewhere."""

    def _show_places(self) -> None:
        rows: list[PlaceRow] = []
        for volume in self.volumes:
            tone = "dim" if volume.reason else ""
            rows.append(PlaceRow(Place(volume.name), volume.name, f"{volume.kind} {short_size(volume.size)}", tone))
            if volume.name == self.place.volume:
                rows += [
                    PlaceRow(
                        Place(volume.name, self.place.path[:depth]),
                        "  " * min(depth, 6) + self.place.path[depth - 1],
                        "",
                    )
                    for depth in range(1, len(self.place.path) + 1)
                ]
        self.left.show(tuple(rows))
        self.left.go_to(str(self.place))

    # -- going -----------------------------------------------------------------------------------

    def open_row(self) -> None:
        """Enter: into the folder or volume, along the link, or look at the file."""
        row = self.table.current
        if row is None:
            return
        if isinstance(row, FileRow) and row.entry.kind is Kind.FILE:
            self._view(row)
        elif isinstance(row, FileRow) and row.entry.kind not in (Kind.FOLDER, Kind.LINK):
            self._say(f"{row.entry.name} is a {row.entry.kind}", "warn")
            self.lines()
        else:
            self.go(row.place)

    def go(self, place: Place, then: str = "") -> None:
        """Show a folder.

        Args:
            place: It; links on the way are followed.
            then: The row that gets the cursor.
        """
        volume = next((item for item in self.volumes if item.name == place.volume), None)
        if volume is not None and volume.reason:
            self._say(f"{volume.name}: {volume.reason}", "warn")
            self.lines()
            return
        self._then = then
        self._say(f"reading {place} …", "warn")
        self.lines()

        def read(browser: Any) -> tuple[Place, list[Entry]]:
            real, entry = browser.look(place, follow=True)
            if entry.kind is not Kind.FOLDER:
                real = real.parent
            return real, browser.folder(real)

        self.session.ask(read, self._arrived, self._failed)

    def _arrived(self, found: tuple[Place, list[Entry]]) -> None:
        self.place, entries = found
        self._search = ""
        ordered = sorted(entries, key=lambda entry: (entry.kind is not Kind.FOLDER, entry.name.casefold()))
        self._rows = tuple(FileRow(self.place.child(entry.name), entry, name_words(entry)) for entry in ordered)
        self._fill("This folder is empty.")
        if self._then:
            self.right.go_to(self._then)

    def _fill(self, empty: str) -> None:
        self._say(next((item.note for item in self.volumes if item.name == self.place.volume), ""), "warn")
        self.set_filter("")
        self.right.marks = set()
        self.right.empty = empty
        self.right.show(self._rows)
        self.right.move_to(0)
        self._show_places()
        self.table = self.right
        self.focus_body()
        self.paint()

    def go_up(self) -> None:
        """To the folder above, with the cursor on the one that was left."""
        if self._search:
            self.go(self.place)
        elif self.place.path:
            self.go(self.place.parent, str(self.place))
        else:
            self.other_side(left=True)

    def other_side(self, *, left: bool | None = None) -> None:
        """Give the keys to the other table."""
        to_left = self.table is self.right if left is None else left
        self.table = self.left if to_left else self.right
        self.focus_body()
        self.paint()

    def search(self, pattern: str) -> None:
        """Search below the folder that is shown, or on all volumes."""
        place = self.place
        self._say(f"searching {pattern} below {place} …", "warn")
        self.lines()

        def done(answer: tuple[list[tuple[Place, Entry]], list[Problem]]) -> None:
            found, problems = answer
            depth = len(place.path) + 1 if place.volume else 0
            self._search = pattern
            self._rows = tuple(
                FileRow(where, entry, "/".join((where.volume, *where.path)[depth:])) for where, entry in found
            )
            self._fill(f"Nothing below {place} is named like {pattern}.")
            if len(found) == FOUND_LIMIT:
                self._say(f"only the first {FOUND_LIMIT} are shown", "warn")
                self.lines()
            elif problems:
                self._say(f"{len(problems)} not searched; {problems[0].path}: {problems[0].cause}", "bad")
                self.lines()

        self.session.ask(lambda browser: found_below(browser, place, pattern), done, self._failed)

    def _failed(self, error: VmtuiError) -> None:
        self._say(error.cause, "bad")
        self.ui.say_error(error)
        self.lines()

    def _say(self, text: str, tone: str = "") -> None:
        self._said, self._tone = text, tone

    # -- looking at a file -----------------------------------------------------------------------

    def _view(self, row: FileRow) -> None:
        from vmtui.tui.screens.text import TextPage

        def done(data: bytes) -> None:
            more = f" (its first {size(len(data))})" if len(data) < row.entry.size else ""
            lines: list[list[Piece]] = [[(line, "")] for line in text_lines(data)]
            self.app.push_screen(
                TextPage(f"{row.place}{more}", lines, self.lit_tab, Focus("text", points=(self.point,)))
            )

        self.session.ask(lambda browser: _beginning(browser, row.place, VIEW_LIMIT), done, self._failed)

    def _preview(self, row: FileRow) -> list[list[Piece]]:
        """The beginning of a file, asked for when it is not known yet."""
        if row.entry.kind is not Kind.FILE or not row.entry.size:
            return []
        if row.id not in self._previews:
            self._ask_preview(row)
            return [[("…", "dim")]]
        return [[(line, "dim")] for line in self._previews[row.id]]

    def _ask_preview(self, row: FileRow) -> None:
        """One at a time: while one is read the cursor may move on."""
        if self._asked_preview:
            return
        self._asked_preview = row.id

        def told(lines: list[str]) -> None:
            self._asked_preview = ""
            self._previews = {row.id: lines}
            self._tell()

        self.session.ask(
            lambda browser: text_lines(_beginning(browser, row.place, _PREVIEW))[:_PREVIEW_LINES],
            told,
            lambda error: told([error.cause]),
        )

    # -- the frame -------------------------------------------------------------------------------

    def status(self) -> list[Piece]:
        """Which point, where in it, how many."""
        about = f" {self.point.vm} {local(self.point.time)[:16]}  "
        parts: list[Piece] = [(about, "dim"), (str(self.place), "strong")]
        if self._search:
            parts.append((f" search {self._search}", "warn"))
        if self.place.volume:
            shown, total = len(self.right.rows), self.right.total
            parts.append((f" · {shown} of {total}" if shown != total else f" · {total}", ""))
        if self.filter_text:
            parts.append((f" · filter {self.filter_text}", "warn"))
        if self.right.marks:
            parts.append((f" · {len(self.right.marks)} marked", "strong"))
        parts += [(f" · {take.words}", "good") for take in self.ui.takes]
        if self._said:
            parts.append((f" · {self._said}", self._tone))
        return parts

    def focus_now(self) -> Focus:
        """The chosen files; on the left, the folder or volume under the cursor."""
        rows: Sequence[FileRow | PlaceRow] = self.table.chosen()
        return Focus(self.VIEW, points=(self.point,), files=tuple(row.place for row in rows))

    def row_text(self, row: FileRow | PlaceRow) -> str:
        """Its name."""
        return row.shown if isinstance(row, FileRow) else row.text

    def row_fields(self, row: FileRow | PlaceRow) -> Mapping[str, Any]:
        """Size, age and kind."""
        if isinstance(row, PlaceRow):
            return {}
        changed = row.entry.changed
        age = None if changed is None else (clock.now() - changed).total_seconds()
        return {"size": row.entry.size, "age": age, "kind": row.entry.kind.value}

    def panel(self, row: FileRow | PlaceRow) -> list[list[Piece]]:
        """All facts of what is under the cursor, and the beginning of a file."""
        if isinstance(row, PlaceRow):
            return self._volume_words(row)
        entry = row.entry
        facts = f"{entry.kind}, {entry.mode:04o}, {entry.uid}:{entry.gid}, changed {changed_words(entry)}"
        links = f", {entry.links} names" if entry.links > 1 and entry.kind is Kind.FILE else ""
        lines: list[list[Piece]] = [
            [(str(row.place), "strong")],
            [(f"{facts}, {size(entry.size)} ({entry.size} bytes){links}", "")],
        ]
        if entry.target:
            lines.append([("points to ", "dim"), (entry.target, "")])
        if entry.problem:
            lines.append([(entry.problem, "bad")])
        return [*lines, *self._preview(row)]

    def _volume_words(self, row: PlaceRow) -> list[list[Piece]]:
        volume = next((item for item in self.volumes if item.name == row.place.volume), None)
        if volume is None:
            return []
        label = f", label {volume.label}" if volume.label else ""
        lines: list[list[Piece]] = [
            [(str(row.place), "strong")],
            [(f"{volume.name}: {volume.kind}, {size(volume.size)}{label}", "")],
        ]
        if volume.reason or volume.note:
            lines.append([(volume.reason or volume.note, "warn")])
        return lines


def text_lines(data: bytes) -> list[str]:
    """A file as lines: text, else its bytes in hexadecimal. Pure."""
    if b"\0" not in data:
        return data.decode("utf-8", "replace").expandtabs().splitlines()
    return [
        f"{start:08x}  {data[start : start + 16].hex(' '):47}  "
        + "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data[start : start + 16])
        for start in range(0, len(data), 16)
    ]


def _beginning(browser: Any, place: Place, length: int) -> bytes:
    """The first bytes of a file. Blocks."""
    data = b""
    for part in browser.contents(place):
        data += part.data or bytes(min(part.hole, length))
        if len(data) >= length:
            break
    return data[:length]


def _size(row: FileRow, _: datetime) -> Cell:
    return Cell(short_size(row.entry.size) if row.entry.kind is Kind.FILE else "", "dim")


_COLUMNS: tuple[Column[FileRow], ...] = (
    Column(
        "Name",
        18,
        lambda row, _: Cell(
            row.shown + ("/" if row.entry.kind is Kind.FOLDER else ""), _TONES.get(row.entry.kind, "dim")
        ),
        lambda row: row.shown.casefold(),
        grow=5,
    ),
    Column("Size", 8, _size, lambda row: row.entry.size, right=True),
    Column("Changed", 16, lambda row, _: Cell(changed_words(row.entry)[:16]), lambda row: row.entry.mtime_ns),
    Column("Mode", 10, lambda row, _: Cell(mode_words(row.entry)), lambda row: row.entry.mode, wide=110),
    Column(
        "Owner",
        11,
        lambda row, _: Cell(f"{row.entry.uid}:{row.entry.gid}"),
        lambda row: (row.entry.uid, row.entry.gid),
        wide=110,
    ),
)
_PLACES: tuple[Column[PlaceRow], ...] = (
    Column("Volumes", 12, lambda row, _: Cell(row.text, row.tone), grow=3),
    Column("what", 9, lambda row, _: Cell(row.about, "dim"), grow=1),
)
