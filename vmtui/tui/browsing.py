"""The files of a point for the screens: a point that is open on its own thread, and takes that go on by themselves."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from vmtui.model.errors import CancelledError, VmtuiError
from vmtui.overview.points import PointView
from vmtui.overview.words import size
from vmtui.tui.mailbox import Errands, Mailbox, outcome_of

if TYPE_CHECKING:
    from vmtui.files import Browser, Entry
    from vmtui.files.entries import Place
    from vmtui.files.take import Taken
    from vmtui.files.walk import Problem
    from vmtui.model.settings import Settings

T = TypeVar("T")
FOUND_LIMIT = 2000
"""Results of a search that are shown."""


class Session:
    """A point that is open for one page; what is asked of it is done in order, off the screens' loop.

    Args:
        settings: The configuration.
        point: The point.
        lane: Where it is asked.
    """

    def __init__(self, settings: Settings, point: PointView, lane: Errands) -> None:
        self._settings = settings
        self._point = point
        self._lane = lane
        self._browser: Browser | None = None
        self._closed = False

    def ask(
        self, work: Callable[[Browser], T], done: Callable[[T], None], failed: Callable[[VmtuiError], None]
    ) -> None:
        """Do something with the open point; `done` or `failed` is called on the screens' loop while the page is open."""
        self._lane.run(
            lambda: None if self._closed else work(self._open()),
            lambda result: None if self._closed or result is None else done(result),
            lambda error: None if self._closed else failed(error),
        )

    def close(self) -> None:
        """Close the point when its present work is done."""
        self._closed = True
        self._lane.run(self._end, lambda _: None, lambda _: None)

    def _open(self) -> Browser:
        if self._browser is None:
            self._browser = open_browser(self._settings, self._point)
        return self._browser

    def _end(self) -> None:
        browser, self._browser = self._browser, None
        if browser is not None:
            browser.close()


def open_browser(settings: Settings, point: PointView) -> Browser:
    """Open a point. Blocks.

    Raises:
        VmtuiError: The repository, the point or the extra packages are not there.
    """
    from vmtui.files import Browser
    from vmtui.opening import open_repository
    from vmtui.repository import PointName

    repository = open_repository(settings)
    repository.sync()
    return Browser(repository, repository.points.load(PointName(point.uuid, point.id)))


def found_below(browser: Browser, top: Place, pattern: str) -> tuple[list[tuple[Place, Entry]], list[Problem]]:
    """What a search finds, up to the limit, and what it could not look into. Blocks."""
    from itertools import islice

    from vmtui.files.walk import find
    from vmtui.model.progress import SilentWatch

    problems: list[Problem] = []
    found = list(islice(find(browser, top, pattern, SilentWatch(), problems.append), FOUND_LIMIT))
    return found, problems


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to take, and where to."""

    point: PointView
    places: tuple[Place, ...]
    target: str
    overwrite: bool = False


class Take(threading.Thread):
    """Takes files out on a thread of its own, so that it goes on when its page is left; ends with the screens.

    Args:
        settings: The configuration.
        wanted: What and where to.
        mailbox: Where its end is told.
        done: Called with the outcome on the screens' loop.
        failed: Called with an error on the screens' loop.
    """

    def __init__(
        self,
        settings: Settings,
        wanted: Wanted,
        mailbox: Mailbox,
        done: Callable[[Take, Taken], None],
        failed: Callable[[Take, VmtuiError], None],
    ) -> None:
        super().__init__(name="take files", daemon=True)
        self.wanted = wanted
        self._settings = settings
        self._mailbox = mailbox
        self._done = done
        self._failed = failed
        self._bytes = 0
        self._stopped = False

    @property
    def words(self) -> str:
        """`taking 3 things into /tmp/x, 12 MiB so far`."""
        count = len(self.wanted.places)
        what = str(self.wanted.places[0]) if count == 1 else f"{count} things"
        return f"taking {what} into {self.wanted.target}, {size(self._bytes)} so far"

    def stop(self) -> None:
        """Stop after the present part; what is whole stays."""
        self._stopped = True

    def run(self) -> None:
        """Take, and leave the outcome in the mailbox."""
        self._mailbox.answer(
            outcome_of(self._take, lambda taken: self._done(self, taken), lambda error: self._failed(self, error))
        )

    def _take(self) -> Taken:
        from vmtui.files.take import take
        from vmtui.files.target import Rules

        with open_browser(self._settings, self.wanted.point) as browser:
            rules = Rules(overwrite=self.wanted.overwrite)
            return take(browser, self.wanted.places, self.wanted.target, rules, self)

    # -- a Watch ---------------------------------------------------------------------------------

    def phase(self, name: str, *, disk: str = "", total: int | None = None) -> None:
        """There is one."""

    def advance(self, done: int, *, new: int = 0, stored: int = 0) -> None:  # noqa: ARG002  # a Watch tells more
        """Count."""
        self._bytes += done

    def note(self, text: str, *, warning: bool = True) -> None:
        """There are none."""

    def check(self) -> None:
        """Stop when it is asked for."""
        if self._stopped:
            raise CancelledError("CANCELLED", f"Stopped: {self.words}.")
