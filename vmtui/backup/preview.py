"""What a backup would do, asked without touching anything: for the operator before it is started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vmtui.backup.context import BackupContext
from vmtui.backup.plan import BackupRequest, DiskPlan, check_worth, effective_mode, general_warnings, plan_disks
from vmtui.backup.prepare import find_parent, with_checkpoint
from vmtui.hosts import checkpoints
from vmtui.hosts.domains import Domain
from vmtui.model.point import DiskKind, LeftOut, Mode


@dataclass(frozen=True, slots=True)
class Preview:
    """What a backup would do now."""

    mode: Mode
    state: str
    disks: tuple[DiskPlan, ...]
    left_out: tuple[LeftOut, ...]
    warnings: tuple[str, ...]
    changed: Mapping[str, int]
    """Bytes changed since the newest point, of incremental disks, as far as QEMU tells."""
    shutdown_limit_s: float
    """How long a cold backup waits for the VM to shut down."""
    agent: str
    """The guest agent's channel: connected, disconnected or absent."""

    @property
    def most_bytes(self) -> int:
        """What is read at most: full disks at their size, incremental ones what changed."""
        return sum(self.changed.get(disk.target, disk.virtual_size or 0) for disk in self.disks)


def preview(context: BackupContext, request: BackupRequest) -> Preview:
    """Look at the VM and plan; nothing is written, nothing is cleared away.

    Raises:
        FailedError: The VM or a disk of it is gone.
        RefusedError: The mode does not fit.
        UnreachableError: Host or repository do not answer.
    """
    context.repository.sync()
    domain = Domain(context.session, request.vm)
    facts = domain.facts()
    mode = effective_mode(request, facts)
    found = find_parent(context.repository, request.vm)
    parent = with_checkpoint(domain, facts, found)
    disks, left_out, warnings = plan_disks(facts, parent, mode, full=request.full)
    check_worth(facts, disks, left_out)
    name = parent.point.checkpoint.name if parent.point is not None and parent.point.checkpoint is not None else None
    changed: dict[str, int] = {}
    if name is not None and facts.state.active and any(disk.kind is DiskKind.INCREMENTAL for disk in disks):
        changed = checkpoints.changed_bytes(domain, name)
    wanted = {disk.target for disk in disks if disk.kind is DiskKind.INCREMENTAL}
    return Preview(
        mode=mode,
        state=facts.state.value,
        disks=tuple(disks),
        left_out=tuple(left_out),
        warnings=tuple(warnings + general_warnings(facts, encrypted=context.repository.identity.encrypted)),
        changed={target: size for target, size in changed.items() if target in wanted},
        shutdown_limit_s=context.session.host.shutdown_s,
        agent=facts.agent_channel,
    )
