"""Cold backups: the VM is off while its images are read, and runs again afterwards if it ran before.

Stopping, reading and starting are one step. It cannot be taken up in the middle, as the guard starts
the VM again when our process dies; a repetition then puts the VM back and fails.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from vmtui.backup.context import BackupContext
from vmtui.backup.journal import LeafJournal
from vmtui.backup.plan import BackupPlan, DiskPlan, usable_at_rest
from vmtui.backup.state import SavedMemory, State, look, store
from vmtui.backup.transfer import DiskRead, DiskTransfer, SampleDiffersError, Source
from vmtui.failpoint import failpoint
from vmtui.hosts import checkpoints, storage
from vmtui.hosts.disk_server import EXPORT, DiskServer, served
from vmtui.hosts.domains import Domain, save_path
from vmtui.hosts.guard import Duty, Guard
from vmtui.hosts.images import image_info
from vmtui.model.errors import FailedError, VmtuiError
from vmtui.model.host import version_text
from vmtui.model.ids import PointId, new_id
from vmtui.model.point import DiskKind, FullReason
from vmtui.nbd import NbdClient
from vmtui.repository import BlobWriter, block_count

_SILENCE_S = 60
"""The guard starts the VM again after this long without a beat."""


@dataclass(frozen=True, slots=True)
class ColdRead:
    """A VM that was read while it was off."""

    point: PointId
    time: datetime
    disks: tuple[DiskPlan, ...]
    reads: tuple[DiskRead, ...]
    marked: bool
    """The new checkpoint's bitmaps are in the images."""
    libvirt: str
    hypervisor: str
    state: State = field(default_factory=State)
    """Firmware variables, TPM and saved memory."""


def read(context: BackupContext, plan: BackupPlan, writer: BlobWriter) -> ColdRead:
    """Stop the VM if it runs, read its images, start it again.

    Raises:
        FailedError: The VM does not stop or a disk cannot be read; the VM is as it was found. Or a
            predecessor died in the middle; the VM was put back as it was found.
        CancelledError: Somebody asked for it to stop; the VM is as it was found.
        UnreachableError: The host went away; its guard starts the VM again.
    """
    domain = Domain(context.session, plan.request.vm)
    notes = context.notes(plan.run)
    if notes.noted("stopping"):
        abandon(context, plan)
        raise FailedError(
            "JOB-INTERRUPTED",
            f"The worker died while {plan.name} was held down for a cold backup. The VM runs again; there is no new point.",
        )
    _refuse_saved(context, domain, plan)
    context.keep_definition(domain.definition())
    with _held_down(context, domain, plan):
        now = context.now()
        memory = SavedMemory(context, plan.name) if plan.managed_save else None
        # Before the first byte is read: what somebody writes to an image at rest after it was read, and while
        # nobody locks it, is then in the new bitmap, and so in the next increment.
        marked = _mark(context, domain, plan, now)
        failpoint("cold.marked")
        done = [_read_disk(context, plan, disk, writer) for disk in plan.disks]
        state = store(context, look(context, plan.request.vm, plan.name), writer)
        if memory is not None:
            state = replace(state, files=(*state.files, memory.store(plan.run, writer)))
        failpoint("cold.read")
    failpoint("cold.started")
    libvirt, hypervisor = context.session.with_libvirt(
        "read the versions", lambda link: (link.getLibVersion(), link.getVersion())
    )
    return ColdRead(
        point=PointId(new_id(now)),
        time=now,
        disks=tuple(disk for disk, _ in done),
        reads=tuple(result for _, result in done),
        marked=marked,
        libvirt=version_text(libvirt),
        hypervisor=version_text(hypervisor),
        state=state,
    )


def _refuse_saved(context: BackupContext, domain: Domain, plan: BackupPlan) -> None:
    """Return if a VM that is off was not saved since it was planned.

    Raises:
        FailedError: It was: a point without its memory would call itself that of a VM that had shut down.
    """
    if plan.managed_save or domain.state().active:
        return
    if context.session.files.exists(save_path(context.session, plan.name)):
        raise FailedError("VM-STARTED", f"{plan.name} was saved after its backup was planned. There is no new point.")


