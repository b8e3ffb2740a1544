"""Real guests for rehearsals: their boot partition says what they do, and a capture of their network is read here anew."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

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


class Guest:
    """A real guest on a site, defined and off, with its own boot partition.

    Args:
        site: Where.
        append: Added to the kernel's command line.
        init: Takes the place of the lab's; it may use the drivers of a network card.
    """

    def __init__(self, site: Site, *, append: str = "", init: str = "") -> None:
        self.site = site
        self.name = f"g-{uuid.uuid4().hex[:6]}"
        self.image = site.images / f"{self.name}.qcow2"
        raw = site.images / f"{self.name}.raw"
        subprocess.run(["cp", "--sparse=always", str(template_path(sys.prefix)), str(raw)], check=True)
        _change_boot(raw, append, init)
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", "compat=1.1", str(raw), str(self.image)], check=True)
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
        _put(raw, "more.gz", __import__("gzip").compress(more.finish()))
    _put(raw, "syslinux.cfg", settings.replace(" quiet ", f" quiet {append} ").encode())


def _put(raw: Path, name: str, data: bytes) -> None:
    """Write a file into the boot partition."""
    temporary = raw.with_name(f"{raw.name}.{name}")
    temporary.write_bytes(data)
    environment = {"MTOOLS_SKIP_CHECK": "1", "PATH": "/usr/bin:/bin"}
    mcopy = _PARTS / "usr" / "bin" / "mcopy"
    subprocess.run([str(mcopy), "-o", "-i", f"{raw}{_BOOT}", str(temporary), f"::{name}"], check=True, env=environment)
    temporary.unlink()


def throw_away(site: Site) -> list[str]:
    """Everything that rehearsals have made on a site: VMs, folders, sockets, firmware variables, TPM states."""
    found = [name for name in site.domains() if name.startswith("vmtui-rehearsal-")]
    found += [str(path) for path in site.folder.rglob("*vmtui-rehearsal-*")]
    return found + [str(path) for path in Path("/tmp").glob("vmtui-*/console")]
