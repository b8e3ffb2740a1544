"""A single disk of a point as a local file, without libvirt."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vmtui.model.errors import FailedError, RefusedError, UsageError
from vmtui.model.ids import PointId, VmId
from vmtui.model.point import PointDisk, RestorePoint
from vmtui.model.progress import Watch
from vmtui.nbd import BASE_ALLOCATION, NbdClient
from vmtui.repository import Repository
from vmtui.repository.streams import open_map
from vmtui.restore.preflight import data_bytes
from vmtui.restore.write import DiskWriter

FORMATS = ("raw", "qcow2")
_START_S = 10.0
_STOP_S = 120.0


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What was asked for."""

    vm: VmId
    point: PointId
    disk: str
    file: str
    """Absolute path on the machine of the worker; must not be there."""
    format: str
    """raw or qcow2."""


def find_disk(point: RestorePoint, name: str) -> PointDisk:
    """The disk of that name.

    Raises:
        UsageError: The point has none.
    """
    for disk in point.disks:
        if disk.name == name:
            return disk
    names = ", ".join(disk.name for disk in point.disks) or "none"
    raise UsageError("NAME-UNKNOWN", f"The point {point.id} has no disk {name!r}; it has {names}.", disk=name)


def export(repository: Repository, disk: PointDisk, path: Path, format_name: str, watch: Watch) -> int:
    """Write a disk to a new local file and prove it by reading it back.

    The file gets its name when it is proven; until then it is `<name>.part`.

    Args:
        repository: In step (`sync`).
        disk: Of a point.
        path: The file; must not be there.
        format_name: raw or qcow2.
        watch: Progress and cancelling.

    Returns:
        Bytes of data written.

    Raises:
        RefusedError: The file is there.
        UsageError: QEMU's tools are missing on this machine.
        DamageError: The repository does not have what the point needs; there is no file.
        FailedError: The file cannot be written.
    """
    for tool in ("qemu-img", "qemu-nbd"):
        if shutil.which(tool) is None:
            raise UsageError(
                "HOST-TOOL-MISSING", f"{tool} is not installed on this machine.", next_step="Install qemu-utils."
            )
    part = path.with_name(path.name + ".part")
    for place in (path, part):
        if place.exists() or place.is_symlink():
            raise RefusedError("TARGET-EXISTS", f"{place} is already there.", next_step="Choose another file.")
    try:
        total = _write(repository, disk, part, format_name, watch)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    part.rename(path)
    return total


def _write(repository: Repository, disk: PointDisk, part: Path, format_name: str, watch: Watch) -> int:
    total = data_bytes(repository, disk.name, disk.virtual_size, disk.root)
    disk_map = open_map(repository, disk.virtual_size, disk.root)
    _create(part, format_name, disk.virtual_size)
    work = DiskWriter(disk.name, repository.reader(), repository.block_size, disk.virtual_size, watch)
    if disk.virtual_size:
        with _served(part, format_name, writable=True) as client:
            work.write(client, disk_map, total)
    if format_name == "raw" and disk.file_length is not None:
        os.truncate(part, disk.file_length)
    if disk.virtual_size:
        with _served(part, format_name, writable=False) as client:
            work.read_back(client, disk_map, total)
    return total


def _create(part: Path, format_name: str, size: int) -> None:
    try:
        with part.open("xb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.truncate(size if format_name == "raw" else 0)
    except OSError as error:
        raise FailedError("WRITE-FAILED", f"{part} cannot be made: {error.strerror}.") from error
    if format_name == "qcow2":
        argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-o", "compat=1.1", str(part), str(size)]
        answer = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if answer.returncode:
            raise FailedError("WRITE-FAILED", f"{part} cannot be made: {answer.stderr.strip()}")


@contextlib.contextmanager
def _served(path: Path, format_name: str, *, writable: bool) -> Iterator[NbdClient]:
    """An NBD connection to a local image, through QEMU's own writer of its format."""
    with tempfile.TemporaryDirectory(prefix="vmtui-") as folder:
        place = Path(folder) / "s"
        argv = ["qemu-nbd", "--persistent", "--shared=2", f"--format={format_name}", "--export-name=disk"]
        argv += ["--discard=unmap"] if writable else ["--read-only"]
        server = subprocess.Popen(
            [*argv, f"--socket={place}", str(path.absolute())],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            client = NbdClient(_connect(server, place), "disk", [] if writable else [BASE_ALLOCATION])
            yield client
            client.close()
        finally:
            server.terminate()
            _, errors = server.communicate(timeout=_STOP_S)
        if server.returncode != 0:
            raise FailedError("WRITE-FAILED", f"qemu-nbd did not close {path} cleanly: {errors.strip()}")


def _connect(server: subprocess.Popen[str], place: Path) -> socket.socket:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and server.poll() is None:
        stream = socket.socket(socket.AF_UNIX)
        try:
            stream.connect(str(place))
        except OSError:
            stream.close()
            time.sleep(0.02)
            continue
        return stream
    raise FailedError("WRITE-FAILED", f"qemu-nbd did not start for {place}.")
