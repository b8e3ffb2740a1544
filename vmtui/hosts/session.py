"""One login to one host, carrying all that we ask of it: libvirt, NBD, commands, files."""

from __future__ import annotations

import atexit
import contextlib
import posixpath
import shlex
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Self, TypeVar
from urllib.parse import urlsplit

import libvirt
import paramiko

from vmtui.calls import recorded
from vmtui.hosts.channels import ChannelSocket, ChannelStream
from vmtui.hosts.files import Files
from vmtui.hosts.forward import Forward
from vmtui.hosts.lanes import Lane
from vmtui.hosts.libvirt_errors import translated
from vmtui.hosts.login import Login
from vmtui.hosts.shell import Completed, LifeLine, run
from vmtui.hosts.trust import TrustStore
from vmtui.model.errors import UnreachableError
from vmtui.model.host import Host
from vmtui.model.stream import Stream

T = TypeVar("T")

NBD_SILENCE_S = 60.0
"""An export that sends nothing for this long, with requests open, is given up."""

_SOCKET_NAMES = ("virtqemud-sock", "libvirt-sock")
"""Of the modular daemon and of the old one (LIBVIRT facts: both occur)."""

_OPEN: weakref.WeakSet[HostSession] = weakref.WeakSet()


class HostSession:
    """Everything that one host offers, over one login.

    Calls block and have deadlines; they may come from any thread. Close it before the program ends: a
    libvirt connection over pump threads that no longer run would wait for ever.

    Args:
        host: The host.
        trust: Accepted host keys.
        jump: The configured jump host, if any.

    Raises:
        UnreachableError: No answer, an unaccepted key, or a refused identity.
    """

    def __init__(self, host: Host, trust: TrustStore, jump: Host | None = None) -> None:
        self.host = host
        self._trust = trust
        self._jump = jump
        self._lane = Lane(host.name)
        self._forward: Forward | None = None
        self._connection: libvirt.virConnect | None = None
        self.links = 0
        """How often the connection to libvirt was made; what libvirt ties to a connection ends with it."""
        self._socket: str | None = None
        self._way: str | None = None
        # Opening has several steps, each with the host's deadline; twice that bounds the whole.
        self._login = self._lane.call(lambda: Login(host, trust, jump), 2 * host.deadline_s)
        self._files: Files | None = None
        _OPEN.add(self)

    # -- life ------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything; safe to repeat; never waits for a hung host."""
        connection, self._connection = self._connection, None
        if connection is not None and not self._lane.lost:
            with contextlib.suppress(UnreachableError, libvirt.libvirtError):
                self._lane.call(connection.close, 1.0)
        del connection
        if self._files is not None:
            self._files.close()
        if self._forward is not None:
            self._forward.close()
        self._login.close()
        self._lane.close()

    @property
    def alive(self) -> bool:
        """Whether the login still stands, as far as is known."""
        return self._login.transport.is_active() and not self._lane.lost

    def sibling(self) -> HostSession:
        """A further login to the same host, for bulk data beside the control connection."""
        return HostSession(self.host, self._trust, self._jump)

    # -- libvirt ---------------------------------------------------------------------------------

    def with_libvirt(
        self, doing: str, function: Callable[[libvirt.virConnect], T], *, deadline_s: float | None = None
    ) -> T:
        """Run a function with the libvirt connection on the host's lane.

        Args:
            doing: What it does, as in "could not …".
            function: Gets the connection; must not keep it.
            deadline_s: The host's deadline by default.

        Raises:
            UnreachableError: libvirt does not answer, or not in time.
            FailedError: libvirt refused.
        """

        def call() -> T:
            connection = self._connected()
            with translated(self.host.name, connection, doing):
                return function(connection)

        with recorded(self.host.name, "libvirt", doing):
            return self._lane.call(call, self.host.deadline_s if deadline_s is None else deadline_s)

    def reconnect_libvirt(self) -> None:
        """Forget the libvirt connection, so that the next call makes a new one on the same login."""
        self._connection = None

    def _connected(self) -> libvirt.virConnect:
        """Open the connection when there is none. Runs on the lane."""
        if self._connection is not None and self._connection.isAlive():
            return self._connection
        self._connection = None
        if self._forward is not None:
            self._forward.close()
        self._forward = Forward(self._libvirt_stream)
        target = urlsplit(self.host.uri)
        uri = f"{target.scheme}+unix://{target.path}?socket={self._forward.path}"
        try:
            self._connection = libvirt.open(uri)
        except libvirt.libvirtError as error:
            reason = self._forward.error or error.get_error_message()
            raise UnreachableError(
                "HOST-LIBVIRT-DOWN", f"libvirt on {self.host.name} does not answer: {reason}", host=self.host.name
            ) from error
        self._forward.hide()
        self.links += 1
        return self._connection

    def _libvirt_stream(self) -> Stream:
        return ChannelStream(self._open_unix(self.libvirt_socket()), None)

    def libvirt_socket(self) -> str:
        """libvirt's socket on the host.

        Raises:
            UnreachableError: None is there.
        """
        if self._socket is None:
            self._socket = self.host.socket or self._find_socket()
        return self._socket

    def _find_socket(self) -> str:
        session = urlsplit(self.host.uri).path == "/session"
        folder = (
            posixpath.join(self.environment("XDG_RUNTIME_DIR", "/run/user/$(id -u)"), "libvirt")
            if session
            else "/run/libvirt"
        )
        for name in _SOCKET_NAMES:
            path = posixpath.join(folder, name)
            if self.run(["test", "-S", path]).status == 0:
                return path
        raise UnreachableError(
            "HOST-LIBVIRT-DOWN",
            f"No libvirt socket in {folder} on {self.host.name}.",
            next_step="Start libvirt there, or name its socket in the configuration.",
            host=self.host.name,
        )

    def remote_uri(self) -> str:
        """The libvirt URI that virsh uses on the host itself."""
        target = urlsplit(self.host.uri)
        return f"{target.scheme}+unix://{target.path}?socket={self.libvirt_socket()}"

    # -- commands and files ----------------------------------------------------------------------

    def run(self, argv: Sequence[str], *, deadline_s: float | None = None, stdin: str = "") -> Completed:
        """Run a command on the host and wait for its end; its status is for the caller to judge.

        Raises:
            UnreachableError: The login ended, or the command overran its deadline.
        """
        deadline = self.host.deadline_s if deadline_s is None else deadline_s
        with recorded(self.host.name, "command", shlex.join(argv)) as result:
            completed = run(self._login.transport, self.host.name, argv, deadline_s=deadline, stdin=stdin)
            result.append(f"exit {completed.status}")
            return completed

    def lifeline(self, script: str, arguments: Sequence[str]) -> LifeLine:
        """Start a process on the host that ends when we do."""
        return LifeLine(self._login.transport, self.host.name, script, arguments, deadline_s=self.host.deadline_s)

    def environment(self, variable: str, fallback: str) -> str:
        """A variable of the login's environment; the fallback is expanded by the host's shell."""
        return self.run(["sh", "-c", f'printf %s "${{{variable}:-{fallback}}}"']).checked(self.host.name).output

    def make_temporary_folder(self) -> str:
        """A new, private folder (0700) with a short path, as unix sockets need."""
        return self.run(["mktemp", "-d", "-t", "vmtui-XXXXXXXX"]).checked(self.host.name).output.strip()

    @property
    def files(self) -> Files:
        """The host's files, by SFTP."""
        if self._files is None:
            self._files = Files(self._login.transport, self.host.name, self.host.deadline_s)
        return self._files

    # -- unix sockets ----------------------------------------------------------------------------

    def stream(self, path: str) -> Stream:
        """Connect to a unix socket on the host, for NBD: a receive waits until its buffer is full.

        Raises:
            UnreachableError: Nobody listens there, or sshd allows no way.
        """
        with recorded(self.host.name, "socket", path):
            return ChannelStream(self._open_unix(path), NBD_SILENCE_S, whole=True)

    def tap(self, path: str) -> Stream:
        """Connect to a unix socket on the host whose other end speaks when it likes, or never.

        Raises:
            UnreachableError: Nobody listens there, or sshd allows no way.
        """
        with recorded(self.host.name, "socket", path):
            return ChannelStream(self._open_unix(path), None)

    def dial(self, port: int, silence_s: float) -> Stream:
        """Connect to a port on the host's own loopback address, inside the login.

        Args:
            port: Somebody listens there on 127.0.0.1.
            silence_s: A receive that waits longer than this raises TimeoutError [s].

        Raises:
            UnreachableError: Nobody does, or sshd forbids it.
        """
        try:
            channel = self._login.transport.open_channel(
                "direct-tcpip", ("127.0.0.1", port), ("127.0.0.1", 0), timeout=silence_s
            )
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise UnreachableError(
                "HOST-UNREACHABLE", f"{self.host.name}: port {port} is not to be had: {error}.", host=self.host.name
            ) from error
        channel.settimeout(silence_s)
        return ChannelSocket(channel)

    def _open_unix(self, path: str) -> paramiko.Channel:
        if self._way is None:
            self._way = self._find_way(path)
        transport = self._login.transport
        try:
            if self._way == "streamlocal":
                return transport.open_unix(path, self.host.deadline_s)
            return transport.open_command(shlex.join(_WAYS[self._way](path)), self.host.deadline_s)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise UnreachableError(
                "HOST-UNREACHABLE", f"{self.host.name}: nobody answers at {path}: {error}.", host=self.host.name
            ) from error

    def listen(self, path: str, serve: Callable[[Stream], None]) -> None:
        """Let the host listen at a unix socket whose connections come to us, until this login ends.

        Args:
            path: Must not be there; its mode is 0600. It stays when the login ends.
            serve: Called with each connection on a thread of its own; owns it.

        Raises:
            UnreachableError: sshd does not do that, or the login ended.
        """
        with recorded(self.host.name, "socket", f"listen at {path}"):
            transport = self._login.transport
            try:
                taken = transport.listen_unix(path, lambda channel: serve(ChannelStream(channel, None, whole=True)))
            except (paramiko.SSHException, EOFError, OSError) as error:
                raise UnreachableError(
                    "HOST-UNREACHABLE", f"{self.host.name}: the login ended: {error}.", host=self.host.name
                ) from error
        if not taken and transport.is_active():
            raise UnreachableError(
                "HOST-FORWARD-REFUSED",
                f"sshd on {self.host.name} refuses to listen at {path} for us.",
                next_step="Allow AllowTcpForwarding and AllowStreamLocalForwarding both ways (yes) for this account.",
                host=self.host.name,
            )
        if not taken:
            raise UnreachableError("HOST-UNREACHABLE", f"{self.host.name}: the login ended.", host=self.host.name)

    def forwarding(self) -> str:
        """How unix sockets on this host are reached: `streamlocal`, `nc` or `socat`."""
        if self._way is None:
            self._way = self._find_way(self.libvirt_socket())
        return self._way

    def _find_way(self, path: str) -> str:
        try:
            self._login.transport.open_unix(path, self.host.deadline_s).close()
            return "streamlocal"
        except (paramiko.SSHException, EOFError, OSError) as error:
            refused = error
        if not isinstance(refused, paramiko.ChannelException):
            raise UnreachableError(
                "HOST-UNREACHABLE", f"{self.host.name}: the login ended: {refused}.", host=self.host.name
            ) from refused
        if refused.code != _PROHIBITED and not self._is_listened_at(path):
            return "streamlocal"  # allowed, but nobody listens: the caller meets that again
        for way in _WAYS:
            if self.run(["sh", "-c", f"command -v {way}"]).status == 0:
                return way
        raise UnreachableError(
            "HOST-FORWARD-REFUSED",
            f"sshd on {self.host.name} refuses to forward unix sockets, and neither nc nor socat is there.",
            host=self.host.name,
        )

    def _is_listened_at(self, path: str) -> bool:
        """Whether somebody on the host listens at a unix socket that this account may use.

        OpenSSH answers "connect failed" both to a socket without a listener and to a forbidden forwarding.
        """
        if self.run(["test", "-w", path]).status != 0:
            return False
        rows = [line.split(maxsplit=7) for line in self.run(["cat", "/proc/net/unix"]).output.splitlines()[1:]]
        return any(len(row) == 8 and row[7] == path and int(row[3], 16) & _ACCEPTS for row in rows)


_ACCEPTS = 1 << 16
"""__SO_ACCEPTCON in the flags of /proc/net/unix: the socket listens."""

_PROHIBITED = 1
"""SSH_OPEN_ADMINISTRATIVELY_PROHIBITED of RFC 4254, section 5.1."""

_WAYS: Mapping[str, Callable[[str], list[str]]] = {
    "socat": lambda path: ["socat", "-t", "600", "-", f"UNIX-CONNECT:{path}"],
    "nc": lambda path: ["nc", "-U", path],
}
"""Programs that join a channel to a unix socket where sshd does not."""


@atexit.register
def _close_all() -> None:
    for session in list(_OPEN):
        session.close()
