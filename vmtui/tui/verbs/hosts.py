"""Commands on hosts: add one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vmtui import config
from vmtui.config.edit import add_host, host_values
from vmtui.model.errors import VmtuiError
from vmtui.tui.dialogs.ask import Ask
from vmtui.tui.verbs.registry import Focus

if TYPE_CHECKING:
    from vmtui.tui.app import VmtuiApp


def no_adding(app: VmtuiApp, _focus: Focus) -> str:
    """Why no host can be added."""
    return "vmtui runs in read-only mode" if app.settings.read_only else ""


def ask_host(app: VmtuiApp, _focus: Focus) -> None:
    """Ask for name and place, write the configuration, connect; an unknown key is asked about next."""

    def placed(name: str, text: str | None) -> None:
        if text:
            add(app, name, text)

    def named(name: str | None) -> None:
        if name:
            app.push_screen(Ask(f"Where is {name}?", "", "[user@]address[:port]"), lambda text: placed(name, text))

    app.push_screen(Ask("Name of the new host", "", "as it is called here; letters, digits, . _ -"), named)


def add(app: VmtuiApp, name: str, text: str) -> None:
    """Write a host into the configuration, and listen to it."""
    try:
        add_host(app.settings.path, name, host_values(text))
        fresh = config.load(app.settings.path)
    except VmtuiError as error:
        app.say_error(error)
        return
    app.settings = replace(fresh, read_only=app.settings.read_only)
    app.add_feed(name)
    app.say(f"host {name} was added to {app.settings.path}")


def ask_secret(app: VmtuiApp, focus: Focus) -> None:
    """Ask for the password of a host or the passphrase of its key; it stays in memory, here and in the worker."""
    name = focus.hosts[0].name

    def answered(secret: str | None) -> None:
        if secret:
            app.in_background(lambda: _take_secret(app, name, secret), lambda _: app.host_feeds[name].poke())

    note = "password, or passphrase of the key; kept in memory alone, until the screens and the worker end"
    app.push_screen(Ask(f"Log in to {name}", "", note, secret=True), answered)


def _take_secret(app: VmtuiApp, name: str, secret: str) -> None:
    from vmtui import keyring
    from vmtui.jobs.handover import hand_over

    keyring.keep(name, secret)
    hand_over(app.settings.state)
