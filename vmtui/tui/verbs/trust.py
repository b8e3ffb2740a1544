"""SSH host keys: shown, compared, accepted; a changed one is never accepted here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vmtui.model.host import HostState
from vmtui.tui.dialogs.base import Confirm
from vmtui.tui.dialogs.notice import Alarm
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.widgets.frame import Piece

if TYPE_CHECKING:
    from vmtui.tui.app import VmtuiApp


@dataclass(frozen=True, slots=True)
class Shown:
    """The key that a host shows."""

    address: str
    port: int
    key: Any
    fingerprint: str
    verdict: str


def no_trust(_app: VmtuiApp, focus: Focus) -> str:
    """Why there is no key to accept."""
    if not focus.hosts:
        return "choose a host"
    state = focus.hosts[0].state
    return "" if state in (HostState.KEY_UNKNOWN, HostState.KEY_CHANGED) else "its key is not in question"


def trust_chosen(app: VmtuiApp, focus: Focus) -> None:
    """Ask the chosen host for its key, then the operator."""
    trust(app, focus.hosts[0].name)


def trust(app: VmtuiApp, name: str) -> None:
    """Ask a configured host for its key, then the operator; it may be one without libvirt."""
    app.notify(f"asking {name} for its key", markup=False)
    app.planning.run(lambda: _ask(app, name), lambda shown: _show(app, name, shown), app.say_error)


def _ask(app: VmtuiApp, name: str) -> Shown:
    from vmtui.hosts import TrustStore
    from vmtui.hosts.login import shown_key
    from vmtui.hosts.trust import fingerprint

    host = app.settings.hosts[name]
    store = TrustStore(app.settings.known_hosts)
    jump = app.settings.hosts[host.jump] if host.jump is not None else None
    address, key = shown_key(host, jump, store)
    verdict = store.verdict(address.host, address.port, key)
    return Shown(address.host, address.port, key, fingerprint(key), verdict.value)


def _show(app: VmtuiApp, name: str, shown: Shown) -> None:
    where: list[Piece] = [(f"{shown.address} port {shown.port}", "strong"), (" shows the key", "")]
    key: list[Piece] = [(f"  {shown.key.get_name()} {shown.fingerprint}", "strong")]
    if shown.verdict == "changed":
        lines: list[list[Piece]] = [
            where,
            key,
            [],
            [
                (
                    "It is not the key that was accepted. The host was installed anew, or somebody stands in between.",
                    "bad",
                )
            ],
            [("vmtui does not log in. Find out why, on the host's own console:", "")],
            [("  ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub", "strong")],
            [(f"Only then take the old line out of {app.settings.known_hosts} or ~/.ssh/known_hosts by hand.", "")],
        ]
        app.push_screen(Alarm(f"The SSH key of {name} has CHANGED", lines))
        return
    if shown.verdict == "known":
        app.say(f"the key of {name} is accepted already")
        _poke(app, name)
        return
    lines = [
        where,
        key,
        [],
        [("Compare it with what the host's own console prints:", "")],
        [("  ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub", "strong")],
        [("Whoever stands in between would show another one.", "dim")],
    ]

    def answered(yes: bool | None) -> None:
        if yes:
            app.in_background(lambda: _accept(app, shown), lambda _: _accepted(app, name, shown))

    app.push_screen(Confirm(f"Accept this key of {name}?", lines, yes="Accept", opened_by=("enter",)), answered)


def _accept(app: VmtuiApp, shown: Shown) -> None:
    from vmtui.hosts import TrustStore

    TrustStore(app.settings.known_hosts).accept(shown.address, shown.port, shown.key)


def _accepted(app: VmtuiApp, name: str, shown: Shown) -> None:
    app.say(f"{name} is trusted with {shown.fingerprint}")
    _poke(app, name)


def _poke(app: VmtuiApp, name: str) -> None:
    if name in app.host_feeds:
        app.host_feeds[name].poke()
