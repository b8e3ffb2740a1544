"""Hot and paused backups: a frozen view of a VM that goes on.

Each function is a step: it may be run again after the process that ran it died. `begin` makes a new
frozen view when the old one was not reported; `transfer` takes up the one that `begin` reported.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from vmtui import __version__
from vmtui.backup.context import BackupContext
from vmtui.backup.plan import BackupPlan, DiskPlan
from vmtui.backup.prepare import busy, scratch_file, scratch_mark
from vmtui.backup.state import State, look, settle, store_apart
from vmtui.backup.transfer import DiskRead, DiskTransfer, SampleDiffersError, Source
from vmtui.failpoint import failpoint
from vmtui.hosts import HostSession, backup_job, checkpoints, quiesce, sentry, storage
from vmtui.hosts.backup_job import CHECKPOINT_INCONSISTENT, JobDisk
from vmtui.hosts.domains import Domain
from vmtui.hosts.guard import Duty, Guard
from vmtui.model.errors import FailedError, UnreachableError, VmtuiError
from vmtui.model.host import version_text
from vmtui.model.ids import PointId, new_id
from vmtui.model.point import Consistency, DiskKind, FullReason, Mode
from vmtui.model.vm import DomainState
from vmtui.nbd import NbdClient
from vmtui.repository import BlobWriter, block_count

_BEGIN_S = 12.0
"""A begin that takes longer would keep the guest frozen; then it fails and the guest is thawed."""
_GUARD_S = 20
"""The guard thaws after this long even if we are alive."""
_GUARD_PATIENCE_S = 60
_RECONNECT_S = 300.0
"""How long a cut connection is tried again before the run fails."""
_RECONNECT_PAUSE_S = 2.0
_PLANS = 3
"""Times that a begin is tried with fewer incremental disks."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A frozen view that stands."""

    point: PointId
    time: datetime
    """The instant of consistency [UTC]."""
    consistency: Consistency
    consistency_reason: str
    frozen_ms: int
    disks: tuple[DiskPlan, ...]
    """The plan's disks; some may have become full."""
    libvirt: str
    hypervisor: str
    state: State = field(default_factory=State)
    """Firmware variables and TPM at the same instant."""


# -- begin ---------------------------------------------------------------------------------------


def begin(context: BackupContext, plan: BackupPlan) -> Begun:
    """Make the frozen view. Safe to repeat: what a dead predecessor began is ended first.

    Raises:
        RefusedError: Another program's job is in the way.
        FailedError: libvirt refused; nothing of this run is left.
        UnreachableError: The host went away.
    """
    session = context.session
    domain = Domain(session, plan.request.vm)
    _undo_begin(context, domain, plan)
    disks = plan.disks
    for _ in range(_PLANS):
        try:
            return _begin(context, domain, replace(plan, disks=disks))
        except FailedError as error:
            if error.facts.get("code") != CHECKPOINT_INCONSISTENT:
                raise
            disks = _fewer_incremental(disks, error.cause)
            context.watch.note(f"a dirty bitmap is missing or broken; reading in full: {error.cause}")
    raise FailedError("LIBVIRT", f"libvirt on {session.host.name} refuses every incremental disk of {plan.name}.")


def _fewer_incremental(disks: Sequence[DiskPlan], cause: str) -> tuple[DiskPlan, ...]:
    """The disk that libvirt names becomes full; when it names none of ours, all do."""
    named = [disk for disk in disks if disk.kind is DiskKind.INCREMENTAL and f"'{disk.target}'" in cause]
    doomed = named or [disk for disk in disks if disk.kind is DiskKind.INCREMENTAL]
    return tuple(disk.as_full(FullReason.BITMAP_LOST) if disk in doomed else disk for disk in disks)


