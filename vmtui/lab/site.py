"""One site of the lab: a libvirtd with its virtlogd, and an sshd, as an ordinary account."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vmtui.lab import processes
from vmtui.lab.account import Account
from vmtui.lab.processes import Process
from vmtui.model.errors import UsageError

_START_S = 120.0
_STOP_S = 10.0
_SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server")
POOL = "images"


@dataclass(frozen=True, slots=True)
class Site:
    """Where a site's files are and how it is reached."""

    name: str
    folder: Path
    port: int
    account: Account

    @property
    def images(self) -> Path:
        """Folder of its disk images; also the pool `images`."""
        return self.folder / "images"

    @property
    def socket(self) -> Path:
        """libvirtd's socket."""
        return self.folder / "run" / "libvirt" / "libvirt-sock"

    @property
    def uri(self) -> str:
        """A URI that `virsh -c` takes on this machine."""
        return f"qemu+unix:///session?socket={self.socket}"

    @property
    def environment(self) -> Mapping[str, str]:
        """Environment of its daemons and logins."""
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "XDG_CONFIG_HOME": str(self.folder / "cfg"),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "XDG_DATA_HOME": str(self.folder / "data"),
        }

    def log(self, name: str) -> Path:
        """Log file of one of its daemons."""
        return self.folder / "log" / f"{name}.log"


def create(site: Site, authorized_key: str) -> None:
    """Lay out the folder of a site; nothing runs yet."""
    site.folder.mkdir()
    for name, mode in (
        ("run", 0o700),
        ("cfg", 0o700),
        ("cache", 0o755),
        ("data", 0o755),
        ("images", 0o755),
        ("log", 0o755),
        ("ssh", 0o755),
    ):
        folder = site.folder / name
        folder.mkdir()
        site.account.own(folder, mode)
    site.account.own(site.folder, 0o755)
    (site.folder / "etc").mkdir()
    site.account.write_accounts(site.folder / "etc", site.folder)
    ssh = site.folder / "ssh"
    key = ssh / "host_key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {site.name}", "-f", str(key)], check=True
    )
    (ssh / "authorized_keys").write_text(authorized_key)
    (ssh / "sshd_config").write_text(_sshd_config(site))
    for path in ssh.iterdir():
        site.account.own(path)


def _sshd_config(site: Site) -> str:
    sftp = next((path for path in _SFTP_SERVERS if os.access(path, os.X_OK)), "internal-sftp")
    variables = " ".join(f"{name}={value}" for name, value in site.environment.items() if name.startswith("XDG_"))
    return "\n".join(
        (
            f"Port {site.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {site.folder}/ssh/host_key",
            f"PidFile {site.folder}/run/sshd.pid",
            f"AuthorizedKeysFile {site.folder}/ssh/authorized_keys",
            "UsePAM no",
            "StrictModes no",
            "PrintMotd no",
            "PrintLastLog no",
            "MaxSessions 200",
            "MaxStartups 200",
            "StreamLocalBindUnlink yes",
            f"Subsystem sftp {sftp}",
            f"SetEnv {variables}",
            "",
        )
    )


def start_libvirt(site: Site) -> list[Process]:
    """Start virtlogd and libvirtd; does not wait for them."""
    started = []
    for name in ("virtlogd", "libvirtd"):
        program = _program(name)
        argv = site.account.command(
            [program, "--timeout", "0", "-p", f"{site.folder}/run/{name}.pid"], site.folder / "etc"
        )
        started.append(processes.start(argv, environment=site.environment, log=site.log(name), cwd=site.folder))
    return started


def start_sshd(site: Site) -> Process:
    """Start the sshd; does not wait for it."""
    argv = site.account.command(
        [_program("sshd"), "-D", "-e", "-f", f"{site.folder}/ssh/sshd_config"], site.folder / "etc"
    )
    return processes.start(argv, environment=site.environment, log=site.log("sshd"), cwd=site.folder)


def wait_ready(site: Site, daemons: list[Process]) -> None:
    """Wait until libvirtd and sshd answer.

    Raises:
        UsageError: A daemon ended, or they took too long.
    """
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if not all(process.alive for process in daemons):
            raise UsageError(
                "LAB-BAD", f"A daemon of the lab site {site.name} ended; its words are in {site.folder}/log."
            )
        if site.socket.exists() and _listens(site.port):
            return
        time.sleep(0.05)
    raise UsageError(
        "LAB-BAD", f"The lab site {site.name} did not answer within {_START_S:g} s; see {site.folder}/log."
    )


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def virsh(site: Site, *arguments: str, stdin: str = "", timeout: float = 60.0) -> str:
    """Run virsh on a site.

    Returns:
        What it printed.

    Raises:
        UsageError: It failed.
    """
    answer = subprocess.run(
        ["virsh", "-q", "-c", site.uri, *arguments], input=stdin, capture_output=True, text=True, timeout=timeout
    )
    if answer.returncode != 0:
        raise UsageError("LAB-BAD", f"virsh {arguments[0]} on {site.name}: {answer.stderr.strip()}")
    return answer.stdout


def stop_guests(site: Site) -> None:
    """End every QEMU process of the site, also those of VMs that others defined there."""
    marks = (site.folder / "run" / "libvirt" / "qemu" / "run").glob("*.pid")
    found = [processes.naming(path.read_text(), site.folder) for path in marks]
    guests = [process for process in found if process is not None]
    processes.stop(guests, _STOP_S)


def remove(site: Site) -> None:
    """Remove its files."""
    shutil.rmtree(site.folder, ignore_errors=True)


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _program(name: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        raise UsageError("LAB-NOT-READY", f"{name} is not installed.")
    return found
