"""Serving an image of a stopped VM, or a new one, by the host's own qemu-nbd on a unix socket.

The server's life line is our login: it ends with us, or after a while without a beat, as a host may not hear for
hours that the network is gone. So an image is never held by a process that nobody owns. Image locks keep a VM from starting while its disk is served.
"""

from __future__ import annotations

import contextlib
import posixpath
import time
from collections.abc import Iterator, Sequence

from vmtui.hosts.session import HostSession
from vmtui.hosts.shell import LifeLine
from vmtui.model.errors import FailedError, UnreachableError, VmtuiError
from vmtui.model.stream import Stream

EXPORT = "disk"
"""Name of the only export."""

_STOP_S = 60.0
"""Closing a large qcow2 image writes its metadata, which takes its time."""
_SILENCE_S = 60
_CONNECT_TRIES = 20
_CONNECT_PAUSE_S = 0.1

_SCRIPT = r"""
name=$1 socket=$2 silence=$3
shift 3
trap '' HUP PIPE INT TERM
umask 077
( trap - HUP PIPE INT TERM; exec "$@" ) &
server=$!
while ! [ -S "$socket" ]; do
    kill -0 "$server" 2>/dev/null || { wait "$server"; exit; }
    sleep 0.05
done
echo ready
while [ "$(timeout "$silence" dd bs=1 count=1 2>/dev/null)" = k ]; do :; done
kill "$server" 2>/dev/null
wait "$server"
status=$?
rm -f "$socket"
exit "$status"
"""


class DiskServer:
    """A running qemu-nbd.

    Args:
        session: The host.
        path: The image.
        format_name: Its format; a raw image's content is never believed.
        socket: Where to serve it; must not be there.
        bitmaps: Dirty bitmaps to offer; each becomes the context `qemu:dirty-bitmap:NAME`.
        writable: Serve for writing.

    Raises:
        FailedError: qemu-nbd cannot be run there.
        UnreachableError: The login ended.
    """

    def __init__(
        self,
        session: HostSession,
        path: str,
        format_name: str,
        socket: str,
        *,
        bitmaps: Sequence[str] = (),
        writable: bool = False,
    ) -> None:
        self._session = session
        self.path = path
        self.socket = socket
        argv = ["qemu-nbd", "--persistent", "--shared=8", f"--format={format_name}", f"--export-name={EXPORT}"]
        argv += [f"--bitmap={bitmap}" for bitmap in bitmaps]
        argv += ["--discard=unmap"] if writable else ["--read-only"]
        argv += [f"--socket={socket}", path]
        self._line: LifeLine = session.lifeline(_SCRIPT, ["qemu-nbd", socket, str(_SILENCE_S), *argv])
        self._line.beat()

    def connect(self) -> Stream:
        """A new connection to it; its socket is there a moment before it listens, and before it opens the image.

        Raises:
            FailedError: It could not open the image; the cause says why.
            UnreachableError: The login ended.
        """
        for _ in range(_CONNECT_TRIES):
            try:
                return self._session.stream(self.socket)
            except UnreachableError as error:
                if not self._session.alive:
                    raise
                failure = error
                time.sleep(_CONNECT_PAUSE_S)
        self._line.end(_STOP_S)
        if self._line.last_words:
            host = self._session.host.name
            raise FailedError(
                "REMOTE-COMMAND", f"{host}: {self._line.last_words}", host=host, path=self.path
            ) from failure
        raise failure

    def stop(self) -> None:
        """End it and wait until the image is closed cleanly.

        Raises:
            FailedError: It did not end well, so the last writes may be missing.
        """
        status = self._line.end(_STOP_S)
        if status != 0:
            raise FailedError(
                "WRITE-FAILED",
                f"qemu-nbd on {self._session.host.name} did not close {self.path} cleanly (status {status}).",
                host=self._session.host.name,
                path=self.path,
            )


@contextlib.contextmanager
def served(
    session: HostSession, path: str, format_name: str, *, bitmaps: Sequence[str] = (), writable: bool = False
) -> Iterator[DiskServer]:
    """An image served in a folder of its own; leaving the context means that the image was closed cleanly.

    Raises:
        FailedError: QEMU refused to serve it, or did not close it well.
        UnreachableError: The login ended.
    """
    folder = session.make_temporary_folder()
    socket = posixpath.join(folder, "s")
    try:
        server = DiskServer(session, path, format_name, socket, bitmaps=bitmaps, writable=writable)
        try:
            yield server
        except BaseException:
            with contextlib.suppress(VmtuiError):  # the first error matters more
                server.stop()  # waits, so that the image's lock is free for whoever starts the VM
            raise
        server.stop()
    finally:
        with contextlib.suppress(VmtuiError):  # an empty folder; the first error matters more
            session.files.remove(socket)
            session.files.remove_folder(folder)
