"""What was typed in one process reaches the worker, and nobody else's eyes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.client import wait_until
from vmtui import keyring
from vmtui.jobs.handover import hand_over

LISTENER = """
import sys, time
from pathlib import Path
from vmtui import keyring
from vmtui.jobs.handover import listen
listen(Path(sys.argv[1]))
print("ready", flush=True)
while keyring.kept("kvm1") is None:
    time.sleep(0.01)
print(keyring.kept("kvm1"), flush=True)
"""


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "_kept", {})


def test_a_secret_goes_from_memory_to_memory(tmp_path: Path) -> None:
    state = tmp_path / ("long" * 30)
    state.mkdir()
    with subprocess.Popen([sys.executable, "-c", LISTENER, str(state)], stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == "ready\n"
        place = state / "worker.sock"
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        keyring.keep("kvm1", "p\u00e4ss w\u00f6rd")
        assert hand_over(state)
        assert listener.stdout.readline() == "p\u00e4ss w\u00f6rd\n"
        for path in state.rglob("*"):
            assert not path.is_file()
        words = (
            Path(f"/proc/{listener.pid}/cmdline").read_bytes() + Path(f"/proc/{listener.pid}/environ").read_bytes()
            if Path(f"/proc/{listener.pid}").exists()
            else b""
        )
        assert "wörd".encode() not in words


def test_nobody_listens(tmp_path: Path) -> None:
    assert hand_over(tmp_path), "there is nothing to give"
    keyring.keep("kvm1", "x")
    assert not hand_over(tmp_path)


def test_garbage_does_not_end_the_listener(tmp_path: Path) -> None:
    import socket

    with subprocess.Popen(
        [sys.executable, "-c", LISTENER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as listener:
        assert listener.stdout is not None
        listener.stdout.readline()
        for garbage in (b"", b"\xff\x00", b"[1]", b"{"):
            with socket.socket(socket.AF_UNIX) as client:
                descriptor = os.open(tmp_path, os.O_PATH)
                client.connect(f"/proc/self/fd/{descriptor}/worker.sock")
                os.close(descriptor)
                client.sendall(garbage)
        keyring.keep("kvm1", "right")
        wait_until(lambda: hand_over(tmp_path), 10, "the handover")
        assert listener.stdout.readline() == "right\n"
