"""A libvirtd that takes itself for root: it has network filters and bridges, in namespaces of its own.

An ordinary account's session daemon refuses to define filters and may make no bridge. In a user namespace the same
account is root over a network and mounts that nobody else sees, so nothing of the machine is touched.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.client import wait_until
from tests.support.site import Site

_START = r"""
set -e
folder=$1
mount -t tmpfs tmpfs /run
mkdir /run/libvirt
mount --bind "$folder/run" /run/libvirt
mount --bind "$folder/etc" /etc/libvirt
for name in lib cache log; do
    mount -t tmpfs tmpfs "/var/$name"  # a system without a system daemon has no libvirt folder in it
    mkdir "/var/$name/libvirt"
    mount --bind "$folder/$name" "/var/$name/libvirt"
done
mount --bind "$folder/passwd" /etc/passwd
mount --bind "$folder/group" /etc/group
ip link set lo up
exec /usr/sbin/libvirtd --timeout 0 -p "$folder/libvirtd.pid"
"""


@dataclass(frozen=True, slots=True)
class Privileged:
    """The daemon."""

    folder: Path

    @property
    def socket(self) -> Path:
        return self.folder / "run" / "libvirt-sock"

    def virsh(self, *arguments: str, stdin: str | None = None) -> str:
        """Run virsh against it; gives what it printed."""
        uri = f"qemu+unix:///system?socket={self.socket}"
        answer = subprocess.run(
            ["virsh", "-q", "-c", uri, *arguments], capture_output=True, text=True, input=stdin, timeout=60
        )
        assert answer.returncode == 0, f"virsh {' '.join(arguments)}: {answer.stderr}"
        return answer.stdout

    def define(self, verb: str, xml: str) -> None:
        """Define something."""
        self.virsh(verb, "/dev/stdin", stdin=xml)

    def names(self, verb: str) -> set[str]:
        """Names of networks or pools, by their listing verb."""
        return set(self.virsh(verb, "--all", "--name").split())

    def filters(self) -> set[str]:
        """Names of the network filters."""
        return {line.split()[1] for line in self.virsh("nwfilter-list").splitlines() if line.strip()}


@contextlib.contextmanager
def privileged(site: Site, name: str) -> Iterator[Privileged]:
    """Run one beside a site's own daemons, whose sshd leads to it.

    Args:
        site: Whose account it runs as.
        name: Of its folder below the site's.
    """
    daemon = Privileged(site.folder / name)
    daemon.folder.mkdir()
    for part in ("run", "etc", "lib", "cache", "log"):
        (daemon.folder / part).mkdir()
    (daemon.folder / "etc" / "libvirtd.conf").write_text(
        "".join(f'unix_sock_{kind}_perms = "0777"\nauth_unix_{kind} = "none"\n' for kind in ("ro", "rw"))
    )
    (daemon.folder / "etc" / "qemu.conf").write_text('user = "root"\ngroup = "root"\n')
    (daemon.folder / "passwd").write_text("root:x:0:0::/:/bin/sh\nlibvirt-qemu:x:0:0::/:/bin/sh\n")
    (daemon.folder / "group").write_text("root:x:0:\nkvm:x:0:\nlibvirt-qemu:x:0:\n")
    site.own(daemon.folder, *daemon.folder.rglob("*"))
    with (daemon.folder / "out.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *_as_account(site),
                "unshare",
                "--user",
                "--map-root-user",
                "--mount",
                "--net",
                "--propagation",
                "private",
                "--",
                "sh",
                "-c",
                _START,
                "start",
                str(daemon.folder),
            ],
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: _answers(daemon) or process.poll() is not None, 60, "the privileged libvirtd answered")
        assert process.poll() is None, (daemon.folder / "out.log").read_text()
        yield daemon
    finally:
        process.terminate()
        process.wait(20)


def _as_account(site: Site) -> list[str]:
    if os.getuid() != 0:
        return []
    entry = pwd.getpwnam(site.user)
    return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]


def _answers(daemon: Privileged) -> bool:
    if not daemon.socket.exists():
        return False
    uri = f"qemu+unix:///system?socket={daemon.socket}"
    return subprocess.run(["virsh", "-q", "-c", uri, "net-list"], capture_output=True, timeout=30).returncode == 0
