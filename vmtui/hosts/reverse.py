"""A unix socket on the host at which we answer, inside a login of its own.

sshd makes the socket and never removes it. A login that broke off without a word may live on at the
host's end for hours, and whoever connected through it would wait as long; so each listener writes down
which sshd process carries it, and its successor ends that one first.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable

from vmtui.hosts import domains
from vmtui.hosts.session import HostSession
from vmtui.model.stream import Stream

_SOCKET = "s"
_CARRIER = "login"
"""Holds process id and start time of the sshd that listens."""

_TAKE_OVER = r"""
folder=$1
umask 077
say() { echo "$1" >&2; exit 1; }
field() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f"$2"; }
sshd() { case $(cat "/proc/$1/comm" 2>/dev/null) in sshd*) return 0 ;; esac; return 1; }
if ! mkdir "$folder" 2>/dev/null; then
    [ -d "$folder" ] && [ ! -L "$folder" ] || say "$folder is not a folder"
    [ -O "$folder" ] || [ "$(id -u)" = 0 ] || say "$folder belongs to somebody else"
fi
old= born=
[ -f "$folder/login" ] && read -r old born <"$folder/login"
case $old in
    *[!0-9]* | '') ;;
    *) if sshd "$old" && [ "$(field "$old" 20)" = "$born" ]; then kill "$old"; fi ;;
esac
rm -f "$folder/s" "$folder/login"
carrier=$$
while [ "$carrier" -gt 1 ] && ! sshd "$carrier"; do carrier=$(field "$carrier" 2); done
set -C  # QEMU's account may write here once the folder was handed over: no link of its making is followed
[ "$carrier" -gt 1 ] && echo "$carrier $(field "$carrier" 20)" >"$folder/login"
exit 0
"""

_HAND_OVER = r"""
owner=$(stat -c %u:%g "$1") && found=$(stat -c %u:%g "$2" "$2/s") || exit 1
[ "$found" != "$owner
$owner" ] || exit 0
exec chown -h "$owner" "$2/s" "$2"
"""


def socket_in(folder: str) -> str:
    """Path of the socket in a listener's folder."""
    return posixpath.join(folder, _SOCKET)


def base_folder(session: HostSession) -> str:
    """Where folders of sockets for QEMU are made: a short path that QEMU's account can reach."""
    if session.host.uri.partition("?")[0].endswith("/session"):
        return session.environment("TMPDIR", "/tmp")  # noqa: S108  # the folders below it are 0700 and checked
    return domains.qemu_folder(session)


def listen(session: HostSession, folder: str, serve: Callable[[Stream], None]) -> None:
    """Answer at a socket on the host until the login ends. Whoever listened there before is ended.

    Args:
        session: A login for this alone; a successor ends it.
        folder: Absolute; made (0700) if need be, and handed to QEMU's account where that is another one.
        serve: Called with each connection, on a thread of its own.

    Raises:
        FailedError: The folder cannot be made or is not ours.
        UnreachableError: sshd does not do that, or the login ended.
    """
    session.run(["sh", "-c", _TAKE_OVER, "listen", folder]).checked(session.host.name)
    session.listen(socket_in(folder), serve)
    if not session.host.uri.partition("?")[0].endswith("/session"):
        owner = domains.qemu_folder(session)
        session.run(["sh", "-c", _HAND_OVER, "hand", owner, folder]).checked(session.host.name)


def remove(session: HostSession, folder: str) -> None:
    """Take socket and folder away; safe to repeat."""
    for name in (_SOCKET, _CARRIER):
        session.files.remove(posixpath.join(folder, name))
    session.files.remove_folder(folder)