def _begin(context: BackupContext, domain: Domain, plan: BackupPlan) -> Begun:
    session = domain.session
    _check_places(session, plan, context.repository.id)
    context.notes(plan.run).note("placed")
    guardpost = sentry.Post(
        plan.request.vm, plan.socket, scratch_mark(plan, context.repository.id), session.host.scratch_reserve_bytes
    )
    with _sentry(context, session, guardpost):
        context.watch.phase("freeze" if plan.mode is Mode.HOT else "pause")
        frozen = _frozen if plan.mode is Mode.HOT else _paused
        context.keep_definition(domain.definition())
        before = look(context, plan.request.vm, plan.name)
        with frozen(context, domain, plan) as quiet:
            context.watch.phase("begin")
            _call_begin(context, domain, plan)
            now = context.now()
            failpoint("backup.begun")
            if plan.mode is Mode.PAUSED:
                before = look(context, plan.request.vm, plan.name)
            context.watch.phase("thaw")
    failpoint("backup.thawed")
    moved: tuple[str, ...] = ()
    if plan.mode is not Mode.PAUSED:  # what was copied while the VM stood still is exact
        before, moved = settle(context, plan.request.vm, plan.name, before)
    libvirt, hypervisor = session.with_libvirt(
        "read the versions", lambda link: (link.getLibVersion(), link.getVersion())
    )
    return Begun(
        point=PointId(new_id(now)),
        time=now,
        consistency=quiet.consistency,
        consistency_reason=quiet.reason,
        frozen_ms=quiet.held_ms,
        disks=plan.disks,
        libvirt=version_text(libvirt),
        hypervisor=version_text(hypervisor),
        state=store_apart(context, before, moved),
    )


def _call_begin(context: BackupContext, domain: Domain, plan: BackupPlan) -> None:
    """Ask libvirt for the frozen view; after a refusal nothing of this run is left."""
    wanted = {disk.target: disk for disk in plan.disks}
    targets = domain.targets()
    disks = [_job_disk(wanted.get(target), target, plan, context.repository.id) for target in targets]
    xml = None
    if plan.checkpoint is not None:
        tracked = {target: target in wanted and wanted[target].tracked for target in targets}
        xml = checkpoints.checkpoint_xml(plan.checkpoint, tracked)
    try:
        backup_job.begin(domain, plan.socket, disks, xml, deadline_s=_BEGIN_S)
    except VmtuiError:
        if plan.checkpoint is not None:
            with contextlib.suppress(VmtuiError):  # the refusal is what the operator must read
                checkpoints.delete(domain, plan.checkpoint)
        raise


def _job_disk(disk: DiskPlan | None, target: str, plan: BackupPlan, repository: str) -> JobDisk:
    if disk is None:
        return JobDisk(target, None)
    incremental = plan.parent_checkpoint if disk.kind is DiskKind.INCREMENTAL else None
    return JobDisk(target, scratch_file(plan, repository, target), incremental)


def _check_places(session: HostSession, plan: BackupPlan, repository: str) -> None:
    """libvirt replaces whatever is at a socket's path without asking, so it must not be there.

    Raises:
        FailedError: Something is there.
    """
    for path in [plan.socket, *(scratch_file(plan, repository, disk.target) for disk in plan.disks)]:
        if session.files.exists(path):
            raise FailedError(
                "TARGET-EXISTS", f"{path} on {session.host.name} is already there, and is not ours to replace."
            )


@contextlib.contextmanager
def _sentry(context: BackupContext, session: HostSession, post: sentry.Post) -> Iterator[None]:
    """A sentry that stays when the frozen view stands, and leaves when it does not."""
    try:
        watcher = sentry.Sentry(session, post)
    except FailedError as error:
        context.watch.note(f"nobody watches the scratch space on {session.host.name}: {error.cause}")
        yield
        return
    try:
        yield
    except BaseException:
        watcher.dismiss()
        raise
    watcher.leave()


# -- quiet: frozen or paused ---------------------------------------------------------------------


@dataclass(slots=True)
class _Quiet:
    """How quiet the VM was while the view was made."""

    consistency: Consistency
    reason: str
    held_ms: int = 0
    """How long the guest was held still."""


