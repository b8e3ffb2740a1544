"""Pools, folders and image files on a host."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass

import libvirt

from vmtui.hosts import domain_xml
from vmtui.hosts.session import HostSession
from vmtui.model.errors import FailedError, RefusedError

FOLDER_POOLS = frozenset({"dir", "fs", "netfs"})
"""Kinds of pools whose volumes are files in a folder."""

_EXISTS = 17
_CREATE = r"""
umask 077
set -C
: 2>/dev/null >"$1" || exit 17
if [ "$2" = raw ]; then
    exec truncate -s "$3" "$1"
fi
exec qemu-img create -q -f "$2" -o compat=1.1 "$1" "$3"
"""


@dataclass(frozen=True, slots=True)
class Pool:
    """A storage pool of the host."""

    name: str
    kind: str
    active: bool
    path: str
    size: int = 0
    """As libvirt saw it last [bytes]."""
    free: int = 0

    @property
    def usable(self) -> bool:
        """Whether disks can be restored into it."""
        return self.active and self.kind in FOLDER_POOLS and posixpath.isabs(self.path)


def pools(session: HostSession) -> list[Pool]:
    """All storage pools, sorted by name."""

    def read(connection: libvirt.virConnect) -> list[Pool]:
        result = []
        for pool in connection.listAllStoragePools(0):
            root = domain_xml.parse(pool.XMLDesc(0))
            path = domain_xml.text_of(root, "./target/path")
            active = bool(pool.isActive())
            _, size, _, free = pool.info() if active else (0, 0, 0, 0)
            result.append(Pool(pool.name(), root.get("type", ""), active, path, size, free))
        return result

    return sorted(session.with_libvirt("list the storage pools", read), key=lambda pool: pool.name)


def refresh_pool(session: HostSession, name: str) -> None:
    """Let libvirt see new and vanished files of a pool."""
    session.with_libvirt(
        "refresh the pool", lambda connection: connection.storagePoolLookupByName(name).refresh(0), deadline_s=60.0
    )


def pool_of(path: str, known: list[Pool]) -> Pool | None:
    """The pool whose folder holds a file directly."""
    folder = posixpath.dirname(posixpath.normpath(path))
    for pool in known:
        if pool.kind in FOLDER_POOLS and pool.path and posixpath.normpath(pool.path) == folder:
            return pool
    return None


def free_bytes(session: HostSession, folder: str) -> int | None:
    """Space that this login may use in a folder [bytes]; None when the folder is not there."""
    answer = session.run(["stat", "-f", "-c", "%a %S", folder])
    if answer.status != 0:
        return None
    blocks, size = answer.output.split()
    return int(blocks) * int(size)


def file_system(session: HostSession, folder: str) -> str | None:
    """Names the file system that a folder is on, among those of its host; None when the folder is not there."""
    answer = session.run(["stat", "-c", "%d", folder])
    return answer.output.strip() if answer.status == 0 else None


def nearest_folder(session: HostSession, folder: str) -> str:
    """The folder, or the nearest one above it that is there; libvirt makes its own folders when it needs them."""
    while folder not in ("", "/") and session.files.info(folder) is None:
        folder = posixpath.dirname(folder)
    return folder


def create_image(session: HostSession, path: str, format_name: str, size: int) -> None:
    """Make a new, empty image, readable by its owner alone (0600). Never replaces a file.

    Args:
        session: The host.
        path: Must not be there.
        format_name: raw or qcow2.
        size: Virtual size [bytes].

    Raises:
        RefusedError: Something is there.
        FailedError: No space, no rights, or no such folder.
    """
    answer = session.run(["sh", "-c", _CREATE, "create", path, format_name, str(size)], deadline_s=60.0)
    if answer.status == _EXISTS:
        if session.files.exists(path):
            raise RefusedError("TARGET-EXISTS", f"{path} on {session.host.name} is already there.", path=path)
        raise FailedError(
            "WRITE-FAILED", f"{path} cannot be made on {session.host.name}: no such folder, or no right to write there."
        )
    if answer.status != 0:
        session.files.remove(path)
    answer.checked(session.host.name)


def cut_to(session: HostSession, path: str, length: int) -> None:
    """Cut a raw image to its exact length; its export was rounded up to 512."""
    session.run(["truncate", "-s", str(length), path]).checked(session.host.name)


def add_bitmap(session: HostSession, path: str, name: str) -> None:
    """Add an empty persistent dirty bitmap to an image at rest."""
    session.run(["qemu-img", "bitmap", "--add", "-f", "qcow2", path, name], deadline_s=60.0).checked(session.host.name)


def remove_bitmap(session: HostSession, path: str, name: str) -> bool:
    """Remove a bitmap from an image at rest; False when QEMU could not."""
    return session.run(["qemu-img", "bitmap", "--remove", "-f", "qcow2", path, name], deadline_s=60.0).status == 0