# -- holding the VM down -------------------------------------------------------------------------


@contextlib.contextmanager
def _held_down(context: BackupContext, domain: Domain, plan: BackupPlan) -> Iterator[None]:
    """Stop the VM and start it again after the body, whatever happens; a guard on the host stands by."""
    if not domain.state().active:
        yield
        return
    limit_s = context.session.host.shutdown_s
    guard = Guard(
        context.session,
        plan.request.vm,
        Duty.START,
        silence_s=_SILENCE_S,
        patience_s=int(limit_s) + 60,
        beating=True,
    )
    try:
        context.notes(plan.run).note("stopping")
        failpoint("cold.guarded")
        context.watch.phase("shut down")
        context.watch.note(
            f"{plan.name} is shut down for a cold backup; cancel the job to let it go at once", warning=False
        )
        if not domain.shut_down(limit_s, context.watch.check):
            raise FailedError(
                "VM-WILL-NOT-STOP",
                f"{plan.name} did not shut down within {limit_s:g} s. It was left running, and is never powered off hard.",
            )
        failpoint("cold.stopped")
        yield
        context.watch.phase("start again")
        domain.start()
    except BaseException:
        _let_go(domain, guard)
        raise
    guard.dismiss()
    context.notes(plan.run).note("started")


def _let_go(domain: Domain, guard: Guard) -> None:
    """After a failure: start a VM that is off; one that may still be shutting down is the guard's to start."""
    try:
        if not domain.state().active:
            domain.start()
            guard.dismiss()
            return
    except VmtuiError:
        pass  # the guard goes on trying; the first error is what the operator must read
    guard.abandon()


# -- reading -------------------------------------------------------------------------------------


def _read_disk(
    context: BackupContext, plan: BackupPlan, disk: DiskPlan, writer: BlobWriter
) -> tuple[DiskPlan, DiskRead]:
    """Serve one image and read it; a bitmap that cannot be used or believed makes the disk full."""
    disk = _with_usable_bitmap(context, plan, disk)
    while True:
        try:
            bitmaps = [str(plan.parent_checkpoint)] if disk.kind is DiskKind.INCREMENTAL else []
            with served(context.session, str(disk.path), disk.format, bitmaps=bitmaps) as server:
                failpoint("cold.serving")
                return disk, _transfer(context, plan, disk, writer, server)
        except SampleDiffersError as error:
            context.watch.note(
                f"ALARM: a block that nobody wrote through QEMU has changed ({error}). The disk is read in full."
            )
            disk = disk.as_full(FullReason.SAMPLE_DIFFERS)
        except FailedError as error:
            if disk.kind is DiskKind.FULL or error.id not in ("REMOTE-COMMAND", "DISK-CONTEXT-MISSING"):
                raise
            context.watch.note(f"the dirty bitmap of {disk.target} cannot be used; reading in full: {error.cause}")
            disk = disk.as_full(FullReason.BITMAP_LOST)


def _with_usable_bitmap(context: BackupContext, plan: BackupPlan, disk: DiskPlan) -> DiskPlan:
    """The disk as planned if its image, now at rest, has the bitmap whole; else in full."""
    if disk.kind is DiskKind.FULL or disk.path is None:
        return disk
    image = image_info(context.session, disk.path, disk.format)
    if plan.parent_checkpoint is None or not usable_at_rest(image, plan.parent_checkpoint):
        return disk.as_full(FullReason.BITMAP_LOST)
    return disk


