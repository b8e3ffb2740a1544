"""Taking files and folders out of a point, into a local folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from vmtui.files.browser import Browser, Part
from vmtui.files.entries import Entry, Kind, Place
from vmtui.files.protocol import MAX_READ, SMALL
from vmtui.files.target import Folder, Rules
from vmtui.files.walk import Problem, Visited
from vmtui.model.errors import DamageError, FailedError, RefusedError, UsageError
from vmtui.model.progress import Watch

_BATCH = 500
_CAUGHT = (FailedError, DamageError, RefusedError, UsageError)


@dataclass(slots=True)
class Taken:
    """What came of it."""

    files: int = 0
    folders: int = 0
    links: int = 0
    size_bytes: int = 0
    """Of the files, holes included."""
    left_out: list[str] = field(default_factory=list)
    """Devices, pipes and sockets: they are never made."""
    problems: list[Problem] = field(default_factory=list)

    @property
    def damage(self) -> bool:
        """Whether something could not be taken as the repository is damaged."""
        return any(problem.damage for problem in self.problems)


@dataclass(frozen=True, slots=True)
class _Written:
    """A file that has further names."""

    path: tuple[str, ...]
    """From the target folder on."""
    identity: tuple[int, int]


class Taker:
    """Takes things out of an open point.

    Args:
        browser: The point.
        target: The open target folder.
        rules: How things are written there.
        watch: Progress [bytes] and cancelling.
    """

    def __init__(self, browser: Browser, target: Folder, rules: Rules, watch: Watch) -> None:
        self._browser = browser
        self._target = target
        self._rules = rules
        self._watch = watch
        self._visited = Visited()
        self._written: dict[tuple[str, str], _Written] = {}
        self.taken = Taken()

    def take(self, source: Place) -> None:
        """Take one thing, and all in it, under its last name. What fails is told in `taken`.

        Raises:
            UnreachableError: The repository cannot be read.
            CancelledError: As the watch says; what is whole stays.
        """
        try:
            place, entry = self._browser.look(source, follow=False)
            self._one(place, replace(entry, name=source.name), self._target, ())
        except _CAUGHT as error:
            self.taken.problems.append(Problem.of(source, error))

    def _one(self, place: Place, entry: Entry, folder: Folder, path: tuple[str, ...]) -> None:
        self._watch.check()
        if entry.problem:
            raise FailedError("FILES-UNREADABLE", f"{place} cannot be read: {entry.problem}.")
        if entry.kind is Kind.FOLDER:
            self._folder(place, entry, folder, path)
        elif entry.kind is Kind.FILE:
            self._file(place, entry, folder, path)
        elif entry.kind is Kind.LINK:
            folder.link(entry)
            self.taken.links += 1
        else:
            self.taken.left_out.append(f"{place}: {entry.kind}")

    def _folder(self, place: Place, entry: Entry, parent: Folder, path: tuple[str, ...]) -> None:
        self._visited.enter(place, entry)
        with parent.below(entry.name) as folder:
            self.taken.folders += 1
            try:
                for batch in _batches(self._browser.pages(place)):
                    self._children(place, batch, folder, (*path, entry.name))
            except _CAUGHT as error:
                self.taken.problems.append(Problem.of(place, error))
            folder.dress(entry)

    def _children(self, place: Place, batch: list[Entry], folder: Folder, path: tuple[str, ...]) -> None:
        """Some things of one folder; the bytes of small files come together."""
        small = [entry.name for entry in batch if _is_small(entry)]
        try:
            contents = self._browser.small_files(place, small) if len(small) > 1 else {}
        except _CAUGHT:
            contents = {}  # one by one, each with its own error
        for entry in batch:
            child = place.child(entry.name)
            try:
                if entry.name in contents and not entry.problem:
                    self._file(child, entry, folder, path, contents[entry.name])
                else:
                    self._one(child, entry, folder, path)
            except _CAUGHT as error:
                self.taken.problems.append(Problem.of(child, error))

    def _file(
        self, place: Place, entry: Entry, folder: Folder, path: tuple[str, ...], content: bytes | None = None
    ) -> None:
        key = (place.volume, entry.inode)
        if entry.links > 1 and key in self._written and self._linked(entry, folder, self._written[key]):
            self.taken.files += 1
            return
        with folder.file(entry) as file:
            for part in self._browser.contents(place) if content is None else [Part(content, 0, len(content))]:
                self._watch.check()
                if part.data:
                    file.write(part.data)
                else:
                    file.skip(part.hole)
                self._watch.advance(len(part.data) or part.hole)
            identity = file.keep()
        if entry.links > 1:
            self._written[key] = _Written((*path, entry.name), identity)
        self.taken.files += 1
        self.taken.size_bytes += entry.size

    def _linked(self, entry: Entry, folder: Folder, first: _Written) -> bool:
        """Whether a further name of a file that was written could be made."""
        with contextlib.ExitStack() as stack:
            way = self._target
            try:
                for name in first.path[:-1]:
                    way = stack.enter_context(way.below(name))
            except _CAUGHT:
                return False
            return folder.hard_link(entry.name, way, first.path[-1], first.identity)


def _is_small(entry: Entry) -> bool:
    return entry.kind is Kind.FILE and entry.links == 1 and 0 < entry.size <= SMALL


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Entries in parts whose small files fit into one answer."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        more = entry.size if _is_small(entry) else 0
        if batch and (size + more > MAX_READ or len(batch) >= _BATCH):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += more
    if batch:
        yield batch


def take(browser: Browser, sources: Sequence[Place], target: str, rules: Rules, watch: Watch) -> Taken:
    """Take several things into a local folder.

    Args:
        browser: An open point.
        sources: What; each goes under its last name.
        target: The folder; made when it is not there.
        rules: How things are written there.
        watch: Progress and cancelling.

    Raises:
        FailedError: The target cannot be made.
        UnreachableError: The repository cannot be read.
        CancelledError: As the watch says.
    """
    with Folder.open(target, rules) as folder:
        taker = Taker(browser, folder, rules, watch)
        for source in sources:
            taker.take(source)
    return taker.taken
