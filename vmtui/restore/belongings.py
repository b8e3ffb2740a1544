"""Where the files of a point go besides its disks: firmware variables, TPM state, saved memory, boot files, media."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterator
from typing import TYPE_CHECKING

from vmtui.hosts import belongings, domain_xml
from vmtui.hosts.domains import nvram_path, save_path, tpm_folder
from vmtui.hosts.storage import Pool
from vmtui.model.point import CapturedFile, Role
from vmtui.repository import Repository
from vmtui.repository.streams import open_map, walk
from vmtui.restore.plan import Aside, FilePlacement

if TYPE_CHECKING:
    from vmtui.restore.preflight import Preflight

_KNOWN = frozenset(Role)
_STATE = frozenset({Role.NVRAM, Role.TPM, Role.SAVE})
_PIECE = 64
"""Blocks that are read from the repository at once."""


def place_files(flight: Preflight, known: list[Pool]) -> None:
    """Find a place for every captured file, and say what the definition needs and the point lacks."""
    for item in flight.point.files:
        if item.role not in _KNOWN:
            flight.undone("files", f"{item.label} is of a kind that this vmtui does not know; it is left away")
            continue
        if not is_safe_part(item.role, item.part):
            flight.failed(
                "files", f"{item.label} has a name that leads elsewhere; the point's manifest is not believed"
            )
            continue
        if item.role == Role.LOADER or (item.role == Role.SAVE and not _wakes(flight)):
            continue
        _place(flight, item, _path_of(flight, item, known))
    _place_loader(flight, known)
    _check_nvram(flight)
    _check_tpm(flight)
    _set_aside(flight)
    if flight.files and not any(check.name == "files" for check in flight.checks):
        flight.passed("files", ", ".join(f"{item.label}: {item.path}" for item in flight.files))


def is_safe_part(role: str, part: str) -> bool:
    """Whether what tells files of a role apart stays below its folder: a manifest is no path to trust. Pure."""
    names = part.split("/") if part else []
    deep = role == Role.TPM  # its folder has folders; everything else is one name
    return all(name not in ("", ".", "..") for name in names) and (deep or len(names) <= 1)


def _place(flight: Preflight, item: CapturedFile, path: str) -> None:
    there = flight.session.files.info(path)
    # What the VM itself writes may have changed by the time that it is shut down, so it is written anew in any case.
    own = item.role in _STATE and (flight.replaces_vm or item.role == Role.SAVE)
    same = there is not None and not own and same_bytes(flight, item, path)
    if there is not None and not same and not flight.request.in_place:
        flight.failed("files", f"{path} on {flight.session.host.name} is another {item.role}")
        return
    flight.files.append(
        FilePlacement(
            role=item.role,
            size=item.size,
            root=item.root,
            source=item.path,
            path=path,
            replaces=there is not None and not same,
            needed=not same,
            part=item.part,
            owner=item.owner,
        )
    )


def _path_of(flight: Preflight, item: CapturedFile, known: list[Pool]) -> str:
    """What belongs to one VM alone goes where libvirt looks for it; a boot file stays where it is, if it is there."""
    session = flight.session
    if item.role == Role.SAVE:
        return save_path(session, flight.name)
    if item.role == Role.TPM:
        return posixpath.join(tpm_folder(session, flight.uuid), item.part)
    if item.role == Role.NVRAM:
        at_home = flight.point.host == session.host.name
        return item.path if flight.request.keeps_identity and at_home else nvram_path(session, flight.file_name)
    if session.files.info(item.path) is not None and same_bytes(flight, item, item.path):
        return item.path
    return _beside_disks(flight, item, known)


def _beside_disks(flight: Preflight, item: CapturedFile, known: list[Pool]) -> str:
    folder = next((pool.path for pool in known if pool.usable), posixpath.dirname(item.path))
    if flight.disks:
        folder = posixpath.dirname(flight.disks[0].path)
    return posixpath.join(folder, "-".join(filter(None, (flight.file_name, item.role, item.part))))


# -- firmware ------------------------------------------------------------------------------------


def _check_nvram(flight: Preflight) -> None:
    """libvirt would make missing variables anew from its template without a word; boot entries and keys would be lost."""
    if not domain_xml.has_nvram(flight.domain):
        return
    if any(item.role == Role.NVRAM for item in flight.point.files):
        flight.passed("nvram", "the point holds the firmware's variables")
    elif flight.request.new_nvram:
        flight.undone("nvram", "the firmware's variables start anew, as agreed (--new-nvram)")
    else:
        why = next((item.reason for item in flight.point.left_out if item.name == Role.NVRAM), "")
        flight.failed(
            "nvram",
            "the point does not hold the firmware's variables, so boot entries and keys would be lost"
            f"{f' ({why})' if why else ''}; agree to it with --new-nvram",
        )


def _place_loader(flight: Preflight, known: list[Pool]) -> None:
    """Firmware of the target serves all its VMs: it is never replaced, only brought along where it is missing."""
    held = next((item for item in flight.point.files if item.role == Role.LOADER), None)
    if held is None:
        return
    host = flight.session.host.name
    chosen_by_host = not domain_xml.text_of(flight.domain, "./os/loader")
    there = flight.session.files.info(held.path) is not None
    if there and same_bytes(flight, held, held.path):
        flight.passed("loader", f"{held.path}, the same build")
    elif there or chosen_by_host:
        flight.undone("loader", f"{held.path} is not the same build on {host} as the VM ran with; the host's is used")
    else:
        path = _beside_disks(flight, held, known)
        flight.passed("loader", f"{held.path} is not on {host}; the point's is put at {path}")
        _place(flight, held, path)


# -- TPM -----------------------------------------------------------------------------------------


def _check_tpm(flight: Preflight) -> None:
    backend = domain_xml.tpm_backend(flight.domain)
    if backend is None or backend.get("type") != "emulator":
        return
    encryption = backend.find("encryption")
    secret = encryption.get("secret", "") if encryption is not None else ""
    if secret and not belongings.has_secret(flight.session, secret):
        flight.failed(
            "secret",
            f"the TPM's state is encrypted with the secret {secret}, which is not on {flight.session.host.name}",
        )
    if not any(item.role == Role.TPM for item in flight.point.files):
        why = next((item.reason for item in flight.point.left_out if item.name == Role.TPM), "it is older")
        flight.undone(
            "tpm", f"the point does not hold the TPM's state ({why}): it starts empty, what was sealed stays shut"
        )
    elif flight.request.keeps_identity:
        flight.passed("tpm", f"its state goes to {tpm_folder(flight.session, flight.uuid)}")
    else:
        flight.passed(
            "tpm",
            "a copy of its state goes to the new UUID, with all that was sealed to it; BitLocker and the like may still ask "
            "for their recovery key, as the VM's identity is new",
        )


# -- saved memory --------------------------------------------------------------------------------


def _wakes(flight: Preflight) -> bool:
    """Whether the restored VM can go on from the saved memory; the reason is told if not."""
    gone = [
        item.name for item in flight.point.left_out if item.disk and not item.reason.startswith(("cdrom", "floppy"))
    ]
    if flight.request.instant:
        flight.undone(
            "memory",
            "the point holds saved memory, which knows the disks as they were, not as they are moved while the VM runs; "
            "it starts anew from its disks, as after a power cut (without --instant it can wake)",
        )
        return False
    if not flight.request.keeps_identity:
        flight.undone(
            "memory",
            "the point holds saved memory, which only the VM itself can wake from (--in-place, or --same-identity after a "
            "loss); this new VM starts anew from its disks, as after a power cut",
        )
        return False
    if gone:
        flight.undone("memory", f"the saved memory belongs to disks that the point does not hold ({', '.join(gone)})")
        return False
    flight.passed("memory", "the VM wakes where it slept")
    return True


def _set_aside(flight: Preflight) -> None:
    """Saved memory and TPM files of the VM as it is now, which would not fit the restored disks.

    Where no VM is replaced, saved memory that libvirt would load over the restored disks at the first start is nobody's
    to take away but the operator's.
    """
    if flight.has_failed("name"):
        return  # such a name may be that of no file
    session = flight.session
    memory = save_path(session, flight.name)
    if not flight.replaces_vm:
        if not any(item.role == Role.SAVE for item in flight.files) and session.files.exists(memory):
            flight.failed("memory", f"{memory} on {session.host.name} is a VM's saved memory; move it away first")
        return
    placed = {item.path for item in flight.files}
    old = [memory]
    if any(item.role == Role.TPM for item in flight.point.files):
        old += [item.path for item in belongings.tpm_files(session, flight.uuid)]
    flight.asides = [Aside(path) for path in old if path not in placed and session.files.exists(path)]


# -- comparing -----------------------------------------------------------------------------------


def same_bytes(flight: Preflight, item: CapturedFile | FilePlacement, path: str) -> bool:
    """Whether a file on the target is the very one of the point."""
    there = flight.session.files.info(path)
    if there is None or there.size != item.size:
        return False
    return belongings.sha256(flight.session, path) == stream_sha256(flight.context.repository, item.role, item)


def stream_sha256(repository: Repository, name: str, item: CapturedFile | FilePlacement) -> str:
    """SHA-256 of a captured file [hex], every block checked."""
    digest = hashlib.sha256()
    for piece in stream_pieces(repository, name, item.size, item.root):
        digest.update(piece)
    return digest.hexdigest()


def stream_pieces(repository: Repository, name: str, size: int, root: str) -> Iterator[bytes]:
    """A captured file in pieces of bounded size, every block checked.

    Raises:
        DamageError: A block is missing or damaged.
    """
    reader = open_map(repository, size, root)
    blobs = repository.reader()
    zero = bytes(repository.block_size)
    position = 0
    for first, ids in walk(reader, name):
        yield from _zeroes(first - position, zero, size - position * len(zero))
        position = first
        for start in range(0, len(ids), _PIECE):
            part = ids[start : start + _PIECE]
            data = b"".join(zero if block is None else block for block in blobs.blocks(part))
            yield data[: size - position * len(zero)]
            position += len(part)
    yield from _zeroes(reader.blocks - position, zero, size - position * len(zero))


def _zeroes(count: int, zero: bytes, most: int) -> Iterator[bytes]:
    """So many blocks of zeroes, at most `most` bytes in all."""
    for _ in range(count):
        yield zero[:most]
        most -= len(zero)
        if most <= 0:
            return
