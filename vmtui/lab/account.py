"""Running the lab as an ordinary account, also when root started it.

Root drops to `nobody` inside a private mount namespace in which that account has a home and a shell, so
that libvirtd and sshd accept it; no account is made or changed on the system.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vmtui.model.errors import UsageError

_DROPPED = "nobody"

_ENTER = r"""
mount --bind "$1/passwd" /etc/passwd || exit 1
[ ! -e /etc/nsswitch.conf ] || mount --bind "$1/nsswitch.conf" /etc/nsswitch.conf || exit 1
user=$2 group=$3
shift 3
exec setpriv --reuid="$user" --regid="$group" --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs -- "$@"
"""


@dataclass(frozen=True, slots=True)
class Account:
    """Whose processes and files the lab's sites are."""

    name: str
    uid: int
    gid: int
    dropped: bool
    """Root started the lab and runs it as somebody else."""

    def command(self, argv: Sequence[str], accounts: Path) -> list[str]:
        """A command line that runs `argv` as this account; its pid is that of the process started.

        Args:
            argv: The command.
            accounts: Folder that `write_accounts` filled.
        """
        if not self.dropped:
            return list(argv)
        enter = ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", _ENTER, "lab"]
        return [*enter, str(accounts), str(self.uid), str(self.gid), *argv]

    def write_accounts(self, accounts: Path, home: Path) -> None:
        """Write what the lab's processes see as the system's accounts: this one has a home and a shell."""
        if not self.dropped:
            return
        others = [line for line in Path("/etc/passwd").read_text().splitlines() if not line.startswith(f"{self.name}:")]
        # 'x' with no readable shadow entry: no password fits, and sshd does not take it for locked.
        others.append(f"{self.name}:x:{self.uid}:{self.gid}:vmtui lab:{home}:/bin/sh")
        (accounts / "passwd").write_text("\n".join(others) + "\n")
        # Without systemd's module, which answers for nobody that it is locked.
        (accounts / "nsswitch.conf").write_text("passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n")

    def own(self, path: Path, mode: int | None = None) -> None:
        """Give a file or folder to the account."""
        if mode is not None:
            path.chmod(mode)
        if self.dropped:
            os.chown(path, self.uid, self.gid)


def lab_account() -> Account:
    """The account of a lab that is started now.

    Raises:
        UsageError: Root started it, and the system has no account to drop to.
    """
    if os.getuid() != 0:
        entry = pwd.getpwuid(os.getuid())
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, dropped=False)
    try:
        entry = pwd.getpwnam(_DROPPED)
    except KeyError as error:
        raise UsageError("LAB-NOT-READY", f"This system has no account {_DROPPED!r} to run the lab as.") from error
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, dropped=True)
