"""Real guests for rehearsals: their boot partition says what they do, and a capture of their network is read here anew."""

from __future__ import annotations

import gzip
import socket
import struct
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

from tests.support.site import Site
from vmtui.lab import guest
from vmtui.lab.machines import domain_xml, template_path

_BOOT = "@@1048576"
"""Where the boot partition is in the image [bytes], as mtools write it."""
_PARTS = Path(sys.prefix) / "share" / "vmtui" / "guest" / "root"
_NIC = ("failover", "net_failover", "virtio_net")

SILENT = guest._INIT.replace("qemu-ga -m virtio-serial", "true -m virtio-serial")
"""An init that never starts the guest agent."""
ONLINE = guest._INIT.replace(
    'echo "vmtui-lab: ready"',
    r"""
for module in failover net_failover virtio_net; do insmod /lib/nic/$module.ko; done
ip link set lo up; ip link set eth0 up
cat >/tmp/leased <<'END'
#!/bin/sh
[ "$1" = bound ] && ip addr add $ip/24 dev eth0 && ip route add default via ${router:-10.0.2.2}
END
chmod +x /tmp/leased
udhcpc -i eth0 -n -q -t 20 -T 1 -s /tmp/leased
mkdir -p /tmp/www && echo hello >/tmp/www/health && httpd -p 80 -h /tmp/www
printf '#!/bin/sh\necho SSH-2.0-lab; sleep 1\n' >/tmp/banner && chmod +x /tmp/banner
nc -ll -p 22 -e /tmp/banner &
echo "vmtui-lab: online"
""",
)
"""An init that has a network, a web server and something that greets like an SSH server."""


def tries(port: int) -> str:
    """What a guest does to get out, over and over; goes before the end of an init.

    Args:
        port: Of the host's loopback address, which QEMU's user-mode network offers as 10.0.2.2.
    """
    return f"""
while :; do
    ping -c 1 -W 1 192.0.2.1; ping -c 1 -W 1 10.0.2.2; arping -c 1 -w 1 -I eth0 10.0.2.77
    for address in 10.0.2.2 192.0.2.1 198.51.100.7; do
        echo out | nc -w 1 $address {port}
        timeout 2 tftp -g -r out -l /tmp/out $address {port}
    done
    nslookup example.org 10.0.2.3
    echo "vmtui-lab: tried"
done >/dev/console 2>&1
"""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a capture."""

    from_guest: bool
    kind: str
    """arp, icmp, udp, dhcp, tcp, reset, ipv6, other."""
    source: str
    target: str


def frames(path: Path) -> list[Frame]:
    """All frames of a capture, read here without the code under test."""
    data = path.read_bytes()
    assert struct.unpack_from("<I", data)[0] == 0xA1B2C3D4
    found = []
    place = 24
    while place < len(data):
        length = struct.unpack_from("<I", data, place + 8)[0]
        found.append(_frame(data[place + 16 : place + 16 + length]))
        place += 16 + length
    return found


def _frame(raw: bytes) -> Frame:
    from_guest = raw[6:9] == b"\x52\x54\x00"
    kind = int.from_bytes(raw[12:14], "big")
    if kind == 0x0806:
        return Frame(from_guest, "arp", socket.inet_ntoa(raw[28:32]), socket.inet_ntoa(raw[38:42]))
    if kind != 0x0800:
        return Frame(from_guest, "ipv6" if kind == 0x86DD else "other", "", "")
    source, target = socket.inet_ntoa(raw[26:30]), socket.inet_ntoa(raw[30:34])
    above = 14 + 4 * (raw[14] & 15)
    name = {1: "icmp", 6: "tcp", 17: "udp"}.get(raw[23], "other")
    if name == "udp" and 67 in struct.unpack_from(">HH", raw, above):
        name = "dhcp"
    if name == "tcp" and raw[above + 13] & 4 and not from_guest:
        name = "reset"
    return Frame(from_guest, name, source, target)


class Guest:
    """A real guest on a site, defined and off, with its own boot partition.

    Args:
        site: Where.
        append: Added to the kernel's command line.
        init: Takes the place of the lab's; it may use the drivers of a network card.
        after: What the init does besides, in the background.
    """

    def __init__(self, site: Site, *, append: str = "", init: str = "", after: str = "") -> None:
        self.site = site
        self.name = f"g-{uuid.uuid4().hex[:6]}"
        self.image = site.images / f"{self.name}.qcow2"
        raw = site.images / f"{self.name}.raw"
        subprocess.run(["cp", "--sparse=always", str(template_path(sys.prefix)), str(raw)], check=True)
        _change_boot(raw, append, init.replace("\nwait\n", f"\n{{ {after}\n}} &\nwait\n") if after else init)
        subprocess.run(
            ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", "compat=1.1", str(raw), str(self.image)],
            check=True,
        )
        raw.unlink()
        site.own(self.image)
        site.virsh("define", "/dev/stdin", stdin=domain_xml(self.name, [("vda", "qcow2", self.image)]))

    @property
    def path(self) -> str:
        return f"{self.site.name}/{self.name}"

    def remove(self) -> None:
        """Take it away; safe to repeat."""
        self.site.virsh("destroy", self.name, check=False)
        self.site.virsh("undefine", self.name, "--checkpoints-metadata", check=False)
        self.image.unlink(missing_ok=True)

    def definition(self) -> str:
        return self.site.virsh("dumpxml", "--inactive", self.name)


def _change_boot(raw: Path, append: str, init: str) -> None:
    settings = guest._SYSLINUX
    if init:
        settings = settings.replace("INITRD initrd.gz", "INITRD initrd.gz,more.gz")
        more = guest._Cpio()
        for name in _NIC:
            module = next(_PARTS.glob(f"**/kernel/**/{name}.ko*"))
            assert module.suffix == ".ko"
            more.file(f"lib/nic/{name}.ko", module.read_bytes(), mode=0o644)
        more.file("init", init.encode())
        _put(raw, "more.gz", gzip.compress(more.finish()))
    _put(raw, "syslinux.cfg", settings.replace(" quiet ", f" quiet {append} ").encode())


def _put(raw: Path, name: str, data: bytes) -> None:
    """Write a file into the boot partition."""
    temporary = raw.with_name(f"{raw.name}.{name}")
    temporary.write_bytes(data)
    environment = {"MTOOLS_SKIP_CHECK": "1", "PATH": "/usr/bin:/bin"}
    mcopy = _PARTS / "usr" / "bin" / "mcopy"
    subprocess.run([str(mcopy), "-o", "-i", f"{raw}{_BOOT}", str(temporary), f"::{name}"], check=True, env=environment)
    temporary.unlink()


def throw_away(site: Site, job: str = "") -> list[str]:
    """Everything that rehearsals have made on a site: VMs, folders, firmware variables, logs; and one job's sockets."""
    found = [name for name in site.domains() if name.startswith("vmtui-rehearsal-")]
    found += [str(path) for path in site.folder.rglob("*vmtui-rehearsal-*")]
    return found + ([str(path) for path in Path("/tmp").glob(f"vmtui-{job}-*")] if job else [])
