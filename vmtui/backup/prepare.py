"""Facts, leftovers, plan: everything before a VM is touched."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import replace

from vmtui.backup.context import BackupContext
from vmtui.backup.plan import (
    BackupPlan,
    BackupRequest,
    DiskPlan,
    Parent,
    check_worth,
    effective_mode,
    general_warnings,
    plan_disks,
)
from vmtui.failpoint import failpoint
from vmtui.hosts import HostSession, backup_job, checkpoints, domains, sentry, storage
from vmtui.hosts.backup_job import RunningJob
from vmtui.hosts.domains import Domain
from vmtui.hosts.forward import fits_socket_path
from vmtui.model.errors import FailedError, RefusedError
from vmtui.model.ids import JobId, VmId, is_host_subject
from vmtui.model.point import Mode
from vmtui.model.vm import VmFacts
from vmtui.repository import Repository, newest_good

_SCRATCH_SHARE = 10
"""The scratch folder must have room for this part of the disks' size, besides the reserve."""


def prepare(context: BackupContext, run: JobId, request: BackupRequest) -> BackupPlan:
    """Look at the VM, clear away what earlier runs of ours left, and plan. Safe to repeat.

    Raises:
        FailedError: The VM or a disk of it is gone.
        RefusedError: The mode does not fit, or another program works on the VM.
        UnreachableError: Host or repository do not answer.
    """
    context.watch.phase("plan")
    if is_host_subject(request.vm):
        raise RefusedError("VM-NOT-BACKED-UP", f"The UUID {request.vm} has the form that is kept for hosts.")
    context.repository.session(run).begin(context.now())
    for damage in context.repository.sync():
        context.watch.note(f"{damage.cause} Run: vmtui repo repair")
    session = context.session
    domain = Domain(session, request.vm)
    parent = find_parent(context.repository, request.vm)
    saw = context.repository.declare(run, parent.point)
    clear_leftovers(context, domain, parent)
    facts = domain.facts()
    mode = effective_mode(request, facts)
    parent = with_checkpoint(domain, facts, parent)
    disks, left_out, warnings = plan_disks(facts, parent, mode, full=request.full)
    check_worth(facts, disks, left_out)
    context.watch.phase("preflight")
    if mode is not Mode.COLD:
        _refuse_block_jobs(domain, disks)
    prefix = checkpoints.own_prefix(context.repository.id)
    keep = parent.point.checkpoint.name if parent.point is not None and parent.point.checkpoint is not None else None
    plan = BackupPlan(
        run=run,
        request=request,
        mode=mode,
        name=facts.name,
        state=facts.state,
        persistent=facts.persistent,
        autostart=facts.autostart,
        disks=tuple(disks),
        left_out=tuple(left_out),
        parent=parent.point.id if parent.point is not None else None,
        parent_checkpoint=keep if parent.checkpoint_usable else None,
        checkpoint=_new_checkpoint(context, disks, facts),
        agent_channel=facts.agent_channel,
        warnings=tuple(warnings + general_warnings(facts, encrypted=context.repository.identity.encrypted)),
        managed_save=facts.managed_save and not facts.state.active,
        obsolete_checkpoints=tuple(name for name in facts.checkpoints if name.startswith(prefix)),
        pools=_pool_folders(context, session, disks),
        saw=saw,
    )
    if mode is not Mode.COLD:
        plan = _with_places(session, domain, plan)
    for warning in plan.warnings:
        context.watch.note(warning)
    failpoint("backup.planned")
    return plan


# -- the parent ----------------------------------------------------------------------------------


def find_parent(repository: Repository, vm: VmId) -> Parent:
    """The newest good point of a VM, and whether there are others.

    Raises:
        UnreachableError: The repository cannot be read.
    """
    names = repository.points.of(vm)
    lost = [name for name in repository.points.lost() if name.vm == vm]
    statuses = {name: repository.points.status(name) for name in names[-1:]}
    damaged = any(status.damaged for status in statuses.values())
    if damaged:
        statuses = {name: repository.points.status(name) for name in names}
    name = newest_good(names, statuses)
    return Parent(
        point=repository.points.load(name) if name is not None else None,
        earlier=bool(names or lost),
        newer_damaged=name is not None and any(other.id > name.id for other in (*names, *lost)),
    )


def with_checkpoint(domain: Domain, facts: VmFacts, parent: Parent) -> Parent:
    """Find out whether the parent point's checkpoint can be built on; libvirt may be given its metadata back."""
    if parent.point is None or parent.point.checkpoint is None:
        return parent
    name = parent.point.checkpoint.name
    if name in facts.checkpoints:
        return replace(parent, checkpoint_usable=True)
    if not facts.state.active:
        # libvirt forgot it; at rest the bitmaps in the images count, and the plan looks at them.
        return replace(parent, checkpoint_usable=True)
    return replace(parent, checkpoint_usable=checkpoints.redefine(domain, parent.point.checkpoint))


def _new_checkpoint(context: BackupContext, disks: Iterable[DiskPlan], facts: VmFacts) -> str | None:
    if not any(disk.tracked for disk in disks):
        return None
    name = checkpoints.new_name(context.repository.id, context.now())
    assert name not in facts.checkpoints
    return name


