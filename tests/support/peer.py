"""Debian's virtnbdbackup, run beside ours on the same VM as the account that the site runs as."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.vms import TestVm, digest, raw_copy


@dataclass(frozen=True, slots=True)
class Fact:
    """What the peer did; recorded, and never required to be wrong."""

    code: int
    identical: bool

    def __str__(self) -> str:
        return f"exit {self.code}, {'identical' if self.identical else 'not identical'}"


class Peer:
    """A backup set of one VM.

    Args:
        vm: Of which VM.
        folder: A folder on the site, owned by its account.
    """

    def __init__(self, vm: TestVm, folder: Path) -> None:
        self._vm = vm
        self._folder = folder
        self.set = folder / "set"

    def backup(self, level: str, *options: str, file_limit: int | None = None) -> int:
        """Make a backup; gives its exit code.

        Args:
            level: full, inc or auto.
            options: Further ones.
            file_limit: Largest file that it may write [bytes], as a full target.
        """
        limited = [] if file_limit is None else ["prlimit", f"--fsize={file_limit}"]
        scratch = ["-S", str(self._vm.site.images), "-f", str(self._folder / "s")]
        return self._run(
            *limited, "virtnbdbackup", "-l", level, "-d", self._vm.name, "-o", str(self.set), *scratch, *options
        )

    def restore(self, expected: Path, folder: Path, source: Path | None = None) -> Fact:
        """Restore the newest state and compare it."""
        target = self._folder / f"back-{len(list(self._folder.iterdir()))}"
        log = ["-L", str(self._folder / "log"), "-f", str(self._folder / "r")]
        code = self._run("virtnbdrestore", "-i", str(source or self.set), "-o", str(target), *log)
        images = list(target.glob("*.qcow2"))
        return Fact(code, len(images) == 1 and digest(raw_copy(images[0], "qcow2", folder)) == digest(expected))

    def _run(self, *command: str) -> int:
        site = self._vm.site
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "LANG": "C.UTF-8",
            "HOME": str(site.folder),
            "XDG_RUNTIME_DIR": str(site.folder / "run"),
            "XDG_CONFIG_HOME": str(site.folder / "cfg"),
            "XDG_CACHE_HOME": str(site.folder / "cache"),
        }
        account = pwd.getpwnam(site.user)
        dropped = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--"]
        answer = subprocess.run(
            [*(dropped if os.getuid() == 0 else []), *command, "-n", "-U", "qemu:///session"],
            env=environment,
            cwd=self._folder,
            capture_output=True,
            timeout=180,
        )
        return answer.returncode