@contextlib.contextmanager
def _frozen(context: BackupContext, domain: Domain, plan: BackupPlan) -> Iterator[_Quiet]:
    """Freeze, and thaw at once after the body, whatever happens; a guard on the host stands by."""
    why = _cannot_freeze(domain, plan)
    if why:
        yield _Quiet(Consistency.CRASH, why)
        return
    guarded = time.monotonic()
    try:
        guard = Guard(domain.session, plan.request.vm, Duty.THAW, silence_s=_GUARD_S, patience_s=_GUARD_PATIENCE_S)
    except FailedError as error:
        yield _Quiet(Consistency.CRASH, f"no guard on the host, so nothing was frozen: {error.cause}")
        return
    with guard:
        failpoint("backup.guarded")
        context.notes(plan.run).note("frozen")
        started = time.monotonic()
        result = quiesce.freeze(domain)
        quiet = _Quiet(Consistency.FILESYSTEM, "")
        if not result.count:
            quiet = _Quiet(Consistency.CRASH, result.reason)
        failpoint("backup.frozen")
        try:
            yield quiet
        finally:
            late = time.monotonic() - guarded >= _GUARD_S
            thawed = quiesce.thaw(domain)
            quiet.held_ms = round((time.monotonic() - started) * 1000)
            unconfirmed = bool(thawed.problem) and (result.count > 0 or result.unanswered)
            if unconfirmed:
                guard.abandon()  # a freeze that was not answered may still come about in the guest
            else:
                context.notes(plan.run).withdraw("frozen")
        if unconfirmed:
            context.watch.note(f"the guest agent did not confirm the thaw; the host goes on with it: {thawed.problem}")
        if result.count:
            broken = _broken(thawed, late=late)
            if broken:
                quiet.consistency, quiet.reason = Consistency.CRASH, broken
            if broken and not unconfirmed:
                context.watch.note(broken)


def _broken(thawed: quiesce.Thawed, *, late: bool) -> str:
    """Why a frozen guest may have written before the view was made; empty when it cannot have. Pure."""
    if late:
        return f"the view took longer than {_GUARD_S} s, when the guard on the host thaws the guest"
    if thawed.problem:
        return f"thawing reported: {thawed.problem}"
    return "" if thawed.count else "somebody else had thawed the guest before the view was made"


def _cannot_freeze(domain: Domain, plan: BackupPlan) -> str:
    """Why freezing is not even tried; empty when it is."""
    state = domain.state()
    if state is not DomainState.RUNNING:
        return f"the VM is {state}"
    if plan.agent_channel == "absent":
        return "the VM has no channel for the guest agent"
    if plan.agent_channel != "connected":
        return "no guest agent is connected"
    return ""


@contextlib.contextmanager
def _paused(context: BackupContext, domain: Domain, plan: BackupPlan) -> Iterator[_Quiet]:
    """Suspend the VM and resume it after the body, whatever happens; a guard on the host stands by."""
    if domain.state() is not DomainState.RUNNING:
        yield _Quiet(Consistency.CRASH, f"the VM was already {domain.state()}")
        return
    guard = Guard(domain.session, plan.request.vm, Duty.RESUME, silence_s=_GUARD_S, patience_s=_GUARD_PATIENCE_S)
    context.notes(plan.run).note("suspended")
    with guard:
        failpoint("backup.guarded")
        started = time.monotonic()
        domain.suspend()
        failpoint("backup.frozen")
        quiet = _Quiet(Consistency.CRASH, "paused while the point was taken; nothing was frozen")
        try:
            yield quiet
        finally:
            domain.resume()
            quiet.held_ms = round((time.monotonic() - started) * 1000)
            context.notes(plan.run).withdraw("suspended")  # whoever pauses it from now on means it


# -- transfer ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Transferred:
    """All disks, read to their ends."""

    disks: tuple[DiskPlan, ...]
    reads: tuple[DiskRead, ...]
    """In the order of `disks`."""


def transfer(context: BackupContext, plan: BackupPlan, begun: Begun, writer: BlobWriter) -> Transferred:
    """Read all disks of the frozen view; goes on where a predecessor stopped.

    Raises:
        FailedError: The frozen view is gone, or a disk cannot be read.
        UnreachableError: The host stayed away for too long.
        CancelledError: Somebody asked for it to stop.
    """
    failpoint("backup.transfer")
    with _tended(context, plan):
        done = [_read_disk(context, plan, disk, writer) for disk in begun.disks]
    _check_standing(context, plan)
    failpoint("backup.read")
    return Transferred(tuple(disk for disk, _ in done), tuple(read for _, read in done))


