"""What enter opens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtui.model.host import HostState
from vmtui.tui.screens.host import HostPage
from vmtui.tui.screens.job import JobPage
from vmtui.tui.screens.vm import VmPage
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.verbs.shows import show_point

if TYPE_CHECKING:
    from vmtui.tui.app import VmtuiApp


def open_chosen(app: VmtuiApp, focus: Focus) -> None:
    """Drill into what is under the cursor."""
    if focus.view == "pulse":
        app.go_to("vms")
    elif focus.view in ("wizard", "several"):
        change_line(app)
    elif focus.view == "files":
        open_file(app)
    elif focus.view == "host":
        perform_changes(app, focus)
    elif focus.points:
        show_point(app, focus)
    elif focus.vms:
        app.push_screen(VmPage(focus.vms[0].uuid, focus.vms[0].host, focus.vms[0].name))
    elif focus.jobs and focus.view != "job":
        app.push_screen(JobPage(focus.jobs[0].id))
    elif focus.hosts:
        _open_host(app, focus)
    elif focus.entries and focus.entries[0].job:
        app.push_screen(JobPage(focus.entries[0].job))


def no_open(app: VmtuiApp, focus: Focus) -> str:
    """Why there is nothing to drill into."""
    if focus.view in ("wizard", "several") and not _has_line(app):
        return "there is nothing to change here: ] goes on"
    if focus.view in _OPENS:
        return ""
    if focus.view in ("calls", "prune", "job") or (focus.view == "log" and not _job_of(focus)):
        return "there is nothing behind it"
    return "" if focus.count else "nothing is chosen"


_OPENS = ("pulse", "wizard", "several", "files", "host")
"""Views with an enter of their own."""


def _job_of(focus: Focus) -> str:
    return focus.entries[0].job if focus.entries else ""


def _has_line(app: VmtuiApp) -> bool:
    from vmtui.tui.wizard.screen import RestoreWizard
    from vmtui.tui.wizard.several import SeveralPage

    page = app.page  # the footer below a dialog is this page's, too
    return isinstance(page, RestoreWizard | SeveralPage) and not page.changes_nothing


def change_line(app: VmtuiApp) -> None:
    """In the wizard enter changes the line under the cursor."""
    from vmtui.tui.wizard.screen import RestoreWizard
    from vmtui.tui.wizard.several import SeveralPage

    if isinstance(app.screen, RestoreWizard | SeveralPage):
        app.screen.change()


def open_file(app: VmtuiApp) -> None:
    """Among files enter goes into a folder, or looks at a file."""
    from vmtui.tui.screens.files import FilesPage

    if isinstance(app.screen, FilesPage):
        app.screen.open_row()


def _open_host(app: VmtuiApp, focus: Focus) -> None:
    from vmtui.tui.verbs.hosts import ask_secret
    from vmtui.tui.verbs.trust import trust

    host = focus.hosts[0]
    if host.state in (HostState.KEY_UNKNOWN, HostState.KEY_CHANGED):
        trust(app, host.name)
        return
    if host.state is HostState.LOGIN_REFUSED:
        ask_secret(app, focus)
        return
    app.push_screen(HostPage(host.name))


def perform_changes(app: VmtuiApp, focus: Focus) -> None:
    """On a host's page enter shows what has changed since the point."""
    app.perform(app.registry.by_id["host.changes"], focus)


def filter_vms(app: VmtuiApp, host: str) -> None:
    """Show the VMs of one host alone."""
    from vmtui.tui.screens.vms import VmsView

    if isinstance(app.screen, VmsView):
        app.screen.set_filter(f"host:{host}")
