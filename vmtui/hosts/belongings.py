"""What belongs to a VM on its host besides disks and definition, and how it is found there."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element

import libvirt

from vmtui.hosts import domain_xml
from vmtui.hosts.domains import Domain, nvram_path, tpm_folder
from vmtui.hosts.session import HostSession
from vmtui.model.errors import FailedError
from vmtui.model.ids import VmId
from vmtui.model.point import LeftOut, Record, Role

_DEPTH = 3
"""Folders below a TPM's folder that are looked into."""
_NOT_STATE = frozenset({".lock"})
_HASH_S = 3600.0
"""The host may take this long to hash one file, which may be a large medium [s]."""


@dataclass(frozen=True, slots=True)
class Belonging:
    """A file of the firmware's or the TPM's state."""

    role: str
    path: str
    part: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What a running VM may change: its firmware's variables and its TPM's state."""

    files: tuple[Belonging, ...]
    left_out: tuple[LeftOut, ...]


def firmware_state(session: HostSession, domain: Element, uuid: VmId, name: str) -> Found:
    """Find the files of a VM's NVRAM and TPM.

    Raises:
        UnreachableError: The host does not answer.
    """
    files: list[Belonging] = []
    left_out: list[LeftOut] = []
    if domain_xml.has_nvram(domain):
        kind, path = domain_xml.nvram_source(domain)
        if kind != "file":
            left_out.append(LeftOut(Role.NVRAM, f"a source of type {kind} is not read", disk=False))
        else:
            files.append(Belonging(Role.NVRAM, path or nvram_path(session, name)))
    backend = domain_xml.tpm_backend(domain)
    if backend is not None:
        state, reason = _tpm_state(session, backend, uuid)
        files += state
        if not state:
            left_out.append(LeftOut(Role.TPM, reason, disk=False))
    return Found(tuple(files), tuple(left_out))


def _tpm_state(session: HostSession, backend: Element, uuid: VmId) -> tuple[list[Belonging], str]:
    """The files of a TPM's state, and why there are none."""
    if reason := _foreign_tpm(backend):
        return [], reason
    try:
        return tpm_files(session, uuid), "it has no state: the VM was never started"
    except FailedError as error:  # only root and the TPM's own account may look into it
        return [], error.cause


def _foreign_tpm(backend: Element) -> str:
    """Why a TPM's state cannot be taken; empty when it can."""
    if backend.get("type") != "emulator":
        return f"a TPM of type {backend.get('type', 'unknown')}: its state is not a file of libvirt's"
    if backend.find("source") is not None:
        return "its state is in a place of its own, which is not read"
    return ""


def tpm_files(session: HostSession, uuid: VmId) -> list[Belonging]:
    """The files of an emulated TPM's state.

    Raises:
        FailedError: Its folder cannot be listed.
        UnreachableError: The host does not answer.
    """
    folder = tpm_folder(session, uuid)
    found = []
    for part in _below(session, folder, "", _DEPTH):
        path = posixpath.join(folder, part)
        answer = session.run(["stat", "-c", "%U:%G", path])
        found.append(Belonging(Role.TPM, path, part, answer.output.strip() if answer.status == 0 else ""))
    return found


def _below(session: HostSession, folder: str, prefix: str, depth: int) -> Iterator[str]:
    """Paths of the plain files below a folder, relative to it."""
    for name in session.files.names(posixpath.join(folder, prefix)):
        part = posixpath.join(prefix, name)
        info = session.files.info(posixpath.join(folder, part))
        if info is None or name in _NOT_STATE or ".before-" in name or ".reverted-" in name or ".vmtui-" in name:
            continue
        if info.folder and depth:
            yield from _below(session, folder, part, depth - 1)
        elif info.regular:
            yield part


def sha256(session: HostSession, path: str) -> str:
    """SHA-256 of a file [hex], reckoned on the host.

    Raises:
        FailedError: It is not there or cannot be read.
    """
    answer = session.run(["sha256sum", "--", path], deadline_s=_HASH_S).checked(session.host.name)
    return answer.output.lstrip("\\").partition(" ")[0]


def has_secret(session: HostSession, uuid: str) -> bool:
    """Whether libvirt on the host knows a secret."""

    def read(connection: libvirt.virConnect) -> bool:
        try:
            connection.secretLookupByUUIDString(uuid)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_SECRET:
                return False
            raise
        return True

    return session.with_libvirt("look up the secret", read)


# -- records -------------------------------------------------------------------------------------


def snapshots(domain: Domain) -> tuple[Record, ...]:
    """All snapshots that libvirt knows of a VM, without secrets; empty when it cannot say."""
    try:
        return domain.call(
            "list the snapshots",
            lambda handle: tuple(Record(item.getName(), item.getXMLDesc(0)) for item in handle.listAllSnapshots(0)),
        )
    except FailedError:
        return ()  # for information only; it costs no point


def checkpoints_of_others(domain: Domain, own_prefix: str) -> tuple[Record, ...]:
    """Checkpoints that are not ours, without the definition inside; empty when libvirt cannot say."""
    flags = libvirt.VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN
    try:
        found = domain.call(
            "list the checkpoints",
            lambda handle: [Record(item.getName(), item.getXMLDesc(flags)) for item in handle.listAllCheckpoints(0)],
        )
    except FailedError:
        return ()  # for information only; it costs no point
    return tuple(record for record in found if not record.name.startswith(own_prefix))
