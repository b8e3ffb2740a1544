"""Commands on the repository as a whole: its passphrase, garbage collection, check, repair, copies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.screen import ModalScreen

from vmtui.model.ids import JobId, new_id
from vmtui.model.job import JobKind
from vmtui.overview.words import size
from vmtui.tui import clock
from vmtui.tui.dialogs.ask import Ask
from vmtui.tui.dialogs.base import Confirm, Typed
from vmtui.tui.verbs.backups import Wish, enqueue, read_only
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.widgets.frame import Piece

if TYPE_CHECKING:
    from vmtui.repository.collect import Collected
    from vmtui.tui.app import VmtuiApp

GC_WORD = "gc"
"""Typed to free space."""
LOCKED = ("REPO-LOCKED", "REPO-PASSPHRASE-WRONG")
"""Errors that a passphrase mends."""


# -- its passphrase ------------------------------------------------------------------------------


def no_unlock(app: VmtuiApp, _focus: Focus) -> str:
    """Why no passphrase is needed."""
    error = app.picture.catalogue.error
    return "" if error is not None and error["id"] in LOCKED else "the repository is open"


def unlock(app: VmtuiApp, _focus: Focus) -> None:
    """Ask for the passphrase; it stays in memory, here and in the worker."""

    def answered(secret: str | None) -> None:
        if secret:
            app.in_background(lambda: _take(app, secret), lambda _: app.catalogue_feed.poke())

    note = "kept in memory alone, until the screens and the worker end"
    app.push_screen(Ask("Passphrase of the repository", "", note, secret=True), answered)


def unlock_if_needed(app: VmtuiApp, before: Any, after: Any) -> None:
    """Ask for the passphrase when that is what is missing now; not again, and not over another dialog."""
    missing = after is not None and after["id"] in LOCKED and (before is None or before["id"] != after["id"])
    if missing and not isinstance(app.screen, ModalScreen):
        unlock(app, Focus("repo"))


def _take(app: VmtuiApp, secret: str) -> None:
    from vmtui import keyring
    from vmtui.jobs.handover import hand_over

    keyring.keep(keyring.REPOSITORY, secret)
    hand_over(app.settings.state)


# -- work on it ----------------------------------------------------------------------------------


def no_work(app: VmtuiApp, _focus: Focus) -> str:
    """Why nothing can be done with the repository."""
    error = app.picture.catalogue.error
    return read_only(app, []) or (str(error["cause"]) if error is not None else "")


def collect(app: VmtuiApp, _focus: Focus) -> None:
    """Count what no point needs, ask, and free it."""
    app.notify("counting what no point needs", markup=False)
    app.planning.run(lambda: _count(app), lambda found: _ask_collect(app, found), app.say_error)


def _count(app: VmtuiApp) -> Collected:
    from vmtui.model.progress import SilentWatch
    from vmtui.opening import open_repository
    from vmtui.repository.collect import collect as run

    return run(open_repository(app.settings), JobId(new_id(clock.now())), SilentWatch(), clock.now, dry_run=True)


def _ask_collect(app: VmtuiApp, found: Collected) -> None:
    if not found.named and not found.rewritten and not found.waiting_for:
        app.say("there is nothing to free: every pack is needed")
        return
    lines: list[list[Piece]] = [
        [(f"{found.named} packs with {size(found.named_bytes)} are needed by no restore point.", "")],
        [(f"{found.rewritten} more are mostly garbage: {size(found.rewritten_bytes)} of them go as well.", "")],
        [("No point is touched. What a running backup may rely on stays until the next time.", "")],
    ]

    def answered(yes: bool | None) -> None:
        if yes:
            enqueue(app, [Wish(JobKind.GC, "", "", {})])

    app.push_screen(Typed("Free the space of what no point needs", lines, word=GC_WORD, opened_by=("g",)), answered)


def check(app: VmtuiApp, _focus: Focus) -> None:
    """Look whether every object is there."""
    enqueue(app, [Wish(JobKind.VERIFY, "", "", {"points": [], "all": True, "quick": True})])


def repair(app: VmtuiApp, _focus: Focus) -> None:
    """Ask, then mend what can be mended."""
    lines: list[list[Piece]] = [
        [("Reads everything, makes the index anew, and saves what is whole from damaged packs.", "")],
        [("No point is deleted: what is lost is named. To give lost points up: vmtui repo repair --give-up", "")],
    ]

    def answered(yes: bool | None) -> None:
        if yes:
            enqueue(app, [Wish(JobKind.REPAIR, "", "", {"give_up": []})])

    app.push_screen(Confirm("Repair the repository?", lines, yes="Repair", opened_by=("m",)), answered)


def no_sync(app: VmtuiApp, focus: Focus) -> str:
    """Why nothing can be sent to a copy."""
    if reason := no_work(app, focus):
        return reason
    return "" if app.settings.copies else "the configuration names no copy: add [copies.NAME] with its url"


def sync(app: VmtuiApp, _focus: Focus) -> None:
    """Bring all copies up to date."""
    enqueue(app, [Wish(JobKind.SYNC, "", name, {"copy": name}) for name in app.settings.copies])
