"""Images on top of other images of the host: what is not in the upper one is read from the one below."""

from __future__ import annotations

from vmtui.hosts.session import HostSession
from vmtui.model.errors import FailedError, RefusedError

_EXISTS = 17
_CREATE = r"""
umask 077
set -C
: 2>/dev/null >"$1" || exit 17
exec qemu-img create -q -f qcow2 -o compat=1.1 -b "$3" -F qcow2 "$1" "$2"
"""
_FOLD_S = 24 * 3600.0
"""All data of the image below is copied [s]."""


def create_on_top(session: HostSession, path: str, below: str, size: int) -> None:
    """Make an empty image, readable by its owner alone (0600), on top of another one at rest. Never replaces a file.

    Args:
        session: The host.
        path: Must not be there.
        below: A qcow2 image; it is never written.
        size: Virtual size [bytes].

    Raises:
        RefusedError: Something is there.
        FailedError: No space, no rights, or no such folder.
    """
    answer = session.run(["sh", "-c", _CREATE, "overlay", path, str(size), below], deadline_s=60.0)
    if answer.status == _EXISTS:
        if session.files.exists(path):
            raise RefusedError("TARGET-EXISTS", f"{path} on {session.host.name} is already there.", path=path)
        raise FailedError(
            "WRITE-FAILED", f"{path} cannot be made on {session.host.name}: no such folder, or no right to write there."
        )
    if answer.status != 0:
        session.files.remove(path)
    answer.checked(session.host.name)


def set_below(session: HostSession, path: str, below: str) -> None:
    """Write down the new name of the image below; nothing is read or compared, so it must be the same image.

    Raises:
        FailedError: The image cannot be written.
    """
    argv = ["qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-b", below, "-F", "qcow2", path]
    session.run(argv, deadline_s=60.0).checked(session.host.name)


def fold(session: HostSession, path: str) -> None:
    """Copy all that is below an image at rest into it; then it stands alone. Blocks; goes on where it was cut off.

    The image names what is below until all of it is copied, so it reads the same at any moment.

    Raises:
        FailedError: No space, or the image is in use.
    """
    session.run(["qemu-img", "rebase", "-q", "-f", "qcow2", "-b", "", path], deadline_s=_FOLD_S).checked(
        session.host.name
    )
