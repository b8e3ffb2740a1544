"""Commands that show: details, definition, explanation, help, palette, copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vmtui.model.errors import CATALOG
from vmtui.model.ids import is_host_subject
from vmtui.overview.explain import STATES, Explanation, explanation
from vmtui.overview.points import PointView
from vmtui.overview.rehearsals import newest_proof, proven_words, rehearsal_lines
from vmtui.overview.vms import GONE, UNREACHABLE, VmRow
from vmtui.overview.words import age, local, ratio_text, size, unknown
from vmtui.tui import clock
from vmtui.tui.screens.base import Page
from vmtui.tui.screens.calls import CallsPage
from vmtui.tui.screens.log import LogView
from vmtui.tui.screens.text import TextPage
from vmtui.tui.verbs.registry import Command, Focus, key_name
from vmtui.tui.widgets.frame import Piece

if TYPE_CHECKING:
    from vmtui.tui.app import VmtuiApp

Lines = list[list[Piece]]


def _push(app: VmtuiApp, title: str, lines: Sequence[Sequence[Piece]], focus: Focus) -> None:
    page = app.page
    app.push_screen(TextPage(title, lines, page.lit_tab if page is not None else "", focus))


# -- all fields ----------------------------------------------------------------------------------


def show_details(app: VmtuiApp, focus: Focus) -> None:
    """All that is known of what is chosen."""
    if focus.points:
        show_point(app, focus)
    elif focus.vms:
        _push(app, f"VM {focus.vms[0].path}", vm_fields(focus.vms[0], app.picture.catalogue.points), focus)
    elif focus.hosts:
        from vmtui.tui.screens.hosts import HostsView

        if isinstance(app.screen, HostsView):
            _push(app, f"host {focus.hosts[0].name}", app.screen.panel(focus.hosts[0]), focus)
    elif focus.jobs:
        from vmtui.tui.verbs.opening import open_chosen

        open_chosen(app, focus)


def show_point(app: VmtuiApp, focus: Focus) -> None:
    """All of a point."""
    point = focus.points[0]
    _push(app, f"point {point.id} of {point.host}/{point.vm}", point_fields(point), focus)


def _field(name: str, value: object, tone: str = "") -> list[Piece]:
    return [(f"{name:20}", "strong"), (str(value) if value not in (None, "") else "–", tone)]  # a dash is meant


def vm_fields(row: VmRow, points: Sequence[PointView]) -> Lines:
    """A VM in all its fields. Pure."""
    own = [point for point in points if point.uuid == row.uuid]
    lines = [
        _field("name", row.name),
        _field("host", row.host),
        _field("uuid", row.uuid),
        _field("state", row.state),
        _field("tier", row.stand.tier),
        _field("rpo", age(row.stand.rpo_s)),
        _field("age", age(row.stand.age_s)),
        _field("status", f"{row.stand.status} {ratio_text(row.stand.ratio)} {row.stand.reason}"),
        _field("points", len(own)),
        _field("rehearsed", _proof(row, own)),
        [],
    ]
    return lines + [
        [(f"{local(point.time)}  {point.mode:6} {point.consistency:11} ", ""), (point.id, "dim"), ("  DAMAGED" if point.damaged else "", "bad")]
        for point in own[:50]
    ]  # fmt: skip


def _proof(row: VmRow, own: Sequence[PointView]) -> str:
    """What a VM has proven last, beside what its tier asks for."""
    point = newest_proof(own)
    tier = row.assignment.tier
    words = proven_words(point.proven if point is not None else None, clock.now(), tier.rto_s if tier else None)
    return f"{words}, point {point.id}" if point is not None else words


def point_fields(point: PointView) -> Lines:
    """A point in all its fields. Pure."""
    lines = [
        _field("point", point.id),
        _field("vm", f"{point.host}/{point.vm}"),
        _field("uuid", point.uuid),
        _field("time", local(point.time)),
        _field("mode", point.mode),
        _field("consistency", point.consistency),
        _field("why not better", point.consistency_reason),
        _field("verified", local(point.verified) if point.verified else "never", "good" if point.verified else "warn"),
        _field("damaged", point.damaged, "bad"),
        *(
            _field(label, text, "bad" if point.rehearsed is not None and not point.rehearsed.bootable else "")
            for label, text in rehearsal_lines(point, clock.now())
        ),
        _field("held", point.held, "warn"),
        _field("compared with", point.parent),
        _field("checkpoint", point.checkpoint),
        _field("guest frozen", f"{point.frozen_ms} ms"),
        _field("took", f"{point.seconds:.1f} s"),
        _field("job", point.job),
        _field("made by", ", ".join(f"{name} {version}" for name, version in point.versions.items())),
        [],
    ]
    for disk in point.disks:
        why = f" because: {disk.reason}" if disk.reason else ""
        lines.append(
            [(f"disk {disk.name:15}", "strong"), (f"{disk.format}, {size(disk.virtual_size)}, {disk.kind}{why}", "")]
        )
        lines.append(
            [
                (" " * 20, ""),
                (f"read {size(disk.read_bytes)}, new {size(disk.new_bytes)}, stored {size(disk.stored_bytes)}", "dim"),
            ]
        )
        if disk.path:
            lines.append([(" " * 20, ""), (disk.path, "dim")])
    lines += [_field(f"file {item.label}", f"{item.path}, {size(item.size)}") for item in point.files]
    lines += [_field(f"not held: {item.name}", item.reason, "warn") for item in point.left_out]
    records = [
        *(f"snapshot {name}" for name in point.snapshots),
        *(f"checkpoint {name}" for name in point.other_checkpoints),
    ]
    lines += [_field("record", name) for name in records]
    return lines + [_field("warning", text, "warn") for text in point.warnings]


# -- the definition as backed up -----------------------------------------------------------------


def show_definition(app: VmtuiApp, focus: Focus) -> None:
    """The VM's definition in a point, without its secrets."""
    from vmtui.overview.definition import shown_definition

    point = focus.points[0]

    def done(text: str) -> None:
        _push(app, f"definition of {point.vm} in point {point.id}", [[(line, "")] for line in text.splitlines()], focus)

    app.planning.run(lambda: shown_definition(app.settings, point.uuid, point.id), done, app.say_error)


