"""Commands on the files inside points."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vmtui.model.errors import FailedError, VmtuiError
from vmtui.overview.points import PointView
from vmtui.overview.words import size
from vmtui.tui.browsing import Take, Wanted, open_browser
from vmtui.tui.dialogs.ask import Ask
from vmtui.tui.dialogs.base import Confirm
from vmtui.tui.verbs.backups import read_only
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.widgets.frame import Piece

if TYPE_CHECKING:
    from vmtui.files.put import Outcome
    from vmtui.files.take import Taken
    from vmtui.tui.app import VmtuiApp
    from vmtui.tui.screens.files import FilesPage

_SHOWN = 5


def _page(app: VmtuiApp) -> FilesPage | None:
    from vmtui.tui.screens.files import FilesPage

    return app.page if isinstance(app.page, FilesPage) else None


# -- opening -------------------------------------------------------------------------------------


def no_files(app: VmtuiApp, focus: Focus) -> str:
    """Why there is nothing to browse."""
    point = chosen_point(app, focus)
    if point is None:
        return "choose a restore point that can be read"
    return "" if point.disks else "this point holds no disks"


def chosen_point(app: VmtuiApp, focus: Focus) -> PointView | None:
    """The point that is meant: the chosen one, else the newest good one of the VM."""
    if focus.points:
        return focus.points[0] if focus.points[0].mode else None
    uuids = {row.uuid for row in focus.vms[:1]}
    return next((point for point in app.picture.catalogue.points if point.uuid in uuids and point.good), None)


def browse(app: VmtuiApp, focus: Focus) -> None:
    """Open the files of a point."""
    from vmtui.tui.screens.files import FilesPage

    point = chosen_point(app, focus)
    if point is not None:
        app.push_screen(FilesPage(point, app.page.lit_tab if app.page is not None else ""))


def go_up(app: VmtuiApp, _focus: Focus) -> None:
    """To the folder above."""
    if (page := _page(app)) is not None:
        page.go_up()


def other_side(app: VmtuiApp, _focus: Focus) -> None:
    """To the other pane."""
    if (page := _page(app)) is not None:
        page.other_side()


def ask_search(app: VmtuiApp, _focus: Focus) -> None:
    """Ask for a name, and search it below here."""
    page = _page(app)
    if page is None:
        return

    def answered(pattern: str | None) -> None:
        if pattern:
            page.search(pattern)

    note = "a part of the name, or a pattern with * and ?; with a / the whole path is compared"
    app.push_screen(Ask(f"Search below {page.place}", "", note), answered)


# -- taking --------------------------------------------------------------------------------------


def no_take(_app: VmtuiApp, focus: Focus) -> str:
    """Why nothing can be taken."""
    return "" if focus.files and focus.files[0].volume else "choose files or folders"


def ask_take(app: VmtuiApp, focus: Focus) -> None:
    """Ask where to, and take the chosen files and folders there."""
    point = focus.points[0]
    count = len(focus.files)
    what = str(focus.files[0]) if count == 1 else f"{count} things"

    def answered(folder: str | None) -> None:
        if folder:
            start_take(app, Wanted(point, focus.files, os.path.abspath(os.path.expanduser(folder))))  # noqa: PTH100, PTH111  # a path is not resolved here

    note = "a folder on this machine, made when it is not there; nothing in it is replaced"
    app.push_screen(Ask(f"Take {what} into", f"{point.vm}-{point.id[:10]}", note), answered)


def start_take(app: VmtuiApp, wanted: Wanted) -> None:
    """Take files on a thread of their own."""

    def done(take: Take, taken: Taken) -> None:
        app.takes.remove(take)
        text = f"{take.wanted.target}: {taken.files} files, {taken.folders} folders, {size(taken.size_bytes)} taken"
        app.say(text + (f"; {len(taken.left_out)} devices left out" if taken.left_out else ""))
        for problem in taken.problems[:_SHOWN]:
            app.say_error(FailedError("FILES-PARTIAL", f"not taken: {problem.path}: {problem.cause}"))
        if len(taken.problems) > _SHOWN:
            app.say(f"{len(taken.problems) - _SHOWN} more were not taken", level="warning")

    def failed(take: Take, error: VmtuiError) -> None:
        app.takes.remove(take)
        app.say_error(error)

    take = Take(app.settings, wanted, app.mailbox, done, failed)
    app.takes.append(take)
    app.say(take.words)
    take.start()


def no_takes(app: VmtuiApp, _focus: Focus) -> str:
    """Why nothing can be stopped."""
    return "" if app.takes else "no files are being taken"


def stop_takes(app: VmtuiApp, _focus: Focus) -> None:
    """Stop taking files; each tells when it has."""
    for take in app.takes:
        take.stop()


# -- putting -------------------------------------------------------------------------------------


def no_put(app: VmtuiApp, focus: Focus) -> str:
    """Why no file can be put back."""
    if reason := read_only(app, []):
        return reason
    return "" if len(focus.files) == 1 and focus.files[0].path else "choose one file"


def ask_put(app: VmtuiApp, focus: Focus) -> None:
    """Ask where in the guest, then for the operator's word; then put the file there."""
    point, place = focus.points[0], focus.files[0]
    target = f"{point.host}/{point.vm}:/{'/'.join(place.path)}"

    def named(text: str | None) -> None:
        vm, colon, path = (text or "").partition(":")
        if not text:
            return
        if not colon or not path.startswith("/"):
            app.say(f"{text} is not VM:/path", level="warning")
            return
        lines: list[list[Piece]] = [
            [(f"{place} of point {point.id}", "strong")],
            [(f"goes to {path} in the running guest {vm}, through its guest agent.", "")],
            [("A file that is there is replaced once the guest has all bytes.", "warn")],
        ]
        app.push_screen(
            Confirm(f"Put {place.name} into {vm}?", lines, yes="Put", opened_by=("u",)), lambda yes: put(yes, vm, path)
        )

    def put(yes: bool | None, vm: str, path: str) -> None:
        if yes:
            app.say(f"putting {place} into {vm}:{path} …")
            app.planning.run(
                lambda: _put(app, focus, vm, path),
                lambda outcome: app.say(f"{outcome.guest}:{outcome.path}: {size(outcome.bytes)}, {outcome.proof}"),
                app.say_error,
            )

    app.push_screen(Ask("Put it where?", target, "host/name of a running VM, a colon, an absolute path in it"), named)


def _put(app: VmtuiApp, focus: Focus, vm: str, path: str) -> Outcome:
    """Put a file. Blocks."""
    from vmtui.files.put import guest_of, put
    from vmtui.model.progress import SilentWatch
    from vmtui.overview.fleet import find_vms

    found = find_vms(app.settings, [vm])[0]
    with (
        open_browser(app.settings, focus.points[0]) as browser,
        guest_of(app.settings, found.host, found.uuid, found.name) as guest,
    ):
        place, entry = browser.look(focus.files[0], follow=True)
        return put(browser, place, entry, guest, path, overwrite=True, watch=SilentWatch())