# -- what is in the way --------------------------------------------------------------------------


def clear_leftovers(context: BackupContext, domain: Domain, parent: Parent) -> None:
    """End a job of ours that no worker stands behind, and delete checkpoints that no point names.

    Raises:
        RefusedError: The running job is another program's, or a living worker's.
    """
    prefix = checkpoints.own_prefix(context.repository.id)
    job = backup_job.running_job(domain)
    if job is not None:
        mark = _own_mark(job, prefix)
        if mark is None or sentry.tended(domain.session, mark):
            raise busy(domain, job)
        context.watch.note("ended a backup job that an earlier run had left behind")
        backup_job.end(domain)
        sentry.sweep(domain.session, mark)
    keep = parent.point.checkpoint.name if parent.point is not None and parent.point.checkpoint is not None else None
    state = domain.state()
    if not state.active:
        return  # libvirt cannot delete checkpoints of a stopped VM; the next hot run does
    for name in domain.call(
        "list the checkpoints", lambda handle: [item.getName() for item in handle.listAllCheckpoints(0)]
    ):
        if name.startswith(prefix) and name != keep:
            checkpoints.delete(domain, name)


def busy(domain: Domain, job: RunningJob) -> RefusedError:
    """The error for a job that is not ours to end."""
    where = f" It serves {job.socket}." if job.socket else ""
    return RefusedError(
        "VM-BUSY",
        f"Another program has a {job.operation} job running on this VM on {domain.session.host.name}.{where}",
        host=domain.session.host.name,
        job=job.xml,
    )


def _own_mark(job: RunningJob, prefix: str) -> str | None:
    """The sentry's mark of a job of this repository; None for anybody else's."""
    for scratch in job.scratches:
        folder, name = posixpath.split(scratch)
        if name.startswith(prefix) and name.endswith(".scratch"):
            return posixpath.join(folder, name.rsplit("-", 1)[0])
    return None


def _refuse_block_jobs(domain: Domain, disks: list[DiskPlan]) -> None:
    working = backup_job.block_jobs(domain, [disk.target for disk in disks])
    if working:
        raise RefusedError(
            "VM-BUSY",
            f"A block job (copy, commit or pull) works on {', '.join(working)} of this VM.",
            host=domain.session.host.name,
            disks=working,
        )


# -- places on the host --------------------------------------------------------------------------


def scratch_mark(plan: BackupPlan, repository: str) -> str:
    """The start of every name that a run leaves in its scratch folder."""
    return posixpath.join(plan.scratch_folder, f"{checkpoints.own_prefix(repository)}{plan.run}")


def scratch_file(plan: BackupPlan, repository: str, target: str) -> str:
    """Path of a disk's scratch file."""
    return f"{scratch_mark(plan, repository)}-{target}.scratch"


def _with_places(session: HostSession, domain: Domain, plan: BackupPlan) -> BackupPlan:
    """Choose where socket and scratch files go.

    Raises:
        FailedError: No place is short enough for a socket, or none has room.
    """
    number = domain.call("look up the VM", lambda handle: handle.ID())
    folder = domains.run_folder(session, number)
    if folder is None:
        raise FailedError(
            "REMOTE-COMMAND", f"libvirt's folder of the running {plan.name} was not found on {session.host.name}."
        )
    socket = posixpath.join(folder, f"vmtui-{plan.run}.sock")
    if not fits_socket_path(socket):
        raise FailedError(
            "REMOTE-COMMAND",
            f"The path {socket} on {session.host.name} is too long for a unix socket.",
            next_step="Shorten the home folder of the account that libvirt runs as.",
        )
    return replace(plan, socket=socket, scratch_folder=_scratch_folder(session, folder, plan))


def _scratch_folder(session: HostSession, run_folder: str, plan: BackupPlan) -> str:
    """The first place with room: as configured, else the VM's own folder, else beside its images."""
    if session.host.scratch is not None:
        choices = [session.host.scratch]
    else:
        choices = list(dict.fromkeys([run_folder, *(posixpath.dirname(disk.path) for disk in plan.disks if disk.path)]))
    size = sum(disk.virtual_size or 0 for disk in plan.disks)
    wanted = session.host.scratch_reserve_bytes + size // _SCRATCH_SHARE
    best, most = choices[0], -1
    for choice in choices:
        free = storage.free_bytes(session, choice)
        if free is not None and free >= wanted:
            return choice
        if free is not None and free > most:
            best, most = choice, free
    if most < session.host.scratch_reserve_bytes:
        raise FailedError(
            "SCRATCH-LOW",
            f"No scratch folder on {session.host.name} has room: {best} has {max(most, 0)} bytes free.",
            host=session.host.name,
        )
    return best


def _pool_folders(context: BackupContext, session: HostSession, disks: list[DiskPlan]) -> dict[str, str]:
    """The pools that the disks live in, with their folders; a restore maps them by name, and can do without."""
    try:
        known = storage.pools(session)
    except FailedError as error:
        context.watch.note(f"the storage pools could not be read: {error.cause}")
        return {}
    folders = {}
    for disk in disks:
        pool = storage.pool_of(disk.path, known) if disk.path else None
        if pool is not None:
            folders[pool.name] = pool.path
    return folders
