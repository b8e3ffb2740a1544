"""Points of real guests are booted in isolation: the verdicts are right, and nothing is left of it."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Client, wait_until
from tests.support.rehearsals import ONLINE, SILENT, Frame, Guest, frames, throw_away, tries
from tests.support.site import Site

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def new_guest(north: Site) -> Iterator[Callable[..., Guest]]:
    """Makes real guests; they are taken away afterwards."""
    made: list[Guest] = []

    def make(site: Site = north, **options: str) -> Guest:
        made.append(Guest(site, **options))
        return made[-1]

    yield make
    for guest in made:
        guest.remove()


def rehearse(client: Client, guest: Guest, *options: str, code: int) -> dict[str, Any]:
    """Back the guest up, rehearse the point, and look at what must be true after every rehearsal."""
    point = client.backup(guest.path, "--mode", "cold")["point"]
    before = guest.definition(), hashlib.sha256(guest.image.read_bytes()).hexdigest()
    picture = client.folder / f"{point}.png"
    result = client.run("rehearse", point, *options, "--json", "--keep-screenshot", str(picture), timeout=300)
    assert result.code == code, str(result)
    document: dict[str, Any] = result.json
    assert picture.read_bytes().startswith(PNG)
    assert hashlib.sha256(picture.read_bytes()).hexdigest() == document["picture"]
    assert throw_away(guest.site, document["job"]) == []
    assert (guest.definition(), hashlib.sha256(guest.image.read_bytes()).hexdigest()) == before
    (kept,) = client.points(guest.path)
    assert kept["rehearsed"]["verdict"] == document["verdict"]
    assert kept["rehearsed"]["picture"] == document["picture"]
    assert not kept["damaged"]
    client.ok("verify", "--all")
    return document


def check_named(document: dict[str, Any], name: str) -> dict[str, Any]:
    """One line of the evidence."""
    found: dict[str, Any] = next(check for check in document["checks"] if check["name"] == name)
    return found


def test_good_guest(client: Client, new_guest: Callable[..., Guest]) -> None:
    guest = new_guest()
    document = rehearse(client, guest, "--check", "cat /proc/cmdline /data/documents/000.txt", code=0)
    assert document["verdict"] == "bootable"
    assert document["seconds"]["first_output"] < document["seconds"]["marker"] < document["rto_s"]
    assert "Document 0 of the practice lab." in document["check"]["output"]
    assert check_named(document, "cleared away")["ok"]
    (kept,) = client.points(guest.path)
    assert kept["proven"]["rto_s"] == document["rto_s"]
    shown = client.ok("show", kept["id"]).out
    assert "bootable" in shown and f"{document['rto_s']:.0f} s" in shown
    again = client.folder / "again.png"
    client.ok("show", kept["id"], "--screenshot", str(again))
    assert hashlib.sha256(again.read_bytes()).hexdigest() == document["picture"]


def test_failing_check(client: Client, new_guest: Callable[..., Guest]) -> None:
    document = rehearse(client, new_guest(), "--check", "sh -c 'echo no; yes | head -c 20000000; exit 3'", code=1)
    assert document["verdict"] == "failed"
    assert document["check"]["status"] == 3
    assert len(document["check"]["output"]) <= 8 << 10


def test_panicking_guest(client: Client, new_guest: Callable[..., Guest]) -> None:
    document = rehearse(client, new_guest(append="rdinit=/none root=/none"), code=1)
    assert document["verdict"] == "failed"
    assert "kernel panicked" in document["reason"] and "not syncing" in document["reason"]
    assert any("Kernel panic" in line for line in document["console"])
    assert document["seconds"]["first_output"] > 0 and document["rto_s"] is None


def test_silent_guest(client: Client, new_guest: Callable[..., Guest]) -> None:
    document = rehearse(client, new_guest(init=SILENT), "--timeout", "90s", code=1)
    assert document["verdict"] == "failed"
    assert "agent" in document["reason"] and "90 s" in document["reason"]
    assert "vmtui-lab: ready" in "\n".join(document["console"]), "it did boot"


# -- the isolated network ------------------------------------------------------------------------


class Listener:
    """Counts who comes to a port of this machine, by TCP and by UDP."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self.port = self._tcp.getsockname()[1]
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()
        threading.Thread(target=self._receive, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                self._tcp.accept()[0].close()
            except OSError:
                return
            self.heard.append("tcp")

    def _receive(self) -> None:
        while True:
            try:
                self._udp.recvfrom(100)
            except OSError:
                return
            self.heard.append("udp")

    def close(self) -> None:
        for end in (self._tcp, self._udp):
            end.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


def test_no_packet_leaves(client: Client, new_guest: Callable[..., Guest], listener: Listener, tmp_path: Path) -> None:
    guest = new_guest(init=ONLINE, after=tries(listener.port))
    capture = tmp_path / "wire.pcap"
    options = ["--network", "isolated", "--wait", "serial:vmtui-lab: tried", "--keep-capture", str(capture)]
    document = rehearse(client, guest, *options, code=0)
    assert listener.heard == []

    seen = frames(capture)
    inside = [frame for frame in seen if frame.from_guest]
    assert {"dhcp", "arp", "icmp", "tcp", "udp"} <= {frame.kind for frame in inside}
    asked = {frame.target for frame in inside}
    assert {"192.0.2.1", "198.51.100.7", "10.0.2.2"} <= asked
    assert [frame for frame in seen if not frame.from_guest and not _of_qemu(frame)] == []
    assert check_named(document, "isolation")["ok"]

    # The same guest on the same kind of network without the restriction does reach the listener.
    guest.site.virsh("start", guest.name)
    wait_until(lambda: {"tcp", "udp"} <= set(listener.heard), 120, "a packet of the guest that is not isolated")


def _of_qemu(frame: Frame) -> bool:
    """Whether QEMU's own stack made it: its addresses, or a refusal in the name of somebody outside."""
    return frame.source.startswith("10.0.2.") or frame.kind in ("reset", "ipv6")


@pytest.mark.parametrize(
    ("wait", "answer"), [("ssh", "SSH-2.0-lab"), ("http:/health", "HTTP 200"), ("http:80/none=404", "HTTP 404")]
)
def test_signs_over_the_isolated_network(
    client: Client, new_guest: Callable[..., Guest], wait: str, answer: str
) -> None:
    document = rehearse(client, new_guest(init=ONLINE), "--network", "isolated", "--wait", wait, code=0)
    assert document["marker"] == answer