def no_point(_app: VmtuiApp, focus: Focus) -> str:
    """Why there is no definition to show."""
    return "" if focus.points and focus.points[0].mode else "choose a restore point that can be read"


# -- explain -------------------------------------------------------------------------------------


def state_id(focus: Focus, app: VmtuiApp) -> str:
    """The state under the cursor, as `vmtui explain` names it. Pure but for the picture."""
    if focus.points:
        return _point_state(focus.points[0])
    if focus.vms:
        row = focus.vms[0]
        if row.twin:
            return "vm.twin"
        return f"vm.{row.state}" if row.state in (GONE, UNREACHABLE) else f"vm.{row.stand.status}"
    if focus.jobs:
        return f"job.{focus.jobs[0].state}"
    if focus.hosts:
        return f"host.{focus.hosts[0].state}"
    if focus.entries and focus.entries[0].error_id:
        return focus.entries[0].error_id
    return "repo.away" if app.picture.catalogue.error is not None else "repo.ok"


def _point_state(point: PointView) -> str:
    """What matters most of a point, worst first."""
    failed = point.rehearsed is not None and not point.rehearsed.bootable
    states = {
        "point.damaged": bool(point.damaged),
        "point.held": point.held is not None,
        "point.host": is_host_subject(point.uuid),
        "point.not bootable": failed,
        "consistency.crash": point.consistency == "crash",
        "point.bootable": point.rehearsed is not None,
        "point.verified": point.verified is not None,
    }
    return next((state for state, is_so in states.items() if is_so), "point.unverified")


def _numbers(focus: Focus) -> list[Piece]:
    """Why it is so now, in numbers."""
    if focus.points:
        point = focus.points[0]
        return [
            (
                f"Point {point.id} of {local(point.time)}: {point.damaged or point.consistency_reason or point.consistency}.",
                "",
            )
        ]
    if focus.vms:
        stand = focus.vms[0].stand
        ratio = f", {ratio_text(stand.ratio)} of the RPO" if stand.ratio is not None else ""
        rpo = f" Tier {stand.tier} allows {age(stand.rpo_s)}." if stand.tier else ""
        text = f"Newest good point {local(focus.vms[0].newest)}, {age(stand.age_s)} ago{ratio}.{rpo} {stand.reason}"
        return [(text if focus.vms[0].newest else f"No good point.{rpo} {stand.reason}", "")]
    if focus.jobs:
        record = focus.jobs[0]
        text = str(record.error["cause"]) if record.error is not None else (record.notes[-1] if record.notes else "")
        return [(text or f"Phase {record.phase or '–'}, beat {local(record.beat)}.", "")]  # a dash is meant
    if focus.hosts:
        view = focus.hosts[0]
        return [(str(view.error["cause"]) if view.error else f"Last answer {local(view.as_of)}.", "")]
    return [(focus.entries[0].text, "")] if focus.entries else []


