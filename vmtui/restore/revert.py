"""Undoing an in-place restore while its old disks are kept."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmtui.hosts import checkpoints, defining, domain_xml, saved, storage
from vmtui.hosts.domains import Domain, save_path, tpm_folder
from vmtui.model.errors import FailedError, RefusedError
from vmtui.model.ids import JobId, VmId, is_id
from vmtui.model.progress import Check
from vmtui.restore.context import RestoreContext
from vmtui.restore.definition import kept_record

_LIMIT = 16 << 20


@dataclass(frozen=True, slots=True)
class RevertRequest:
    """What was asked for."""

    host: str
    vm: VmId
    discard: bool = False
    """Delete the kept disks instead of bringing them back."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What an in-place restore kept, as it wrote it down on the host."""

    run: JobId
    record: str
    files: tuple[tuple[str, str], ...]
    """(path, where its old content is kept)."""
    definition: str
    """The old definition; may hold passwords."""
    made: tuple[str, ...] = ()
    """Files that the restore made where none was; they fit only the restored disks."""


def find_kept(context: RestoreContext, vm: VmId) -> Kept:
    """What the last in-place restore of a VM kept.

    Raises:
        RefusedError: It kept nothing, or that was discarded.
        FailedError: The record cannot be believed.
    """
    session = context.session
    record = kept_record(Domain(session, vm).definition().inactive or "<domain/>")
    if record is None or not posixpath.isabs(record) or session.files.info(record) is None:
        raise RefusedError("NOTHING-TO-REVERT", "No in-place restore of this VM kept its old disks.")
    try:
        data: Mapping[str, Any] = json.loads(session.files.read(record, _LIMIT))
        run, pairs, definition = str(data["run"]), data["files"], str(data["definition"])
        files = tuple((str(path), str(kept)) for path, kept in pairs)
        made = tuple(str(path) for path in data.get("made", ()))
    except (ValueError, KeyError, TypeError) as error:
        raise FailedError(
            "REMOTE-COMMAND", f"{record} on {session.host.name} is not a record of kept disks."
        ) from error
    # The record comes from the host: it may only rename what a run of ours has set aside.
    if not is_id(run) or data.get("uuid") != vm or any(kept != f"{path}.before-{run}" for path, kept in files):
        raise FailedError("REMOTE-COMMAND", f"{record} on {session.host.name} does not fit this VM.")
    if domain_xml.text_of(domain_xml.parse(definition), "uuid") != vm:
        raise FailedError("REMOTE-COMMAND", f"{record} on {session.host.name} holds another VM's definition.")
    return Kept(JobId(run), record, files, definition, made)


def revert(context: RestoreContext, request: RevertRequest) -> list[Check]:
    """Bring the old disks and the old definition back. Safe to repeat.

    The restored disks are set aside, not deleted: the VM may have run on them.

    Raises:
        RefusedError: There is nothing to revert.
        FailedError: The VM does not shut down; it was left running as it is.
    """
    session = context.session
    domain = Domain(session, request.vm)
    kept = find_kept(context, request.vm)
    if request.discard:
        return _discard(context, kept, domain)
    ran = domain.state().active
    if ran:
        context.watch.phase("shut down")
        if not domain.shut_down(session.host.shutdown_s, context.watch.check):
            raise FailedError("VM-WILL-NOT-STOP", "The VM did not shut down in time. It was left running as it is.")
    context.watch.phase("revert")
    checks = _set_state_aside(context, kept, domain)
    for path, old in kept.files:
        aside = f"{path}.reverted-{kept.run}"
        if session.files.exists(old):
            if session.files.exists(path):
                session.files.rename(path, aside)
            session.files.rename(old, path)
        where = f"; the restored one is {aside}" if session.files.exists(aside) else ""
        checks.append(Check(f"file {posixpath.basename(path)}", True, f"back in place{where}"))
    for name in domain.facts_without_images().checkpoints:
        if name.startswith(checkpoints.own_prefix(context.repository.id)):
            checkpoints.delete(domain, name)
    defining.define(session, kept.definition)
    checks.append(Check("definition", True, "the old one is back"))
    _refresh(context, kept)
    session.files.remove(kept.record)
    if ran:
        context.watch.phase("start")
        domain.start()
        checks.append(Check("boot", True, "it ran, and runs again"))
    return checks


def _set_state_aside(context: RestoreContext, kept: Kept, domain: Domain) -> list[Check]:
    """Saved memory and TPM files that came with the restored disks, or since, do not fit the old ones.

    The record comes from the host, so only these places are touched, whatever else it names.
    """
    session = context.session
    back = {path for path, _ in kept.files}
    tpm = tpm_folder(session, domain.uuid) + "/"
    doomed = [path for path in kept.made if path.startswith(tpm) and ".." not in path]
    memory = save_path(session, domain.name())
    doomed.append(memory)
    checks = []
    for path in doomed:
        aside = f"{path}.reverted-{kept.run}"
        if path in back:
            continue
        there = session.files.info(path)
        forgetting = there is not None and there.size == 0 and session.files.exists(aside)  # a predecessor died there
        if there is not None and not forgetting:
            session.files.rename(path, aside)
        if session.files.exists(aside):
            if path == memory:
                saved.forget(domain, path)
            checks.append(
                Check(f"file {posixpath.basename(path)}", True, f"belongs to the restored disks; it is now {aside}")
            )
    return checks


def _discard(context: RestoreContext, kept: Kept, domain: Domain) -> list[Check]:
    context.watch.phase("discard")
    gone = [old for _, old in kept.files if context.session.files.remove(old)]
    context.session.files.remove(kept.record)
    _refresh(context, kept)
    return [Check("kept disks", True, f"{len(gone)} deleted; {domain.name()} stays as restored")]


def _refresh(context: RestoreContext, kept: Kept) -> None:
    known = storage.pools(context.session)
    for pool in {storage.pool_of(path, known) for path, _ in kept.files}:
        if pool is not None and pool.active:
            storage.refresh_pool(context.session, pool.name)
