"""A site of the lab as tests use it: through virsh, and never through the code under test."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from vmtui.lab.lab import SiteInfo


@dataclass(frozen=True, slots=True)
class Site:
    """A running site."""

    info: SiteInfo
    user: str

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def images(self) -> Path:
        return Path(self.info.images)

    @property
    def folder(self) -> Path:
        """Everything of the site: run, cfg, log, images."""
        return self.images.parent

    @property
    def port(self) -> int:
        return int(self.info.ssh.rpartition(":")[2])

    def virsh(self, *arguments: str, check: bool = True, stdin: str | None = None, timeout: float = 60) -> str:
        """Run virsh on the site; gives what it printed."""
        answer = subprocess.run(
            ["virsh", "-q", "-c", self.info.uri, *arguments],
            capture_output=True,
            text=True,
            input=stdin,
            timeout=timeout,
        )
        if check:
            assert answer.returncode == 0, f"virsh {' '.join(arguments)}: {answer.stderr}"
        return answer.stdout

    def fails(self, *arguments: str) -> str:
        """Run virsh and expect a refusal; gives its words."""
        answer = subprocess.run(
            ["virsh", "-q", "-c", self.info.uri, *arguments], capture_output=True, text=True, timeout=60
        )
        assert answer.returncode != 0, f"virsh {' '.join(arguments)} was not refused"
        return answer.stderr

    def own(self, *paths: Path) -> None:
        """Give files that root made to the account that runs the site."""
        if os.getuid() == 0:
            for path in paths:
                shutil.chown(path, self.user)

    def domains(self) -> set[str]:
        """Names of all defined or running domains."""
        return set(self.virsh("list", "--all", "--name").split())

    def pid(self, name: str) -> int:
        """Process id of one of the site's daemons: libvirtd, sshd."""
        return int((self.folder / "run" / f"{name}.pid").read_text())