def no_explanation(_app: VmtuiApp, focus: Focus) -> str:
    """Why there is nothing to explain."""
    return "" if focus.count or focus.view in _ABOUT_ALL else "nothing is chosen"


_ABOUT_ALL = ("pulse", "repo")
"""Views that explain the repository where nothing is chosen."""


def show_explanation(app: VmtuiApp, focus: Focus) -> None:
    """What the state means, why now, what follows, what to do."""
    id_ = state_id(focus, app)
    words = explanation(id_)
    if words is None:
        app.say(f"There is no explanation of {id_}.", level="warning")
        return
    _push(app, f"explain {id_}", explanation_lines(words, _numbers(focus)), focus)


def explain_id(app: VmtuiApp, id_: str) -> None:
    """Explain a state or an error by its id."""
    words = explanation(id_)
    if words is None:
        raise unknown("state or error id", id_, [*STATES, *CATALOG])
    _push(app, f"explain {id_}", explanation_lines(words, []), Focus("text"))


def no_log(_app: VmtuiApp, focus: Focus) -> str:
    """Why there is no log to look for."""
    return "" if focus.count else "nothing is chosen"


def show_log(app: VmtuiApp, focus: Focus) -> None:
    """The log, with only what tells of what is chosen."""
    if focus.jobs:
        word = focus.jobs[0].id[-8:]
    elif focus.hosts:
        word = focus.hosts[0].name
    else:
        word = focus.vms[0].name if focus.vms else focus.points[0].vm
    app.go_to("log")

    def narrow() -> None:
        if isinstance(app.page, LogView):
            app.page.set_filter('"' + word.replace('"', "") + '"')

    app.call_after_refresh(narrow)


def show_calls(app: VmtuiApp, _focus: Focus) -> None:
    """The command log."""
    app.push_screen(CallsPage())


def explanation_lines(words: Explanation, numbers: list[Piece]) -> Lines:
    """An explanation as text. Pure."""
    lines: Lines = [[("What it means  ", "strong"), (words.means, "")]]
    if numbers:
        lines += [[], [("Why now        ", "strong"), *numbers]]
    if words.otherwise:
        lines += [[], [("If nothing is done  ", "strong"), (words.otherwise, "")]]
    lines += [[], [("What to do", "strong")]]
    for item in words.tries:
        lines.append([("  ", ""), (f"{item.key:8}" if item.key else " " * 8, "key"), (item.text, "")])
        if item.command:
            lines.append([(" " * 10, ""), (item.command, "dim")])
    return [*lines, [], [(f"The same on the command line: vmtui explain {words.id}", "dim")]]


# -- help and palette ----------------------------------------------------------------------------

_COLOURS: Lines = [
    [("✓ ok", "good"), ("  fine   ", ""), ("! due", "warn"), ("  soon   ", ""), ("✗ never, breached, failed", "bad"), ("  act now   ", ""), ("? unknown", "unknown"), ("  nobody answers", "")],
]  # fmt: skip

_FIRST_STEPS: Lines = [
    [("To back up   ", "strong"), ("2, move to the VM, b.", "")],
    [("To restore   ", "strong"), ("2, move to the VM, r; five steps, nothing is changed before the last.", "")],
    [("To watch     ", "strong"), ("4, enter on the job.", "")],
]


def show_help(app: VmtuiApp, page: Page) -> None:
    """What the page shows, its keys, what the colours mean, first steps."""
    lines: Lines = [[(page.HELP, "")], [], *_FIRST_STEPS, [], *_COLOURS, []]
    own = [command for command in app.registry.of_view(page.VIEW) if command.keys]
    for title, group in (
        ("On this view", [command for command in own if command.views]),
        ("Everywhere", [command for command in own if not command.views]),
    ):
        lines.append([(title, "strong")])
        lines += [_key_line(command) for command in group]
        lines.append([])
    lines.append(
        [("Capitals in the headings of a table sort by that column. In a dialog No is the default; y says yes.", "dim")]
    )
    _push(app, "help", lines, page.focus_now())  # fmt: skip


def _key_line(command: Command) -> list[Piece]:
    keys = " ".join(key_name(key) for key in command.keys)
    danger = f"  [{command.danger}]" if command.danger != "–" else ""  # a dash is meant
    return [
        (f"  {keys:12} ", "key"),
        (command.help, ""),
        (danger, "warn"),
        (f"  {command.command_line(Focus(''))}" if command.twin else "", "dim"),
    ]