@contextlib.contextmanager
def _tended(context: BackupContext, plan: BackupPlan) -> Iterator[None]:
    """Beats for the sentry while we read, so that it does not take the job for an orphan."""
    post = sentry.Post(
        plan.request.vm,
        plan.socket,
        scratch_mark(plan, context.repository.id),
        context.session.host.scratch_reserve_bytes,
    )
    try:
        watcher = sentry.Sentry(context.session, post)
    except FailedError:
        yield  # begin has told the operator that nobody watches
        return
    try:
        yield
    finally:
        watcher.leave()


def _read_disk(
    context: BackupContext, plan: BackupPlan, disk: DiskPlan, writer: BlobWriter
) -> tuple[DiskPlan, DiskRead]:
    """Read one disk; a connection that breaks is made again while the frozen view stands."""
    journal = context.leaf_journal(plan.run, disk.target)
    if context.notes(plan.run).noted(f"full-{disk.target.encode().hex()}"):
        disk = disk.as_full(FullReason.SAMPLE_DIFFERS)
    while True:
        work = DiskTransfer(
            disk.target,
            writer,
            context.repository.block_size,
            journal,
            context.watch,
            half="backup.half",
            renew=lambda: context.repository.session(plan.run).renew(context.now()),
        )
        try:
            return disk, _read_patiently(context, plan, disk, work)
        except SampleDiffersError as error:
            context.watch.note(
                f"ALARM: a block that nobody wrote through QEMU has changed ({error}). Something writes to the image "
                "behind QEMU's back, or the image was exchanged. The disk is read in full."
            )
            context.notes(plan.run).note(f"full-{disk.target.encode().hex()}")
            journal.forget()
            disk = disk.as_full(FullReason.SAMPLE_DIFFERS)


def _read_patiently(context: BackupContext, plan: BackupPlan, disk: DiskPlan, work: DiskTransfer) -> DiskRead:
    """Read one disk; after a broken connection try again, as long as the frozen view stands."""
    deadline, read = 0.0, -1
    while True:
        try:
            return work.run(_source(context, plan, disk))
        except UnreachableError as error:
            if error.id.startswith("REPO-"):
                raise  # the store was tried for long enough, and what it did not take is not on its way again
            now = time.monotonic()
            if work.read_bytes != read:
                deadline, read = now + _RECONNECT_S, work.read_bytes
            _check_standing_if_reachable(context, plan)
            if now > deadline:
                raise
            context.watch.check()
            context.watch.note(f"the connection broke and is made again: {error.cause}", warning=False)
            time.sleep(_RECONNECT_PAUSE_S)


def _source(context: BackupContext, plan: BackupPlan, disk: DiskPlan) -> Source:
    incremental = disk.kind is DiskKind.INCREMENTAL
    parent = None
    if incremental and disk.parent_root is not None:
        blocks = block_count(disk.parent_size, context.repository.block_size)
        parent = context.repository.reader().map(bytes.fromhex(disk.parent_root), blocks)
    export = JobDisk(disk.target, "")

    def connect(contexts: Sequence[str]) -> NbdClient:
        return NbdClient(context.session.stream(plan.socket), disk.target, contexts)

    return Source(
        connect=connect,
        dirty=f"qemu:dirty-bitmap:{export.bitmap}" if incremental else None,
        parent=parent,
        parent_size=disk.parent_size if incremental else 0,
    )


def _check_standing_if_reachable(context: BackupContext, plan: BackupPlan) -> None:
    try:
        _check_standing(context, plan)
    except UnreachableError:
        return  # nothing is known; the next try will tell


