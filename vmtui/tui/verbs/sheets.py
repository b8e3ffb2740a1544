"""Commands that open a sheet: backup options, palette, what to copy, themes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vmtui.model.codec import to_plain
from vmtui.model.errors import VmtuiError
from vmtui.tui import clock
from vmtui.tui.dialogs.options import BackupOptions, Chosen
from vmtui.tui.dialogs.pick import Choice, Pick
from vmtui.tui.styles.themes import NAMES
from vmtui.tui.verbs import backups
from vmtui.tui.verbs.registry import Command, Danger, Focus, key_name

if TYPE_CHECKING:
    from vmtui.backup.preview import Preview
    from vmtui.tui.app import VmtuiApp


# -- backup options ------------------------------------------------------------------------------


def backup_options(app: VmtuiApp, focus: Focus) -> None:
    """Ask how, then back up."""
    rows = focus.vms

    def look(chosen: Chosen, told: Callable[[Preview], None], failed: Callable[[VmtuiError], None]) -> None:
        app.planning.run(lambda: _preview(app, focus, chosen), told, failed)

    def answered(chosen: Chosen | None) -> None:
        if chosen is not None:
            backups.request_backup(app, [(row, chosen.mode) for row in rows], full=chosen.full)

    sheet = BackupOptions(tuple(row.path for row in rows), backups.tier_mode(rows[0]), look if len(rows) == 1 else None)
    app.push_screen(sheet, answered)


def _preview(app: VmtuiApp, focus: Focus, chosen: Chosen) -> Preview:
    from vmtui.backup import BackupContext, BackupRequest
    from vmtui.backup.preview import preview
    from vmtui.hosts import connect
    from vmtui.model.progress import SilentWatch
    from vmtui.opening import open_repository

    row = focus.vms[0]
    with connect(app.settings, row.host) as session:
        context = BackupContext(
            open_session=lambda: session,
            repository=open_repository(app.settings),
            level=app.settings.compression_level,
            state=app.settings.state,
            watch=SilentWatch(),
            now=clock.now,
        )
        return preview(context, BackupRequest(row.host, row.uuid, row.name, chosen.mode, chosen.full))


# -- palette -------------------------------------------------------------------------------------


def palette(app: VmtuiApp, focus: Focus) -> None:
    """All commands of this view with key and command line; those that cannot be run now say why."""
    commands = {command.id: command for command in app.registry.of_view(focus.view) if command.id != "find.palette"}
    choices = [_choice(app, command, focus) for command in commands.values()]

    def answered(id_: str | None) -> None:
        if id_ is not None:
            app.perform(commands[id_], focus)

    app.push_screen(Pick("Commands", choices), answered)


def _choice(app: VmtuiApp, command: Command, focus: Focus) -> Choice:
    reason = command.why_not(app, focus)
    key = key_name(command.keys[0]) if command.keys else ":"
    danger = "" if command.danger is Danger.NONE else command.danger.value
    line = command.command_line(focus) or command.help
    return Choice(
        command.id,
        (
            (f"{key:5}", "dim" if reason else "key"),
            (f"{command.label:11}{danger:3}", "dim" if reason else ""),
            (f"not now: {reason}" if reason else line, "warn" if reason else "dim"),
        ),
        f"{command.id} {command.label} {command.help} {line}",
    )


# -- copy ----------------------------------------------------------------------------------------


def copy_menu(app: VmtuiApp, focus: Focus) -> None:
    """Copy name, row, error, command line or JSON, by the terminal's own clipboard (OSC 52)."""
    offers = copies(focus, app)
    choices = [
        Choice(name, ((f"{number} {name:14}", "key"), (text.replace("\n", " ")[:50], "dim")), name)
        for number, (name, text) in enumerate(offers.items(), 1)
    ]

    def answered(name: str | None) -> None:
        if name is not None:
            app.copy_to_clipboard(offers[name])
            app.notify(f"{name} sent to the terminal; :w FILE is the sure way", markup=False)

    app.push_screen(Pick("Copy", choices, searchable=False), answered)  # fmt: skip


def no_copy(app: VmtuiApp, focus: Focus) -> str:
    """Why there is nothing to copy."""
    return "" if copies(focus, app) else "there is nothing to copy here"


def copies(focus: Focus, app: VmtuiApp) -> dict[str, str]:
    """What can be copied of what is chosen. Pure but for the registry."""
    offers: dict[str, str] = {}
    things: tuple[Any, ...] = focus.points or focus.vms or focus.jobs or focus.hosts or focus.entries
    if focus.points:
        offers["name"] = focus.points[0].id
    elif focus.vms:
        offers["name"] = focus.vms[0].path
    elif focus.jobs:
        offers["name"] = focus.jobs[0].id
    elif focus.hosts:
        offers["name"] = focus.hosts[0].name
    if line := getattr(app.page, "command_line", ""):
        offers["CLI restore"] = line
    if error := _error_text(focus):
        offers["error"] = error
    for command in app.registry.of_view(focus.view):
        if command.danger is not Danger.NONE and command.twin and command.keys and _could_run(app, command, focus):
            offers[f"CLI {command.label.lower()}"] = command.command_line(focus)
    if things:
        offers["JSON"] = json.dumps(to_plain(things[0]), ensure_ascii=False, indent=2)
    return offers


def _could_run(app: VmtuiApp, command: Command, focus: Focus) -> bool:
    """Whether a command line makes sense for what is chosen; that it is refused here in read-only mode is no reason."""
    reason = command.why_not(app, focus)
    return (not reason or "read-only" in reason) and not (command.views and focus.nothing)


def _error_text(focus: Focus) -> str:
    """The error of what is chosen, with its id."""
    holder = focus.jobs[:1] or focus.hosts[:1]
    if holder and holder[0].error is not None:
        error = holder[0].error
        return f"{error['id']}: {error['cause']} {error['next_step']}"
    if focus.entries:
        entry = focus.entries[0]
        return f"{entry.error_id} {entry.source}: {entry.text}".strip()
    return ""


# -- themes --------------------------------------------------------------------------------------


def choose_theme(app: VmtuiApp, _focus: Focus) -> None:
    """Choose a theme."""

    def answered(name: str | None) -> None:
        if name is not None:
            app.theme = name

    app.push_screen(Pick("Theme", [Choice(name, ((name, ""),), name) for name in NAMES], searchable=False), answered)