def _transfer(
    context: BackupContext, plan: BackupPlan, disk: DiskPlan, writer: BlobWriter, server: DiskServer
) -> DiskRead:
    parent = None
    if disk.kind is DiskKind.INCREMENTAL and disk.parent_root is not None:
        blocks = block_count(disk.parent_size, context.repository.block_size)
        parent = context.repository.reader().map(bytes.fromhex(disk.parent_root), blocks)

    def connect(contexts: Sequence[str]) -> NbdClient:
        return NbdClient(server.connect(), EXPORT, contexts)

    source = Source(
        connect=connect,
        dirty=f"qemu:dirty-bitmap:{plan.parent_checkpoint}" if parent is not None else None,
        parent=parent,
        parent_size=disk.parent_size if parent is not None else 0,
    )
    work = DiskTransfer(
        disk.target,
        writer,
        context.repository.block_size,
        LeafJournal(None),
        context.watch,
        half="cold.half",
        renew=lambda: context.repository.session(plan.run).renew(context.now()),
    )
    return work.run(source)


# -- marking for the next increment --------------------------------------------------------------


def _mark(context: BackupContext, domain: Domain, plan: BackupPlan, now: datetime) -> bool:
    """Put the new checkpoint's bitmaps into the images at rest, so that the next run can be incremental.

    Returns:
        Whether that worked; if not, the next run reads in full, and nothing of the attempt is left.
    """
    if plan.checkpoint is None or not plan.persistent:
        return False
    context.watch.phase("mark")
    tracked = [disk for disk in plan.disks if disk.tracked and disk.path is not None]
    try:
        for disk in tracked:
            storage.add_bitmap(context.session, str(disk.path), plan.checkpoint)
        parent = checkpoints.newest(domain)
        checkpoints.define_offline(domain, plan.checkpoint, [disk.target for disk in tracked], parent, now)
    except FailedError as error:
        context.watch.note(f"changes cannot be tracked from this point on: {error.cause}")
        _unmark(context, domain, plan)
        return False
    return True


def _unmark(context: BackupContext, domain: Domain, plan: BackupPlan) -> None:
    """Remove the new checkpoint and its bitmaps, whether the VM runs or not. Safe to repeat."""
    if plan.checkpoint is None:
        return
    whole = checkpoints.delete(domain, plan.checkpoint)
    if domain.state().active and whole:
        return
    for disk in plan.disks:
        if disk.tracked and disk.path is not None:
            storage.remove_bitmap(context.session, disk.path, plan.checkpoint)


# -- accept and abandon --------------------------------------------------------------------------


def accept(context: BackupContext, plan: BackupPlan, result: ColdRead) -> None:
    """The point is durable: delete the checkpoints that it replaces. Safe to repeat.

    On a stopped VM libvirt only forgets them; their bitmaps are taken out of the images.
    """
    context.watch.phase("accept")
    domain = Domain(context.session, plan.request.vm)
    if not result.marked:
        return  # the accepted checkpoint stays what it was
    for name in plan.obsolete_checkpoints:
        if name == plan.checkpoint:
            continue
        whole = checkpoints.delete(domain, name)
        if not whole and not domain.state().active:
            for disk in plan.disks:
                if disk.tracked and disk.path is not None:
                    storage.remove_bitmap(context.session, disk.path, name)
    failpoint("backup.accepted")


def abandon(context: BackupContext, plan: BackupPlan) -> None:
    """The run has failed: the VM runs if it ran before, and nothing of the run is left. Safe to repeat.

    Raises:
        UnreachableError: The host does not answer; its guard starts the VM.
        FailedError: The VM does not start.
    """
    domain = Domain(context.session, plan.request.vm)
    notes = context.notes(plan.run)
    if notes.noted("stopping") and not notes.noted("started"):
        _wait_started(context, domain)
    _unmark(context, domain, plan)


def _wait_started(context: BackupContext, domain: Domain) -> None:
    """Start the VM; the host's guard may be doing the same at this moment."""
    if domain.state().active:
        return
    try:
        domain.start()
    except FailedError:
        if not domain.state().active:
            raise
    context.watch.note("the VM had been held down and was started again")