def _check_standing(context: BackupContext, plan: BackupPlan) -> None:
    """Return if the frozen view is still ours and served. libvirt's own verdict on a job is not believed.

    Raises:
        FailedError: It is not; the cause says why as far as that can be known.
    """
    session = context.session
    domain = Domain(session, plan.request.vm)
    job = backup_job.running_job(domain)
    if job is not None and job.socket == plan.socket:
        return
    reason = sentry.ended_because(session, scratch_mark(plan, context.repository.id))
    if reason in ("low", "stopped"):
        raise FailedError(
            "SCRATCH-LOW",
            f"The scratch space of {plan.name} in {plan.scratch_folder} on {session.host.name} ran low; the frozen view was "
            "given up so that the VM goes on.",
            host=session.host.name,
        )
    if not domain.state().active:
        raise FailedError("VM-STOPPED", f"{plan.name} on {session.host.name} stopped while it was backed up.")
    if job is not None:
        raise busy(domain, job)
    raise FailedError("JOB-LOST", f"The backup job of {plan.name} on {session.host.name} was ended by somebody else.")


# -- accept and abandon --------------------------------------------------------------------------


def accept(context: BackupContext, plan: BackupPlan) -> None:
    """The point is durable: end the job and delete the checkpoints that it replaces. Safe to repeat.

    Raises:
        UnreachableError: The host does not answer; the point is good all the same.
        FailedError: libvirt refused.
    """
    context.watch.phase("accept")
    session = context.session
    domain = Domain(session, plan.request.vm)
    job = backup_job.running_job(domain)
    if job is not None and job.socket == plan.socket:
        backup_job.end(domain)
    failpoint("backup.ended")
    active = domain.state().active
    if active and context.notes(plan.run).noted("frozen"):
        quiesce.thaw(domain)  # nobody confirmed it before
    for name in plan.obsolete_checkpoints:
        if name != plan.checkpoint and active:
            checkpoints.delete(domain, name)
    _sweep(context, plan)
    failpoint("backup.accepted")


def abandon(context: BackupContext, plan: BackupPlan) -> None:
    """The run has failed: leave the VM as it was found and nothing of the run. Safe to repeat.

    Raises:
        UnreachableError: The host does not answer; the next run clears up.
        FailedError: libvirt refused.
    """
    domain = Domain(context.session, plan.request.vm)
    _undo_begin(context, domain, plan)
    if domain.state().active and domain.paused_by_io_error():
        domain.resume()
        context.watch.note("the VM had been paused by a write error and was resumed")
    _sweep(context, plan)


def _undo_begin(context: BackupContext, domain: Domain, plan: BackupPlan) -> None:
    """Thaw, resume, end the job of this run, delete its checkpoint. Safe to repeat."""
    state = domain.state()
    notes = context.notes(plan.run)
    if state is DomainState.RUNNING and notes.noted("frozen") and not quiesce.thaw(domain).problem:
        notes.withdraw("frozen")
    if state is DomainState.PAUSED and notes.noted("suspended"):
        domain.resume()
    job = backup_job.running_job(domain)
    if job is not None and job.socket == plan.socket:
        backup_job.end(domain)
    if plan.checkpoint is not None and not checkpoints.delete(domain, plan.checkpoint):
        _remove_bitmaps(domain, plan)


def _remove_bitmaps(domain: Domain, plan: BackupPlan) -> None:
    """Take the new bitmaps out of the images of a VM that stopped meanwhile."""
    if domain.state().active or plan.checkpoint is None:
        return
    for disk in plan.disks:
        if disk.tracked and disk.path is not None:
            storage.remove_bitmap(domain.session, disk.path, plan.checkpoint)


def _sweep(context: BackupContext, plan: BackupPlan) -> None:
    """Remove what libvirt does not remove by itself; before `_check_places` has passed, what is there is not ours."""
    session = context.session
    mark = scratch_mark(plan, context.repository.id)
    sentry.sweep(session, mark)
    if not context.notes(plan.run).noted("placed"):
        return
    for disk in plan.disks:
        session.files.remove(scratch_file(plan, context.repository.id, disk.target))
    if plan.socket:
        session.files.remove(plan.socket)


def versions(libvirt: str, hypervisor: str) -> dict[str, str]:
    """What made a point."""
    return {"vmtui": __version__, "libvirt": libvirt, "qemu": hypervisor}
