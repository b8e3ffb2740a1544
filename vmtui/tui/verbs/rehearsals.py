"""The command that proves that a point boots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtui.model.job import JobKind
from vmtui.overview.points import PointView
from vmtui.overview.words import age, local, size
from vmtui.tui.dialogs.base import Confirm
from vmtui.tui.verbs.backups import Wish, enqueue, read_only
from vmtui.tui.verbs.registry import Focus
from vmtui.tui.widgets.frame import Piece

if TYPE_CHECKING:
    from vmtui.tui.app import VmtuiApp

KEY = "w"


def _point(app: VmtuiApp, focus: Focus) -> PointView | None:
    """The chosen point, or the newest good one of the chosen VM."""
    if focus.points:
        return focus.points[0]
    uuid = focus.vms[0].uuid if focus.vms else ""
    return next((point for point in app.picture.catalogue.points if point.uuid == uuid and point.good), None)


def _host(app: VmtuiApp, point: PointView) -> str:
    """The host that the point is of, or the first there is."""
    known = app.settings.hypervisors
    return point.host if point.host in known else next(iter(known), "")


def no_rehearsal(app: VmtuiApp, focus: Focus, host: str = "") -> str:
    """Why nothing can be rehearsed; on the point's own host if none is named."""
    point = _point(app, focus)
    if point is None:
        return "there is no good restore point to rehearse"
    if not point.good:
        return "the point is damaged; choose another"
    host = host or _host(app, point)
    return read_only(app, [host]) if host else "no host is configured"


def ask_rehearsal(app: VmtuiApp, focus: Focus) -> None:
    """Say what will be done and where, then do it."""
    point = _point(app, focus)
    if point is not None:
        ask(app, point, _host(app, point))


def ask(app: VmtuiApp, point: PointView, host: str) -> None:
    """The same on a host that was named."""
    from vmtui.rehearsal import RehearsalRequest

    request = RehearsalRequest(point.uuid, point.id, host)

    def answered(yes: bool | None) -> None:
        if yes:
            enqueue(app, [Wish(JobKind.REHEARSE, host, point.vm, request)])

    app.push_screen(
        Confirm(
            f"Rehearse {point.vm} of {local(point.time)} on {host}?",
            words(point, host, request.timeout_s),
            yes="Rehearse",
            opened_by=(KEY,),
        ),
        answered,
    )


def words(point: PointView, host: str, timeout_s: float) -> list[list[Piece]]:
    """What will be done, and what will not. Pure."""
    return [
        [("A throw-away copy starts on ", ""), (host, "strong"), (", under a new name, with no network.", "")],
        [(f"Its {size(point.virtual_size)} of disks are read from the repository as needed;", "")],
        [("what it writes goes to a temporary file. The VM is not touched.", "")],
        [("It takes as much memory as the VM has, or what the host can spare.", "warn")],
        [(f"Its guest agent has {age(timeout_s)} to answer. Then it is destroyed.", "")],
        [("Verdict, time and a picture of the screen are kept on the point.", "")],
        [("Other ways: vmtui rehearse --help", "dim")],
    ]
