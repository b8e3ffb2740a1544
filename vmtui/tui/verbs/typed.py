"""The command line at the bottom: the verbs of vmtui, never a shell."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from vmtui.model.errors import RefusedError, UsageError, VmtuiError
from vmtui.model.hostpoint import GOOD, LATEST
from vmtui.model.point import Mode
from vmtui.overview.words import unknown
from vmtui.tui.verbs import backups, hosts, rehearsals, restores, retention, shows, trust
from vmtui.tui.verbs.registry import Focus

if TYPE_CHECKING:
    from vmtui.tui.app import VmtuiApp

Words = Sequence[str]


def run_typed(app: VmtuiApp, text: str) -> None:
    """Do what was typed, or say what is wrong with it."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        app.notify(f"{text}: {error}", severity="warning", markup=False)
        return
    words = words[1:] if words[:1] == ["vmtui"] else words
    if not words:
        return
    verb = VERBS.get(words[0])
    try:
        if verb is None:
            raise unknown("command", words[0], VERBS)
        verb(app, words[1:])
    except VmtuiError as error:
        app.say_error(error)


def _vms(app: VmtuiApp, words: Words) -> Focus:
    rows = []
    for word in words:
        host, slash, name = word.rpartition("/")
        found = [row for row in app.picture.rows if row.name == name and (not slash or row.host == host)]
        if len(found) != 1:
            raise _ambiguous(word) if found else unknown("VM", word, [row.path for row in app.picture.rows])
        rows += found
    return Focus("vms", vms=tuple(rows))


def _ambiguous(word: str) -> UsageError:
    return UsageError("NAME-AMBIGUOUS", f"Several hosts have a VM {word!r}.", next_step="Say host/name.")


def _points(app: VmtuiApp, words: Words) -> Focus:
    found = []
    for word in words:
        vm, at, which = word.rpartition("@")
        if at:
            if which not in ("latest", "good"):
                raise UsageError("NAME-UNKNOWN", f"{word!r}: only VM@latest and VM@good are known after an @.")
            uuid = _vms(app, [vm]).vms[0].uuid
            own = [point for point in app.picture.catalogue.points if point.uuid == uuid]
            matching = [point for point in own if point.good or which == "latest"][:1]
        else:
            matching = [point for point in app.picture.catalogue.points if point.id.startswith(word)]
        if len(matching) != 1:
            raise unknown("point", word, [point.id for point in app.picture.catalogue.points])
        found += matching
    return Focus("points", points=tuple(found))


def _good_points(app: VmtuiApp, words: Words) -> Focus:
    """Points to bring back: a VM's name alone is its newest without known damage."""
    known = {row.name for row in app.picture.rows} | {row.path for row in app.picture.rows}
    ids = tuple(point.id for point in app.picture.catalogue.points)
    return _points(
        app,
        [f"{word}@good" if word in known and not any(id_.startswith(word) for id_ in ids) else word for word in words],
    )


def _jobs(app: VmtuiApp, word: str) -> Focus:
    found = [record for record in app.picture.jobs.records if record.id.startswith(word) or record.id.endswith(word)]
    if len(found) != 1:
        raise unknown("job", word, [record.id for record in app.picture.jobs.records])
    return Focus("jobs", jobs=tuple(found))


def _need(words: Words, example: str) -> str:
    if not words:
        raise UsageError("NAME-UNKNOWN", "Something is missing.", next_step=f"Example: {example}")
    return words[0]


def _checked(app: VmtuiApp, focus: Focus, id_: str) -> None:
    app.perform(app.registry.by_id[id_], focus)


def _backup(app: VmtuiApp, words: Words) -> None:
    full = "--full" in words
    rest = [word for word in words if word != "--full"]
    mode = None
    if "--mode" in rest:
        place = rest.index("--mode")
        if place + 1 >= len(rest) or rest[place + 1] not in list(Mode):
            raise UsageError(
                "NAME-BAD", "--mode needs hot, cold or paused.", next_step="Example: backup web1 --mode cold"
            )
        mode = Mode(rest[place + 1])
        del rest[place : place + 2]
    _need(rest, "backup web1")
    focus = _vms(app, rest)
    if reason := backups.no_backup(app, focus):
        app.notify(reason, severity="warning", markup=False)
        return
    backups.request_backup(app, [(row, mode or backups.tier_mode(row)) for row in focus.vms], full=full)


def _restore(app: VmtuiApp, words: Words) -> None:
    """Options of the command line are chosen in the wizard."""
    _need(words, "restore web1@good")
    points = list(takewhile(lambda word: not word.startswith("--"), words))
    _checked(app, _good_points(app, points), "restore.open")


def _rehearse(app: VmtuiApp, words: Words) -> None:
    rest = list(words)
    host = ""
    if "--on" in rest:
        place = rest.index("--on")
        host = _need(rest[place + 1 :], "rehearse web1@good --on kvm2")
        if host not in app.settings.hypervisors:
            raise unknown("host", host, app.settings.hypervisors)
        del rest[place : place + 2]
    focus = _good_points(app, [_need(rest, "rehearse web1@good")])
    if why := rehearsals.no_rehearsal(app, focus, host):
        app.notify(why, severity="warning", markup=False)
    elif host:
        rehearsals.ask(app, focus.points[0], host)
    else:
        rehearsals.ask_rehearsal(app, focus)


def _verify(app: VmtuiApp, words: Words) -> None:
    if list(words) == ["--all"]:
        backups.start_verify(app, Focus("repo"))
        return
    _need(words, "verify web1@latest")
    _checked(app, _points(app, words), "verify.start")


