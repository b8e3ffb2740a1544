"""A socket on a host goes to QEMU's account each time that it is made anew; and resuming what runs is no error."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import libvirt
import pytest

from vmtui.hosts import reverse
from vmtui.hosts.domains import Domain
from vmtui.model.ids import VmId

QEMU = "64055:64055"


@pytest.mark.parametrize(
    ("folder", "socket", "handed"),
    [
        pytest.param("0:0", "0:0", True, id="at first"),
        pytest.param(QEMU, "0:0", True, id="by a new login, into the folder of the broken one"),
        pytest.param(QEMU, QEMU, False, id="by that account itself"),
    ],
)
def test_every_new_socket_is_handed_over(tmp_path: Path, folder: str, socket: str, handed: bool) -> None:
    """Owners are told by a `stat` of our own, as only root could make them so."""
    owners = {"base": QEMU, "folder": folder, "folder/s": socket}
    cases = "".join(f"{name}) echo {owner} ;; " for name, owner in owners.items())
    tools = {
        "stat": f'shift 2; for name in "$@"; do case $name in {cases} esac; done',
        "chown": 'echo "$@" >handed',
    }
    for name, script in tools.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    command = ["/bin/sh", "-c", reverse._HAND_OVER, "hand", "base", "folder"]
    subprocess.run(command, cwd=tmp_path, env={"PATH": f"{tmp_path}:/bin:/usr/bin"}, check=True, timeout=60)
    record = tmp_path / "handed"
    assert (record.read_text() if record.exists() else "") == (f"-h {QEMU} folder/s folder\n" if handed else "")


class Handle:
    """A VM as libvirt shows it, which refuses to resume what runs."""

    def __init__(self, state: int) -> None:
        self.now = state

    def state(self) -> tuple[int, int]:
        return self.now, 0

    def resume(self) -> None:
        assert self.now == libvirt.VIR_DOMAIN_PAUSED
        self.now = libvirt.VIR_DOMAIN_RUNNING


def test_resuming_is_safe_to_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = Handle(libvirt.VIR_DOMAIN_PAUSED)
    monkeypatch.setattr(Domain, "call", lambda _, __, body: body(handle))
    session: Any = None
    domain = Domain(session, VmId("0"))
    domain.resume()
    domain.resume()
    assert handle.now == libvirt.VIR_DOMAIN_RUNNING
