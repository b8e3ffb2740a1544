"""Logging in to a host: address, host key, identity, and what went wrong in words."""

from __future__ import annotations

import getpass
import logging
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko

from vmtui import keyring
from vmtui.hosts.channels import HostTransport
from vmtui.hosts.trust import TrustStore
from vmtui.model.errors import FailedError, UnreachableError, VmtuiError
from vmtui.model.host import Host

_SSH_PORT = 22
_KEEPALIVE_S = 15
_SILENCE_LIMIT_MS = 60_000
"""Unacknowledged data older than this ends the connection; without it a cut lasts for hours."""

logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # every failure reaches the operator as an error of ours


@dataclass(frozen=True, slots=True)
class Address:
    """Where and as whom to log in, after ~/.ssh/config had its say."""

    host: str
    port: int
    user: str
    keys: tuple[str, ...]
    jump: str | None
    """ProxyJump of ~/.ssh/config: [user@]host[:port]."""


def resolve(host: Host) -> Address:
    """Fill what the configuration leaves open from ~/.ssh/config."""
    entry = _ssh_config().lookup(host.address)
    jump = entry.get("proxyjump")
    return Address(
        host=entry.get("hostname", host.address),
        port=host.port or int(entry.get("port", _SSH_PORT)),
        user=host.user or entry.get("user", getpass.getuser()),
        keys=(host.key,) if host.key else tuple(entry.get("identityfile", ())),
        jump=None if jump in (None, "none") else jump,
    )


def _ssh_config() -> paramiko.SSHConfig:
    path = Path.home() / ".ssh" / "config"
    if not path.is_file():
        return paramiko.SSHConfig()
    try:
        return paramiko.SSHConfig.from_path(str(path))
    except (OSError, paramiko.ConfigParseError) as error:
        raise FailedError("CONFIG-INVALID", f"{path} cannot be read: {error}") from error


class Login:
    """One SSH login, with the jump host's login below it when there is one.

    Args:
        host: Where to.
        trust: Accepted host keys.
        jump: The configured jump host.

    Raises:
        UnreachableError: No answer, an unaccepted key, or a refused identity.
    """

    def __init__(self, host: Host, trust: TrustStore, jump: Host | None = None) -> None:
        self.host = host
        self._below: Login | None = None
        address = resolve(host)
        jump = jump or _jump_host(host, address)
        if jump is not None:
            self._below = Login(jump, trust)
        try:
            self.transport = self._connect(address, trust)
        except BaseException:
            self.close_below()
            raise

    def close(self) -> None:
        """End the login; safe to repeat."""
        self.transport.close()
        self.close_below()

    def close_below(self) -> None:
        """End the jump host's login."""
        if self._below is not None:
            self._below.close()

    def _connect(self, address: Address, trust: TrustStore) -> HostTransport:
        transport = _negotiate(self.host, address, self._socket(address), trust.kinds(address.host, address.port))
        try:
            trust.check(self.host.name, address.host, address.port, transport.get_remote_server_key())
            _authenticate(self.host, address, transport)
        except BaseException:
            transport.close()
            raise
        transport.set_keepalive(_KEEPALIVE_S)
        return transport

    def _socket(self, address: Address) -> Any:
        if self._below is None:
            return _tcp(self.host, address)
        try:
            return self._below.transport.open_channel(
                "direct-tcpip", (address.host, address.port), ("127.0.0.1", 0), timeout=self.host.deadline_s
            )
        except (paramiko.SSHException, EOFError) as error:
            raise _unreachable(self.host, f"the jump host cannot reach it: {error}") from error


def shown_key(host: Host, jump: Host | None, trust: TrustStore) -> tuple[Address, paramiko.PKey]:
    """Ask a host for its key without logging in.

    Raises:
        UnreachableError: It does not answer.
    """
    address = resolve(host)
    below = Login(jump, trust) if jump is not None else None
    try:
        sock: Any = (
            _tcp(host, address)
            if below is None
            else below.transport.open_channel(
                "direct-tcpip", (address.host, address.port), ("127.0.0.1", 0), timeout=host.deadline_s
            )
        )
        transport = _negotiate(host, address, sock, trust.kinds(address.host, address.port))
        try:
            return address, transport.get_remote_server_key()
        finally:
            transport.close()
    finally:
        if below is not None:
            below.close()


def _jump_host(host: Host, address: Address) -> Host | None:
    if address.jump is None:
        return None
    user, _, place = address.jump.rpartition("@")
    name, _, port = place.partition(":")
    return Host(name=f"{host.name}'s jump host", address=name, user=user or None, port=int(port) if port else None)


def _tcp(host: Host, address: Address) -> socket.socket:
    try:
        sock = socket.create_connection((address.host, address.port), timeout=host.deadline_s)
    except OSError as error:
        raise _unreachable(host, f"{address.host} port {address.port}: {error.strerror or error}") from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENCE_LIMIT_MS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _negotiate(host: Host, address: Address, sock: Any, key_kinds: list[str]) -> HostTransport:
    try:
        transport = HostTransport(sock)
        transport.banner_timeout = host.deadline_s
        transport.auth_timeout = host.deadline_s
        if key_kinds:
            _prefer_keys(transport, key_kinds)
        transport.start_client(timeout=host.deadline_s)
        if not transport.initial_kex_done:  # it returns without a word when its time is over
            raise TimeoutError(f"nothing within {host.deadline_s:g} s")
    except (paramiko.SSHException, EOFError, OSError) as error:
        sock.close()
        raise _unreachable(host, f"{address.host} port {address.port} does not speak SSH: {error}") from error
    return transport


