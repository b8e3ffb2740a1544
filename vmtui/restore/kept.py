"""What an in-place restore has kept of the VM that it replaced, as it is written down on the host."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, tostring

from vmtui.hosts import HostSession, defining, domain_xml
from vmtui.hosts.domains import Domain
from vmtui.model.errors import FailedError, RefusedError
from vmtui.model.ids import JobId, VmId, is_id
from vmtui.restore.context import RestoreContext
from vmtui.restore.definition import NAMESPACE, kept_record

_LIMIT = 16 << 20


@dataclass(frozen=True, slots=True)
class Kept:
    """What was kept."""

    run: JobId
    record: str
    files: tuple[tuple[str, str], ...]
    """(path, where its old content is kept)."""
    definition: str
    """The old definition; may hold passwords."""
    made: tuple[str, ...] = ()
    """Files that the restore made where none was; they fit only the restored disks."""
    previous: str | None = None
    """The record of an earlier restore, which the old definition named."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where the record of a VM is."""

    record: str
    cut_off: bool
    """The restore did not come to its end, and could not be taken back."""


def find_record(context: RestoreContext, vm: VmId) -> Found:
    """The record of the last in-place restore of a VM.

    Raises:
        RefusedError: It kept nothing, or that was discarded.
        FailedError: There are several of restores that were cut off.
    """
    files = context.session.files
    definition = Domain(context.session, vm).definition().inactive or "<domain/>"
    record = kept_record(definition)
    named = record if record is not None and posixpath.isabs(record) and files.info(record) is not None else None
    places = [disk.path for disk in domain_xml.disks(domain_xml.parse(definition)) if disk.path]
    beside = {name for path in places for name in _records_beside(context.session, path)} - {named}
    found = sorted(name for name in beside if named is None or _follows(context.session, name, vm, named, definition))
    if named is not None and not found:
        return Found(named, cut_off=False)
    if not found:
        raise RefusedError("NOTHING-TO-REVERT", "No in-place restore of this VM kept its old disks.")
    if len(found) > 1:
        raise FailedError(
            "REMOTE-COMMAND",
            f"{context.session.host.name} has records of several restores that were cut off: {', '.join(found)}.",
            next_step="Look at these files and the disks beside them.",
        )
    return Found(found[0], cut_off=True)


def _follows(session: HostSession, record: str, vm: VmId, named: str, definition: str) -> bool:
    """Whether a record is of a restore, or of its undoing, that was cut off after the one that the definition names.

    The definition names a record when its restore ends, and the one before it when it is undone or let go.
    """
    try:
        kept = load(session, record, vm)
    except FailedError:
        return False  # of another VM that had this disk, or older than whole records
    begun = any(session.files.exists(old) for _, old in kept.files) or kept.definition == definition
    return kept.previous == named and begun


def _records_beside(session: HostSession, path: str) -> list[str]:
    folder, name = posixpath.split(path)
    start, end = f"{name}.before-", ".json"
    return [
        posixpath.join(folder, item)
        for item in session.files.names(folder)
        if item.startswith(start) and item.endswith(end) and is_id(item[len(start) : -len(end)])
    ]


def load(session: HostSession, record: str, vm: VmId) -> Kept:
    """Read a record, and believe only what fits the VM.

    Raises:
        FailedError: The record cannot be believed.
    """
    try:
        data: Mapping[str, Any] = json.loads(session.files.read(record, _LIMIT))
        run, pairs, definition = str(data["run"]), data["files"], str(data["definition"])
        files = tuple((str(path), str(kept)) for path, kept in pairs)
        made = tuple(str(path) for path in data.get("made", ()))
        previous = None if data.get("previous") is None else str(data["previous"])
    except (ValueError, KeyError, TypeError) as error:
        raise FailedError(
            "REMOTE-COMMAND", f"{record} on {session.host.name} is not a record of kept disks."
        ) from error
    # The record comes from the host: it may only rename what a run of ours has set aside.
    if not is_id(run) or data.get("uuid") != vm or any(kept != f"{path}.before-{run}" for path, kept in files):
        raise FailedError("REMOTE-COMMAND", f"{record} on {session.host.name} does not fit this VM.")
    if domain_xml.text_of(domain_xml.parse(definition), "uuid") != vm:
        raise FailedError("REMOTE-COMMAND", f"{record} on {session.host.name} holds another VM's definition.")
    return Kept(JobId(run), record, files, definition, made, previous)


def name_previous(context: RestoreContext, vm: VmId, kept: Kept) -> str | None:
    """Let the definition name the record before this one, if that is there still. Safe to repeat.

    Returns:
        What it names now.
    """
    session = context.session
    there = kept.previous is not None and posixpath.isabs(kept.previous) and session.files.exists(kept.previous)
    previous = kept.previous if there else None
    if kept_record(Domain(session, vm).definition().inactive or "<domain/>") == kept.record:
        element = None if previous is None else tostring(Element("kept", record=previous), encoding="unicode")
        defining.set_note(session, vm, NAMESPACE, element)
    return previous
