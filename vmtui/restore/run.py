"""The steps of a restore. Each may be run again after the process that ran it died.

New images are written beside their final names, proven, and only then renamed; in place, the old ones
are set aside first, and come back if anything fails. A definition is made last, from proven disks.
"""

from __future__ import annotations

import posixpath
import time
from dataclasses import dataclass

from vmtui.failpoint import failpoint
from vmtui.hosts import domain_xml, quiesce, storage
from vmtui.hosts.domains import Domain
from vmtui.model.point import Role
from vmtui.model.progress import Check
from vmtui.repository.streams import open_map
from vmtui.restore.abandon import abandon, is_ours, remove_new
from vmtui.restore.bases import NoBaseError
from vmtui.restore.context import RestoreContext
from vmtui.restore.fast import note_of, write_on_top
from vmtui.restore.install import Installed, define, final_target, fitted_definition, install, stop_old, swap_in
from vmtui.restore.placing import check_untouched, fit_saved, write_small
from vmtui.restore.plan import DiskPlacement, FilePlacement, RestorePlan, places, shuts_down_first
from vmtui.restore.prepare import check_approved, prepare, refuse
from vmtui.restore.write import DiskWriter, connected

__all__ = [
    "Installed",
    "Written",
    "abandon",
    "check_approved",
    "define",
    "fitted_definition",
    "install",
    "is_ours",
    "places",
    "prepare",
    "refuse",
    "remove_new",
    "start",
    "swap_in",
    "write",
    "write_file",
]

_AGENT_S = 180.0
_AGENT_POLL_S = 1.0
_WAKE_S = 600.0
"""A VM that wakes from saved memory reads all of it before it runs [s]."""


# -- write ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Written:
    """Images that were written and proven."""

    bytes: int
    checks: tuple[Check, ...]


def write(context: RestoreContext, plan: RestorePlan) -> Written:
    """Write every disk and file beside its final name, and prove each. Safe to repeat: starts over.

    Raises:
        DamageError: The repository does not have what the point needs.
        FailedError: The target cannot be written, or does not read back.
        CancelledError: Somebody asked for it to stop.
    """
    refuse(plan)
    remove_new(context.session, plan)
    checks = []
    total = 0
    if shuts_down_first(plan):
        checks += stop_old(context, plan, Domain(context.session, plan.uuid))
        failpoint("restore.stopped")
    for disk in plan.disks:
        written, detail = _write_disk(context, plan, disk)
        total += written
        checks.append(Check(f"disk {disk.target}", True, detail))
    failpoint("restore.written")
    for item in plan.files:
        if item.needed:
            total += write_file(context, plan, item)
            checks.append(Check(f"file {item.label}", True, f"{item.size} bytes written and read back"))
    failpoint("restore.verified")
    return Written(total, tuple(checks))


def _write_disk(context: RestoreContext, plan: RestorePlan, disk: DiskPlacement) -> tuple[int, str]:
    """Write and prove a disk on top of its old image if that was planned and is still right, else whole.

    Returns:
        Bytes written, and the evidence in words.
    """
    if disk.base is not None:
        try:
            done = write_on_top(context, plan, disk, disk.base)
        except NoBaseError as reason:
            context.watch.note(f"{disk.target} is written whole: {reason}")
        else:
            return done.written, (
                f"{done.written} bytes differed: written on top of the old image, {done.compared} bytes read back, each of "
                f"these blocks has the hash of the point; {done.read} bytes of the old image compared, {done.sampled} "
                f"blocks of that a sample of what the VM has not written since point {disk.base.point}"
            )
    context.notes(plan.run).note(note_of(disk))  # empty: a predecessor may have written it on top
    compared = _write_whole(context, plan, disk)
    return disk.data_bytes, (
        f"{disk.data_bytes} bytes written, {compared} bytes read back, every block has the hash of the point"
    )


def _write_whole(context: RestoreContext, plan: RestorePlan, disk: DiskPlacement) -> int:
    session = context.session
    path = disk.new_path(plan.run)
    context.watch.phase("create", disk=disk.target)
    storage.create_image(session, path, disk.format, disk.virtual_size)
    failpoint("restore.created")
    disk_map = open_map(context.repository, disk.virtual_size, disk.root)
    work = DiskWriter(
        disk.target, context.repository.reader(), context.repository.block_size, disk.virtual_size, context.watch
    )
    with connected(session, path, disk.format, writable=True) as client:
        if disk.virtual_size:
            work.write(client, disk_map, disk.data_bytes)
    if disk.format == "raw" and disk.file_length is not None:
        storage.cut_to(session, path, disk.file_length)
    with connected(session, path, disk.format, writable=False) as client:
        return work.read_back(client, disk_map, disk.data_bytes) if disk.virtual_size else 0


def write_file(context: RestoreContext, plan: RestorePlan, item: FilePlacement) -> int:
    """Write a captured file beside its final name and read it back; gives its size [bytes]."""
    context.session.files.make_folders(posixpath.dirname(item.path))
    if not item.large:
        write_small(context, plan.run, item)
    elif item.size:
        _write_whole(context, plan, item.as_disk())
    else:
        context.session.files.write_new(item.new_path(plan.run), b"")
    if item.role == Role.SAVE:
        fit_saved(context, plan.run, item, final_target(context, plan, context.point(plan.request)))
    return item.size


# -- start and evidence --------------------------------------------------------------------------


def start(context: RestoreContext, plan: RestorePlan) -> list[Check]:
    """Start the restored VM if that was asked for, and wait for its guest agent. Safe to repeat.

    Raises:
        FailedError: It does not start; definition and disks are there.
    """
    if not plan.request.start:
        return [Check("boot", None, "not started")]
    context.watch.phase("start")
    domain = Domain(context.session, plan.uuid)
    untouched = []
    if not domain.state().active:
        untouched = check_untouched(context, plan)
        domain.start(deadline_s=_WAKE_S)
    failpoint("restore.started")
    started = time.monotonic()
    checks = [*untouched, Check("boot", True, f"{plan.name} runs")]
    if domain_xml.agent_channel(domain_xml.parse(domain.definition().live)) == "absent":
        return [*checks, Check("guest agent", None, "the VM has no channel for it")]
    context.watch.phase("probe")
    while time.monotonic() - started < _AGENT_S:
        context.watch.check()
        if quiesce.answers(domain):
            return [*checks, Check("guest agent", True, f"answered after {time.monotonic() - started:.1f} s")]
        time.sleep(_AGENT_POLL_S)
    return [*checks, Check("guest agent", None, f"no answer within {_AGENT_S:g} s; look at the VM's console")]
