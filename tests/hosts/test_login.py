"""What is sent to a host at the login, and what is never sent: looked at from the side of the host."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import paramiko
import pytest

from vmtui import keyring
from vmtui.hosts.login import Login
from vmtui.hosts.trust import TrustStore
from vmtui.model.errors import UnreachableError
from vmtui.model.host import Host

OPENS_KEY = "opens the key"
OPENS_ACCOUNT = "opens the account"
HIDDEN = ("Password: ", False)
TAKEN, REFUSED = int(paramiko.AUTH_SUCCESSFUL), int(paramiko.AUTH_FAILED)


@dataclass
class Peer(paramiko.ServerInterface):  # type: ignore[misc]  # untyped
    """A host that remembers what it was told."""

    methods: str = "publickey,password"
    takes_key: bool = False
    rounds: Sequence[Sequence[tuple[str, bool]]] = ((HIDDEN,), ())
    passwords: list[str] = field(default_factory=list)
    answers: list[list[str]] = field(default_factory=list)
    keys: int = 0

    def get_allowed_auths(self, _user: str) -> str:
        return self.methods

    def check_auth_publickey(self, _user: str, _key: paramiko.PKey) -> int:
        self.keys += 1
        return TAKEN if self.takes_key else REFUSED

    def check_auth_password(self, _user: str, password: str) -> int:
        if "password" not in self.methods:
            return REFUSED
        self.passwords.append(password)
        return TAKEN if password == OPENS_ACCOUNT else REFUSED

    def check_auth_interactive(self, _user: str, _methods: str) -> int | paramiko.InteractiveQuery:
        return self._round() if "keyboard-interactive" in self.methods else REFUSED

    def check_auth_interactive_response(self, responses: list[str]) -> int | paramiko.InteractiveQuery:
        self.answers.append(list(responses))
        if len(self.answers) < len(self.rounds):
            return self._round()
        given = [answer for answers in self.answers for answer in answers]
        return TAKEN if given == [OPENS_ACCOUNT] else REFUSED

    def _round(self) -> paramiko.InteractiveQuery:
        return paramiko.InteractiveQuery("", "", *self.rounds[len(self.answers)])


Serve = Callable[[Peer], Host]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Serves one peer on the loopback; the home folder has a locked key, and no agent is there."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(keyring, "_kept", {})
    host_key = paramiko.RSAKey.generate(2048)
    listener = socket.create_server(("127.0.0.1", 0))
    transports: list[paramiko.Transport] = []

    def start(peer: Peer) -> Host:
        def answer() -> None:
            connection, _ = listener.accept()
            transport = paramiko.Transport(connection)
            transports.append(transport)
            transport.add_server_key(host_key)
            transport.start_server(event=threading.Event(), server=peer)  # a client that goes early is no error

        threading.Thread(target=answer, daemon=True).start()
        port = listener.getsockname()[1]
        TrustStore(tmp_path / "hosts").accept("127.0.0.1", port, host_key)
        return Host(name="kvm9", address="127.0.0.1", port=port, user="operator", deadline_s=20)

    yield start
    for transport in transports:
        transport.close()
    listener.close()


@pytest.fixture
def key(tmp_path: Path) -> str:
    path = tmp_path / "locked"
    text = io.StringIO()
    paramiko.RSAKey.generate(2048).write_private_key(text, password=OPENS_KEY)
    path.write_text(text.getvalue())
    return str(path)


def log_in(host: Host, folder: Path) -> str:
    """Log in; gives what went wrong."""
    try:
        Login(host, TrustStore(folder / "hosts")).close()
    except UnreachableError as error:
        return f"{error.id}: {error.cause}"
    return ""


def test_a_passphrase_opens_the_key_and_goes_nowhere_else(serve: Serve, key: str, tmp_path: Path) -> None:
    peer = Peer(takes_key=True)
    host = replace(serve(peer), key=key)
    keyring.keep("kvm9", OPENS_KEY)
    assert log_in(host, tmp_path) == ""
    assert (peer.keys > 0, peer.passwords) == (True, [])


@pytest.mark.parametrize("methods", ["publickey,password", "publickey,keyboard-interactive"])
def test_a_host_that_refuses_the_key_never_hears_its_passphrase(
    serve: Serve, key: str, tmp_path: Path, methods: str
) -> None:
    peer = Peer(methods)
    host = replace(serve(peer), key=key)
    keyring.keep("kvm9", OPENS_KEY)
    said = log_in(host, tmp_path)
    assert said.startswith("HOST-LOGIN-REFUSED") and key in said and OPENS_KEY not in said
    assert (peer.keys > 0, peer.passwords, peer.answers) == (True, [], [])


def test_the_password_command_is_still_asked_when_the_key_was_refused(serve: Serve, key: str, tmp_path: Path) -> None:
    peer = Peer()
    host = replace(serve(peer), key=key, password_command=("echo", OPENS_ACCOUNT))
    keyring.keep("kvm9", OPENS_KEY)
    assert log_in(host, tmp_path) == ""
    assert peer.passwords == [OPENS_ACCOUNT]


def test_a_typed_password_is_one_when_it_opens_no_key(serve: Serve, key: str, tmp_path: Path) -> None:
    peer = Peer()
    host = replace(serve(peer), key=key)
    keyring.keep("kvm9", OPENS_ACCOUNT)
    assert log_in(host, tmp_path) == ""
    assert peer.passwords == [OPENS_ACCOUNT]


def test_a_refused_password_says_so(serve: Serve, tmp_path: Path) -> None:
    peer = Peer()
    host = serve(peer)
    keyring.keep("kvm9", "wrong")
    said = log_in(host, tmp_path)
    assert said.endswith("tried password.") and "wrong" not in said
    assert peer.passwords == ["wrong"]


@pytest.mark.parametrize("rounds", [((HIDDEN,),), ((HIDDEN,), ())])
def test_the_only_hidden_question_is_answered(
    serve: Serve, tmp_path: Path, rounds: Sequence[Sequence[tuple[str, bool]]]
) -> None:
    peer = Peer("publickey,keyboard-interactive", rounds=rounds)
    host = serve(peer)
    keyring.keep("kvm9", OPENS_ACCOUNT)
    assert log_in(host, tmp_path) == ""
    assert peer.answers[0] == [OPENS_ACCOUNT]


@pytest.mark.parametrize(
    ("rounds", "answers"),
    [
        (((HIDDEN, ("Code: ", False)),), [["", ""]]),
        (((("Name: ", True),),), [[""]]),
        (((HIDDEN,), (("Code: ", False),)), [[OPENS_ACCOUNT], [""]]),
    ],
)
def test_no_other_question_is_answered_with_the_password(
    serve: Serve, tmp_path: Path, rounds: Sequence[Sequence[tuple[str, bool]]], answers: list[list[str]]
) -> None:
    peer = Peer("publickey,keyboard-interactive", rounds=rounds)
    host = serve(peer)
    keyring.keep("kvm9", OPENS_ACCOUNT)
    said = log_in(host, tmp_path)
    assert "asks for more than a password" in said
    assert peer.answers == answers


def test_a_host_that_takes_keys_alone_hears_no_password(serve: Serve, tmp_path: Path) -> None:
    peer = Peer("publickey")
    host = serve(peer)
    keyring.keep("kvm9", OPENS_ACCOUNT)
    assert "the host takes none" in log_in(host, tmp_path)
    assert (peer.passwords, peer.answers) == ([], [])
