"""A further sshd on a site: with settings of its own, to be stopped and broken without touching the site's."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from tests.support.client import wait_until
from tests.support.site import Site
from vmtui.lab import processes
from vmtui.lab.account import lab_account
from vmtui.lab.processes import Process
from vmtui.lab.site import Site as LabSite
from vmtui.lab.site import free_port


class Sshd:
    """A running sshd.

    Args:
        port: Where it listens on the loopback.
        process: The listening process.
        config: Its configuration file.
    """

    def __init__(self, port: int, process: Process, config: Path) -> None:
        self.port = port
        self._process = process
        self.config = config

    def hang(self) -> None:
        """Connections are taken by the kernel, and nobody ever speaks."""
        self._process.kill(signal.SIGSTOP)

    def go_on(self) -> None:
        """Undo `hang`."""
        self._process.kill(signal.SIGCONT)

    def stop(self) -> None:
        """End it with its sessions; safe to repeat."""
        self.go_on()
        processes.stop([self._process, *processes.descendants(self._process)], 10)


@contextlib.contextmanager
def sshd(site: Site, *lines: str) -> Iterator[Sshd]:
    """Run an sshd with the site's settings, host key and account, and further lines before them.

    sshd takes the first value of a keyword, so these lines win.
    """
    port = free_port()
    place = LabSite(site.name, site.folder, port, lab_account())
    text = (site.folder / "ssh" / "sshd_config").read_text()
    text = re.sub(r"(?m)^(Port|PidFile) .*\n", "", text)
    config = site.folder / "ssh" / f"sshd_config_{port}"
    config.write_text("\n".join((f"Port {port}", f"PidFile {site.folder}/run/sshd-{port}.pid", *lines, text)))
    site.own(config)
    argv = place.account.command(["/usr/sbin/sshd", "-D", "-e", "-f", str(config)], site.folder / "etc")
    process = processes.start(argv, environment=place.environment, log=place.log(f"sshd-{port}"), cwd=site.folder)
    running = Sshd(port, process, config)
    try:
        wait_until(lambda: _answers(port), 30, "the start of sshd")
        yield running
    finally:
        running.stop()
        config.unlink()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