def _prefer_keys(transport: HostTransport, kinds: list[str]) -> None:
    """Ask for a key of an accepted kind, so that a second, unknown key does not look like a change."""
    options = transport.get_security_options()
    offered = list(options.key_types)
    wanted = [kind for kind in offered if kind in kinds or ("ssh-rsa" in kinds and kind.startswith("rsa-sha2"))]
    options.key_types = tuple(wanted + [kind for kind in offered if kind not in wanted])


def _authenticate(host: Host, address: Address, transport: HostTransport) -> None:
    tried: list[str] = []
    typed = _Typed(keyring.kept(host.name))
    for what, key in _identities(address, tried, typed):
        tried.append(what)
        try:
            transport.auth_publickey(address.user, key)
        except paramiko.AuthenticationException:
            continue
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise _unreachable(host, f"the login broke off: {error}") from error
        if transport.is_authenticated():
            return
    password = _asked(host) if typed.as_password is None and host.password_command else typed.as_password
    if password is not None:
        refusal = _password_login(host, address, transport, password)
        if not refusal:
            return
        tried.append(refusal)
    raise _refused(host, address, tried)


@dataclass(slots=True)
class _Typed:
    """What an operator typed for a host: the passphrase of a key, or the password of the account."""

    secret: str | None
    opened_a_key: bool = False

    @property
    def as_password(self) -> str | None:
        """What may be sent to the host. A passphrase that opened a key is none of the host's business."""
        return None if self.opened_a_key else self.secret


def _identities(address: Address, tried: list[str], typed: _Typed) -> Iterator[tuple[str, paramiko.PKey]]:
    """Keys in the order of preference; what cannot be used is noted in `tried`."""
    for path in address.keys:
        try:
            yield path, _load_key(Path(path).expanduser(), typed)
        except (OSError, ValueError, TypeError, paramiko.SSHException) as error:
            tried.append(f"{path} ({_key_problem(error)})")
    try:
        agent = paramiko.Agent()
        yield from ((f"agent {key.get_name()}", key) for key in agent.get_keys())
    except (paramiko.SSHException, OSError) as error:
        tried.append(f"agent ({error})")
    if address.keys:
        return
    for name in ("id_ed25519", "id_ecdsa", "id_rsa"):
        path_default = Path.home() / ".ssh" / name
        if path_default.is_file():
            yield from _identities(
                Address(address.host, address.port, address.user, (str(path_default),), None), tried, typed
            )


def _load_key(path: Path, typed: _Typed) -> paramiko.PKey:
    try:
        return paramiko.PKey.from_path(path)
    except (TypeError, paramiko.PasswordRequiredException):
        if typed.secret is None:
            raise
        key = paramiko.PKey.from_path(path, typed.secret.encode())
        typed.opened_a_key = True
        return key


def _key_problem(error: Exception) -> str:
    # The library below paramiko says TypeError for a locked key of OpenSSH's format.
    if isinstance(error, paramiko.PasswordRequiredException | TypeError):
        return "has a passphrase; add it to the SSH agent, or type it in the screens: enter on the host"
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return f"not a usable key: {error}"


def _asked(host: Host) -> str:
    """What the password_command prints."""
    try:
        answer = subprocess.run(
            host.password_command,
            capture_output=True,
            text=True,
            timeout=host.deadline_s,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UnreachableError(
            "HOST-LOGIN-REFUSED",
            f"The password_command of {host.name} failed: {type(error).__name__}.",
            host=host.name,
        ) from error
    return answer.stdout.rstrip("\r\n")


def _password_login(host: Host, address: Address, transport: HostTransport, password: str) -> str:
    """Log in with a password.

    A host that takes passwords only as the answer to a question (keyboard-interactive, RFC 4256) gets it if the
    question is the only one, and hidden; a second factor, or a second question, is never answered with it.

    Returns:
        What was refused; empty once it is logged in.
    """
    questions = _OneQuestion(password)
    what = "password"
    try:
        try:
            transport.auth_password(address.user, password, fallback=False)
        except paramiko.BadAuthenticationType as error:
            if "keyboard-interactive" not in error.allowed_types:
                return "password (the host takes none)"
            what = "password by keyboard-interactive"
            transport.auth_interactive(address.user, questions)
    except paramiko.AuthenticationException:
        return f"{what} (the host asks for more than a password)" if questions.asked_more else what
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise _unreachable(host, f"the login broke off: {error}") from error
    return "" if transport.is_authenticated() else f"{what} (the host wants more than that)"


class _OneQuestion:
    """Answers the only question of a host with a password, once; anything else with nothing."""

    def __init__(self, password: str) -> None:
        self._password: str | None = password
        self.asked_more = False

    def __call__(self, _title: str, _words: str, questions: Sequence[tuple[str, bool]]) -> list[str]:
        password, hidden = self._password, [not shown for _, shown in questions]
        if hidden == [True] and password is not None:
            self._password = None
            return [password]
        self.asked_more = self.asked_more or bool(questions)
        return ["" for _ in questions]


def _unreachable(host: Host, reason: str) -> UnreachableError:
    return UnreachableError("HOST-UNREACHABLE", f"{host.name} does not answer: {reason}.", host=host.name)


def _refused(host: Host, address: Address, tried: list[str]) -> VmtuiError:
    what = ", ".join(tried) if tried else "nothing: no key was found"
    return UnreachableError(
        "HOST-LOGIN-REFUSED",
        f"{host.name} refused the login as {address.user}; tried {what}.",
        host=host.name,
    )
