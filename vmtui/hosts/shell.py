"""Commands on a host, through the login."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import paramiko

from vmtui.hosts.channels import HostTransport
from vmtui.model.errors import FailedError, UnreachableError

_OUTPUT_LIMIT = 16 << 20
"""No command of ours prints more; a host that does is cut off [bytes]."""
_CHUNK = 64 << 10
_BEAT_S = 5.0


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command left."""

    argv: tuple[str, ...]
    status: int
    output: str
    errors: str

    def checked(self, host: str) -> Completed:
        """Itself, if the command succeeded.

        Raises:
            FailedError: It did not.
        """
        if self.status == 0:
            return self
        reason = self.errors.strip().splitlines()
        error_id = "HOST-TOOL-MISSING" if self.status == 127 else "REMOTE-COMMAND"
        raise FailedError(
            error_id,
            f"{self.argv[0]} on {host} ended with {self.status}: {reason[-1] if reason else 'no message'}",
            host=host,
            argv=list(self.argv),
            status=self.status,
        )


def run(transport: HostTransport, host: str, argv: Sequence[str], *, deadline_s: float, stdin: str = "") -> Completed:
    """Run a command and wait for its end.

    Raises:
        UnreachableError: The login ended or the command overran its deadline.
    """
    deadline = time.monotonic() + deadline_s
    channel = _start(transport, host, shlex.join(argv), deadline_s)
    try:
        if stdin:
            channel.sendall(stdin.encode())
        channel.shutdown_write()
        output, errors = _collect(channel, deadline)
        status = channel.recv_exit_status()
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise _lost(host, argv, error) from error
    finally:
        channel.close()
    if status < 0 and not transport.is_active():
        raise _lost(host, argv, None)
    return Completed(tuple(argv), status, output, errors)


def _start(transport: HostTransport, host: str, command: str, deadline_s: float) -> paramiko.Channel:
    try:
        channel = transport.open_session(timeout=deadline_s)
        channel.settimeout(deadline_s)
        channel.exec_command(command)
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise _lost(host, (command.split(" ", 1)[0],), error) from error
    return channel


def _collect(channel: paramiko.Channel, deadline: float) -> tuple[str, str]:
    """Read both outputs to their ends; a thread of its own for the second, as either may fill up first."""
    errors = bytearray()

    def read_errors() -> None:
        try:
            while len(errors) < _OUTPUT_LIMIT and (chunk := channel.recv_stderr(_CHUNK)):
                errors.extend(chunk)
        except OSError:
            pass  # the main reader meets the same end and reports it

    reader = threading.Thread(target=read_errors, name="stderr", daemon=True)
    reader.start()
    output = bytearray()
    while chunk := channel.recv(_CHUNK):
        output.extend(chunk)
        if len(output) > _OUTPUT_LIMIT:
            raise OSError(f"more than {_OUTPUT_LIMIT} bytes of output")
        if time.monotonic() > deadline:
            raise TimeoutError("it took too long")
    while not channel.status_event.wait(0.2):
        if channel.closed or time.monotonic() > deadline:
            break
    if not channel.exit_status_ready():
        raise TimeoutError("it took too long")
    reader.join(timeout=1)
    return output.decode("utf-8", "replace"), errors.decode("utf-8", "replace")


class LifeLine:
    """A process on the host that ends when we do: its standard input is its life line.

    Args:
        transport: The login.
        host: Names it in errors.
        script: POSIX shell; it must print `ready` when it is up and end at the end of its input.
        arguments: Its positional parameters.
        deadline_s: How long it may take to be ready.

    Raises:
        FailedError: It ended before it was ready; the cause carries what it said.
        UnreachableError: The login ended.
    """

    def __init__(
        self, transport: HostTransport, host: str, script: str, arguments: Sequence[str], *, deadline_s: float
    ) -> None:
        self._host = host
        self._name = arguments[0] if arguments else "sh"
        self._channel = _start(transport, host, shlex.join(["sh", "-c", script, "vmtui", *arguments]), deadline_s)
        self._rest = b""
        self._ending = threading.Event()
        self.last_words = ""
        """What it said when it did not end well."""
        try:
            self._wait_ready(deadline_s)
        except BaseException:
            self._channel.close()
            raise

    def _wait_ready(self, deadline_s: float) -> None:
        said = b""
        try:
            while b"ready\n" not in said:
                chunk = self._channel.recv(_CHUNK)
                if not chunk:
                    raise FailedError("REMOTE-COMMAND", f"{self._host}: {self._failure(said)}", host=self._host)
                said += chunk
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise UnreachableError(
                "HOST-TIMEOUT", f"{self._host}: a helper was not ready within {deadline_s:g} s.", host=self._host
            ) from error
        self._rest = said.partition(b"ready\n")[2]

    def _failure(self, said: bytes) -> str:
        text = said + self._channel.recv_stderr(_CHUNK)
        lines = text.decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "a helper ended without a word"

    def send(self, word: bytes) -> None:
        """Write to its standard input.

        Raises:
            UnreachableError: It is gone.
        """
        try:
            self._channel.sendall(word)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise UnreachableError(
                "HOST-UNREACHABLE", f"{self._host}: a helper is gone: {error}.", host=self._host
            ) from error

    def beat(self) -> None:
        """Send it a `k` every few seconds from now on: a login may be cut without the host hearing of it for hours."""
        threading.Thread(target=self._beat, name="beat", daemon=True).start()

    def _beat(self) -> None:
        while not self._ending.wait(_BEAT_S):
            try:
                self.send(b"k")
            except UnreachableError:
                return  # the login is gone; the work finds out by itself

    @property
    def alive(self) -> bool:
        """Whether it still runs, as far as is known."""
        return not self._channel.exit_status_ready() and not self._channel.closed

    def end(self, deadline_s: float) -> int | None:
        """Cut the life line and wait for its end.

        Returns:
            Its exit status, or None when that did not come in time.
        """
        deadline = time.monotonic() + deadline_s
        self._ending.set()
        try:
            self._channel.shutdown_write()
            while not self._channel.exit_status_ready():
                if time.monotonic() > deadline or self._channel.closed:
                    return None
                time.sleep(0.01)
            status = int(self._channel.recv_exit_status())
            if status != 0:
                self.last_words = self._failure(self._rest)
            return status
        except (paramiko.SSHException, EOFError, OSError):
            return None
        finally:
            self._channel.close()


def _lost(host: str, argv: Sequence[str], error: Exception | None) -> UnreachableError:
    if isinstance(error, TimeoutError):
        return UnreachableError("HOST-TIMEOUT", f"{host}: {argv[0]} did not end in time.", host=host)
    reason = f": {error}" if error is not None and str(error) else ""
    return UnreachableError("HOST-UNREACHABLE", f"{host}: the login ended while {argv[0]} ran{reason}.", host=host)