def _hold(app: VmtuiApp, words: Words) -> None:
    rest = list(words)
    reason = None
    if "--reason" in rest:
        place = rest.index("--reason")
        if place + 1 >= len(rest):
            raise UsageError(
                "NAME-BAD", "--reason needs a text.", next_step="Example: hold web1@latest --reason upgrade"
            )
        reason = rest[place + 1]
        del rest[place : place + 2]
    release = "--release" in rest
    focus = _points(app, [_need([word for word in rest if word != "--release"], "hold web1@latest")])
    if why := retention.no_hold(app, focus):
        app.notify(why, severity="warning", markup=False)
    elif release:
        retention.ask_release(app, focus)
    elif reason is not None:
        retention.hold(app, focus.points, reason)
    else:
        retention.hold_or_release(app, focus)


def _prune(app: VmtuiApp, words: Words) -> None:
    names = [word for word in words if word != "--dry-run"]
    _checked(app, _vms(app, names) if names else Focus("repo"), "prune.plan")


def _job(app: VmtuiApp, words: Words) -> None:
    actions = {"cancel": "job.cancel", "again": "job.again", "show": "nav.open", "watch": "nav.open"}
    action = _need(words, "job cancel ID")
    if action not in actions:
        raise unknown("job command", action, actions)
    _checked(app, _jobs(app, _need(words[1:], f"job {action} ID")), actions[action])


def _host(app: VmtuiApp, words: Words) -> None:
    action = _need(words, "host trust NAME")
    if action in _HOST_VERBS:
        _host_point(app, action, words[1:])
        return
    if action == "add":
        if reason := hosts.no_adding(app, Focus("hosts")):
            raise RefusedError("READ-ONLY", f"Adding a host was refused: {reason}.")
        hosts.add(app, _need(words[1:], "host add kvm1 root@kvm1"), _need(words[2:], "host add kvm1 root@kvm1"))
        return
    if action != "trust":
        raise unknown("host command", action, ["trust", "add", *_HOST_VERBS])
    name = _need(words[1:], "host trust NAME")
    if name not in app.settings.hosts:
        raise unknown("host", name, app.settings.hosts)
    trust.trust(app, name)


_HOST_VERBS = {"backup": "host.backup", "points": "nav.open", "diff": "host.changes", "restore": "host.restore"}


def _host_point(app: VmtuiApp, action: str, words: Words) -> None:
    """`host backup NAME`, `host points NAME`, `host diff POINT`, `host restore POINT`."""
    word = _need(words, f"host {action} kvm1")
    if action in ("backup", "points"):
        if word not in app.picture.hosts:
            raise unknown("host", word, app.picture.hosts)
        _checked(app, Focus("hosts", hosts=(app.picture.hosts[word],)), _HOST_VERBS[action])
        return
    host, at, which = word.rpartition("@")
    if at and which not in (GOOD, LATEST):
        raise unknown("host point", word, [f"{host}@{GOOD}", f"{host}@{LATEST}"])
    everything = app.picture.catalogue.host_points
    found = [point for point in everything if (point.host == host if at else point.id.startswith(word))]
    if which == GOOD:
        found = [point for point in found if point.good]
    if not found or (not at and len(found) > 1):
        raise unknown("host point", word, [point.id for point in everything])
    _checked(app, Focus("host", points=tuple(found[:1])), _HOST_VERBS[action])


def _points_view(app: VmtuiApp, words: Words) -> None:
    if not words:
        app.go_to("points")
        return
    app.open(_vms(app, words[:1]))


def _files(app: VmtuiApp, words: Words) -> None:
    rest = list(words[1:] if words[:1] == ["ls"] else words)
    _checked(app, _good_points(app, [_need(rest, "files ls web1@good")]), "files.browse")


def _explain(app: VmtuiApp, words: Words) -> None:
    shows.explain_id(app, _need(words, "explain vm.never"))


def _write(app: VmtuiApp, words: Words) -> None:
    """Save what is seen as text; a file that is there is not replaced."""
    path = Path(_need(words, "w FILE"))
    if app.page is None:
        return
    try:
        path = path.expanduser()
        with path.open("x", encoding="utf-8") as out:
            out.write("\n".join(app.page.lines_shown()) + "\n")
    except (OSError, RuntimeError) as error:  # the second: ~ of a user that there is not
        app.say(f"{path} was not written: {getattr(error, 'strerror', None) or error}", level="warning")
    else:
        app.say(f"what was seen is in {path}")


def _theme(app: VmtuiApp, words: Words) -> None:
    app.choose_theme(words[0] if words else "")


def _view(name: str) -> Callable[[VmtuiApp, Words], None]:
    return lambda app, _: app.go_to(name)


VERBS: dict[str, Callable[[VmtuiApp, Words], None]] = {
    "pulse": _view("pulse"),
    "vms": _view("vms"),
    "points": _points_view,
    "jobs": _view("jobs"),
    "hosts": _view("hosts"),
    "repo": _view("repo"),
    "log": _view("log"),
    "backup": _backup,
    "restore": _restore,
    "rehearse": _rehearse,
    "verify": _verify,
    "hold": _hold,
    "prune": _prune,
    "job": _job,
    "host": _host,
    "show": lambda app, words: shows.show_point(app, _points(app, [_need(words, "show POINT")])),
    "files": _files,
    "explain": _explain,
    "calls": lambda app, _: shows.show_calls(app, Focus("log")),
    "revert": lambda app, words: restores.undo_vm(app, _vms(app, [_need(words, "revert web1")])),
    "worker": lambda app, _: backups.start_worker(app, Focus("jobs")),
    "readonly": lambda app, _: app.make_read_only(),
    "theme": _theme,
    "w": _write,
    "help": lambda app, _: app.show_help(),
    "quit": lambda app, _: app.quit_now(),
}
