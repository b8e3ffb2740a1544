"""Writing the files of a point besides its disks, and what must be right about them before the first start."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping

from vmtui.hosts import HostSession, belongings, saved
from vmtui.hosts.domains import Domain, save_path, tpm_folder
from vmtui.model.errors import FailedError, RefusedError
from vmtui.model.ids import JobId
from vmtui.model.point import Role
from vmtui.model.progress import Check
from vmtui.restore.belongings import stream_pieces, stream_sha256
from vmtui.restore.context import RestoreContext
from vmtui.restore.definition import Target, fit
from vmtui.restore.plan import FilePlacement, RestorePlan

_NAMED = frozenset({Role.NVRAM, Role.KERNEL, Role.INITRD, Role.DTB, Role.LOADER})
"""Roles of files that the definition names by path."""
_BEFORE_START = frozenset({Role.NVRAM, Role.TPM})
"""What libvirt would make anew without a word if it were missing."""


def boot_paths(files: Iterable[FilePlacement]) -> Mapping[str, str]:
    """Role: path of what the definition names."""
    return {item.role: item.path for item in files if item.role in _NAMED}


def media_paths(files: Iterable[FilePlacement]) -> Mapping[str, str]:
    """Target: path of each medium."""
    return {item.part: item.path for item in files if item.role == Role.MEDIUM}


def write_small(context: RestoreContext, run: JobId, item: FilePlacement) -> None:
    """Write a small file beside its final name, read it back, give it to its owner.

    Raises:
        DamageError: The repository does not have it whole.
        FailedError: It cannot be written, or does not read back.
    """
    context.watch.phase("write", disk=item.label, total=item.size)
    data = b"".join(stream_pieces(context.repository, item.label, item.size, item.root))
    path = item.new_path(run)
    context.session.files.write_new(path, data)
    if context.session.files.read(path, item.size) != data:
        raise FailedError("READBACK-DIFFERS", f"The written {item.label} does not read back right.")
    if item.role == Role.TPM and item.owner:
        _give_to_owner(context, item, path)


def _give_to_owner(context: RestoreContext, item: FilePlacement, path: str) -> None:
    """Let the account that swtpm runs as use its state; only root can, and only root needs to.

    Raises:
        FailedError: There is no such account on the target.
    """
    if context.session.run(["id", "-u"]).output.strip() != "0":
        return
    folder = posixpath.dirname(path)
    folders = [folder]
    for _ in posixpath.dirname(item.part).split("/") if "/" in item.part else ():
        folder = posixpath.dirname(folder)
        folders.append(folder)
    context.session.run(["chown", "--", item.owner, *folders, path]).checked(context.session.host.name)


def fit_saved(context: RestoreContext, run: JobId, item: FilePlacement, target: Target) -> None:
    """Let the definition inside a saved memory name the restored files. Safe to repeat.

    Raises:
        FailedError: libvirt does not take it: the memory is of another VM, or the file is no saved memory.
    """
    path = item.new_path(run)
    saved.define(context.session, path, fit(saved.definition(context.session, path), target).xml)


def check_untouched(context: RestoreContext, plan: RestorePlan) -> list[Check]:
    """Compare firmware variables and TPM state with the point once more, right before the first start.

    Raises:
        FailedError: A file is missing or differs: libvirt would make it anew, or start with another's.
    """
    checks = []
    for item in plan.files:
        if item.role not in _BEFORE_START:
            continue
        if belongings.sha256(context.session, item.path) != stream_sha256(context.repository, item.label, item):
            raise FailedError(
                "READBACK-DIFFERS",
                f"{item.path} on {context.session.host.name} is not the point's any more: not started.",
            )
        checks.append(Check(item.label, True, "as in the point, right before the start"))
    return checks


# -- setting aside -------------------------------------------------------------------------------


def set_aside(context: RestoreContext, plan: RestorePlan) -> None:
    """Rename the old VM's files that must not meet the restored disks. Safe to repeat.

    Raises:
        RefusedError: Memory was saved since the plan was made; it would be loaded over the restored disks.
    """
    files = context.session.files
    path = save_path(context.session, plan.name)
    known = {item.path for item in plan.files} | {aside.path for aside in plan.asides}
    if path not in known and files.exists(path):
        raise RefusedError("PLAN-CHANGED", f"{plan.name} was saved since the plan was made: {path} is there now.")
    for aside in plan.asides:
        if files.exists(aside.path) and not files.exists(aside.kept_path(plan.run)):
            files.rename(aside.path, aside.kept_path(plan.run))
        if aside.path == path:
            saved.forget(Domain(context.session, plan.uuid), path)


def bring_back(session: HostSession, plan: RestorePlan) -> None:
    """Undo `set_aside`. Safe to repeat."""
    for aside in plan.asides:
        if not session.files.exists(aside.kept_path(plan.run)):
            continue
        there = session.files.info(aside.path) if aside.path == save_path(session, plan.name) else None
        if there is not None and there.size == 0:
            session.files.remove(aside.path)  # a worker died, or libvirt failed, inside `saved.forget`
        if not session.files.exists(aside.path):
            session.files.rename(aside.kept_path(plan.run), aside.path)


def remove_tpm_folders(session: HostSession, plan: RestorePlan) -> None:
    """Take away the empty folders that were made for a new VM's TPM. Safe to repeat."""
    top = tpm_folder(session, plan.uuid)
    inner = {posixpath.dirname(item.path) for item in plan.files if item.role == Role.TPM}
    for folder in [*sorted(inner, key=len, reverse=True), *([top] if inner else [])]:
        session.run(["rmdir", "--", folder])  # refuses what is not empty
