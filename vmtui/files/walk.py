"""Going through a folder and all below it, and searching by name."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vmtui.files.browser import Browser
from vmtui.files.entries import Entry, Kind, Place
from vmtui.model.errors import DamageError, FailedError, UsageError, VmtuiError
from vmtui.model.progress import Watch

DEEPEST = 120
"""Folders below each other; a file system that has more is not believed."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that could not be read or written."""

    path: str
    error_id: str
    cause: str

    @classmethod
    def of(cls, place: Place, error: VmtuiError) -> Problem:
        """What an error says about a place."""
        return cls(str(place), error.id, error.cause)

    @property
    def damage(self) -> bool:
        """Whether the repository is at fault."""
        return self.error_id.startswith("REPO-")


class Visited:
    """Folders that were gone into: a file system that leads into one twice is damaged or made to mislead."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str]] = set()

    def enter(self, place: Place, folder: Entry) -> None:
        """Return if a folder may be gone into.

        Raises:
            FailedError: It was already, or it is too deep.
        """
        key = (place.volume, folder.inode)
        if key in self._seen:
            raise FailedError("FILES-UNREADABLE", f"{place} cannot be read: the same folder is at another place, too.")
        if len(place.path) > DEEPEST:
            raise FailedError("FILES-UNREADABLE", f"{place} cannot be read: more than {DEEPEST} folders deep.")
        self._seen.add(key)


def walk(
    browser: Browser, top: Place, watch: Watch, problem: Callable[[Problem], None], *, brief: bool = False
) -> Iterator[tuple[Place, Entry]]:
    """Everything below a folder; links are not followed.

    Args:
        browser: An open point.
        top: A folder, without links on its way, or the list of volumes.
        watch: For cancelling.
        problem: Told what could not be read.
        brief: Only names and kinds are needed.

    Raises:
        UnreachableError: The repository cannot be read.
        CancelledError: As the watch says.
    """
    visited = Visited()
    waiting = [top] if top.volume else [Place(item.name) for item in browser.volumes if not item.reason]
    waiting.reverse()
    try:
        for place in waiting:
            visited.enter(place, browser.look(place, follow=False)[1])
    except (FailedError, DamageError) as error:
        problem(Problem.of(top, error))
    while waiting:
        place = waiting.pop()
        watch.check()
        below = []
        try:
            for entry in browser.pages(place, brief=brief):
                child = place.child(entry.name)
                yield child, entry
                if entry.kind is Kind.FOLDER:
                    visited.enter(child, entry)
                    below.append(child)
        except (FailedError, DamageError, UsageError) as error:
            problem(Problem.of(place, error))
        waiting += reversed(below)


def matcher(pattern: str) -> Callable[[Place, str], bool]:
    """What a search means: a part of the name, or a pattern with * ? [ ] for all of it; with a / for the whole path.

    A pattern without capitals does not look at the case.
    """
    folded = pattern == pattern.lower()
    glob = any(mark in pattern for mark in "*?[")
    whole = "/" in pattern

    def matches(place: Place, name: str) -> bool:
        text = str(place) if whole else name
        text = text.lower() if folded else text
        return fnmatch.fnmatchcase(text, pattern) if glob else pattern in text

    return matches


def find(
    browser: Browser, top: Place, pattern: str, watch: Watch, problem: Callable[[Problem], None]
) -> Iterator[tuple[Place, Entry]]:
    """Everything below a folder whose name matches; arguments as `walk` and `matcher`."""
    matches = matcher(pattern)
    for place, entry in walk(browser, top, watch, problem, brief=True):
        if not matches(place, entry.name):
            continue
        try:
            yield place, browser.look(place, follow=False)[1]
        except (FailedError, DamageError, UsageError) as error:
            problem(Problem.of(place, error))
