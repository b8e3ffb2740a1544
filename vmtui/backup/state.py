"""What a VM's firmware and TPM know, and its saved memory: taken so that they fit the disks.

A running VM may change its NVRAM and its TPM at any time. They are copied before the view is frozen
and again after it; when both copies are the same, that is what they were at the instant of the point.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from vmtui.backup.context import BackupContext
from vmtui.backup.journal import LeafJournal
from vmtui.backup.transfer import DiskTransfer, Source
from vmtui.hosts import belongings, domain_xml
from vmtui.hosts.belongings import Belonging
from vmtui.hosts.disk_server import EXPORT, served
from vmtui.hosts.domains import save_path
from vmtui.model.errors import FailedError
from vmtui.model.ids import JobId, VmId
from vmtui.model.point import CapturedFile, LeftOut, Role
from vmtui.nbd import NbdClient
from vmtui.repository import ZERO_ID, BlobWriter, store_stream

_LIMIT = 64 << 20
"""Firmware variables or a TPM's state beyond this are left out [bytes]."""
_TRIES = 5
"""Copies of a running VM's state until two in a row are the same."""
_PAUSE_S = 0.2


@dataclass(frozen=True, slots=True)
class State:
    """What was taken, stored in the repository."""

    files: tuple[CapturedFile, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Copies:
    """One look at the files of firmware and TPM."""

    data: Mapping[Belonging, bytes]
    left_out: tuple[LeftOut, ...]


def look(context: BackupContext, vm: VmId, name: str) -> Copies:
    """Copy NVRAM and TPM state as they are now.

    What cannot be read is named on the point; it does not cost the disks.

    Raises:
        UnreachableError: The host does not answer.
    """
    definition = context.definition(vm)
    root = domain_xml.parse(definition.live or definition.inactive)
    found = belongings.firmware_state(context.session, root, vm, name)
    data: dict[Belonging, bytes] = {}
    left_out = list(found.left_out)
    for item in found.files:
        try:
            data[item] = context.session.files.read(item.path, _LIMIT)
        except FailedError as error:
            left_out.append(LeftOut(item.role, error.cause, disk=False))
    return Copies(data, tuple(left_out))


def settle(context: BackupContext, vm: VmId, name: str, before: Copies) -> tuple[Copies, tuple[str, ...]]:
    """Copy again after the instant of the point; when nothing moved, both are what it was at that instant.

    Returns:
        The copies, and a warning when they changed around the instant.

    Raises:
        UnreachableError: The host does not answer.
    """
    last = before
    for attempt in range(_TRIES):
        again = look(context, vm, name)
        if again == last:
            return again, () if attempt == 0 else (_MOVED,)
        last = again
        time.sleep(_PAUSE_S)
    return last, (_MOVED,)


_MOVED = "firmware variables or TPM state changed at the instant of the point; they may be newer than the disks"


def store(context: BackupContext, copies: Copies, writer: BlobWriter, warnings: tuple[str, ...] = ()) -> State:
    """Store copies in the repository; durable after the writer has settled.

    Raises:
        FailedError: No space is left.
        UnreachableError: The repository cannot be written.
    """
    for item in copies.left_out:
        context.watch.note(f"{item.name} was not taken: {item.reason}")
    for warning in warnings:
        context.watch.note(warning)
    size = context.repository.block_size
    files = [
        CapturedFile(
            item.role, item.path, len(data), store_stream(data, writer, size).hex(), part=item.part, owner=item.owner
        )
        for item, data in copies.data.items()
    ]
    return State(tuple(files), copies.left_out, warnings)


def store_apart(context: BackupContext, copies: Copies, warnings: tuple[str, ...]) -> State:
    """Store copies by a writer of their own, and make them durable; nothing is opened when there are none."""
    if not copies.data:
        return State((), copies.left_out, warnings)
    context.repository.sync()
    writer = context.repository.writer(context.level)
    try:
        state = store(context, copies, writer, warnings)
        writer.settle()
    finally:
        writer.close()
    return state


# -- large files ---------------------------------------------------------------------------------


def store_file(context: BackupContext, run: JobId, path: str, writer: BlobWriter, label: str) -> tuple[int, str]:
    """Read a large file as a raw disk is read: in pieces, in bounded memory, each block stored once.

    Returns:
        Its exact length [bytes] and its map's top node [hex].

    Raises:
        FailedError: It is not there, or cannot be read.
        UnreachableError: Host or repository do not answer.
    """
    info = context.session.files.info(path)
    if info is None:
        raise FailedError("REMOTE-COMMAND", f"{path} on {context.session.host.name} is not there.")
    if info.size == 0:
        return 0, ZERO_ID.hex()
    with served(context.session, path, "raw") as server:
        work = DiskTransfer(
            label,
            writer,
            context.repository.block_size,
            LeafJournal(None),
            context.watch,
            half="cold.half",
            renew=lambda: context.repository.session(run).renew(context.now()),
        )
        read = work.run(Source(lambda contexts: NbdClient(server.connect(), EXPORT, contexts), None, None))
    return info.size, read.root


class SavedMemory:
    """The memory of a VM that was saved: taken with the disks that belong to it.

    Args:
        context: Of the run.
        name: The VM's name, by which libvirt finds the file.
    """

    def __init__(self, context: BackupContext, name: str) -> None:
        self._context = context
        self._path = save_path(context.session, name)
        self._before = context.session.files.info(self._path)

    def store(self, run: JobId, writer: BlobWriter) -> CapturedFile:
        """Store the file after the disks were read, and see that it is still the same.

        Raises:
            FailedError: The VM was started meanwhile: memory and disks would not fit each other.
        """
        size, root = store_file(self._context, run, self._path, writer, Role.SAVE)
        if self._before is None or self._context.session.files.info(self._path) != self._before:
            raise FailedError(
                "VM-STARTED",
                "The VM's saved memory changed while its disks were read: somebody started it. There is no new point.",
            )
        return CapturedFile(Role.SAVE, self._path, size, root)
