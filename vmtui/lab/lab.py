"""The whole lab: up, down, info."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tomli_w

from vmtui.lab import machines, processes, site
from vmtui.lab.account import Account, lab_account
from vmtui.lab.machines import Machine
from vmtui.lab.processes import Process
from vmtui.lab.site import Site
from vmtui.model.errors import UsageError

SITES = ("north", "south")
_RECORD = "lab.json"
_STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class SiteInfo:
    """What others need to know of a site."""

    name: str
    host: str
    """Its name in the configuration."""
    uri: str
    """For `virsh -c` on this machine."""
    ssh: str
    """ssh://user@address:port; the key is in the configuration."""
    images: str
    vms: list[str]


@dataclass(frozen=True, slots=True)
class LabInfo:
    """What others need to know of a running lab."""

    config: str
    root: str
    repository: str
    user: str
    sites: list[SiteInfo]


def default_root() -> Path:
    """Where the lab lives when nobody says."""
    return Path(tempfile.gettempdir()) / f"vmtui-lab-{os.getuid()}"


def up(
    root: Path, say: Callable[[str], None] = lambda _: None, wanted: Sequence[Machine] = machines.MACHINES
) -> LabInfo:
    """Start the lab; when it already runs, nothing happens.

    Args:
        root: Folder of the client's side; made if needed. What runs lives in a short folder of its own
            below the system's temporary folder, as paths of unix sockets are limited to 107 bytes.
        say: Gets a line for each step.
        wanted: The VMs to make.

    Raises:
        UsageError: Set-up has not run, or a daemon does not start.
    """
    root = root.absolute()
    template = machines.template_path(sys.prefix)
    with _locked(root):
        record = _Record.load(root)
        if record is not None:
            if record.running:
                return record.info()
            say("clearing away a lab that did not end well")
            _clear(root, record)
        return _start(root, template, wanted, say)


def _start(root: Path, template: Path, wanted: Sequence[Machine], say: Callable[[str], None]) -> LabInfo:
    account = lab_account()
    ground = Path(tempfile.mkdtemp(prefix="vl-"))
    ground.chmod(0o755)
    record = _Record(root, ground, account, [], [], list(wanted))
    record.save()
    try:
        key = _client_key(root)
        record.sites = [Site(name, ground / name, site.free_port(), account) for name in SITES]
        say("starting two sites, each with libvirt and sshd")
        for place in record.sites:
            site.create(place, key)
            record.daemons += site.start_libvirt(place)
            record.daemons.append(site.start_sshd(place))
            record.save()
        _write_client_files(root, record.sites)
        with ThreadPoolExecutor(len(record.sites)) as pool:
            list(pool.map(lambda place: _populate(place, record, template, say), record.sites))
    except BaseException:
        _clear(root, record)
        raise
    return record.info()


def _populate(place: Site, record: _Record, template: Path, say: Callable[[str], None]) -> None:
    site.wait_ready(place, record.daemons)
    site.virsh(place, "pool-define-as", site.POOL, "dir", "--target", str(place.images))
    site.virsh(place, "pool-start", site.POOL)
    site.virsh(place, "pool-autostart", site.POOL)
    own = [machine for machine in record.machines if machine.site == place.name]
    for machine in own:
        say(f"{place.name}: making {machine.name}")
        machines.create(place, machine, template)
    machines.wait_agents(place, [machine.name for machine in own if machine.running])
    site.virsh(place, "pool-refresh", site.POOL)
    say(f"{place.name}: all guests answer")


def down(root: Path) -> bool:
    """Stop the lab and remove every file of it. Safe to repeat.

    Returns:
        Whether there was one.
    """
    root = root.absolute()
    if not root.exists():
        return False
    with _locked(root):
        record = _Record.load(root)
        if record is not None:
            _clear(root, record)
    (root / ".lock").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        root.rmdir()  # only when nothing of anybody else is in it
    return record is not None


def info(root: Path) -> LabInfo:
    """The running lab.

    Raises:
        UsageError: There is none.
    """
    record = _Record.load(root.absolute())
    if record is None or not record.running:
        raise UsageError("LAB-BAD", f"No lab runs at {root}.", next_step="Run: vmtui lab up")
    return record.info()


# -- the record ----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Record:
    """What is on disk about a lab, so that another process can end it."""

    root: Path
    ground: Path
    account: Account
    sites: list[Site]
    daemons: list[Process]
    machines: list[Machine]

    @classmethod
    def load(cls, root: Path) -> _Record | None:
        path = root / _RECORD
        if not path.is_file():
            return None
        try:
            data: dict[str, Any] = json.loads(path.read_text())
            account = Account(**data["account"])
            sites = [Site(item["name"], Path(item["folder"]), item["port"], account) for item in data["sites"]]
            daemons = [Process(**item) for item in data["daemons"]]
            own = [Machine(**item) for item in data.get("machines", ())]
            return cls(root, Path(data["ground"]), account, sites, daemons, own)
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                "LAB-BAD", f"{path} is not a lab's record: {error}", next_step=f"Remove {root}."
            ) from error

    def save(self) -> None:
        data = {
            "ground": str(self.ground),
            "account": asdict(self.account),
            "sites": [{"name": item.name, "folder": str(item.folder), "port": item.port} for item in self.sites],
            "daemons": [asdict(item) for item in self.daemons],
            "machines": [asdict(item) for item in self.machines],
        }
        temporary = self.root / f"{_RECORD}.new"
        temporary.write_text(json.dumps(data, indent=1))
        temporary.replace(self.root / _RECORD)

    @property
    def running(self) -> bool:
        return bool(self.daemons) and all(process.alive for process in self.daemons)

    def info(self) -> LabInfo:
        return LabInfo(
            config=str(self.root / "config.toml"),
            root=str(self.root),
            repository=str(self.root / "repository"),
            user=self.account.name,
            sites=[
                SiteInfo(
                    name=place.name,
                    host=place.name,
                    uri=place.uri,
                    ssh=f"ssh://{self.account.name}@127.0.0.1:{place.port}",
                    images=str(place.images),
                    vms=[machine.name for machine in self.machines if machine.site == place.name],
                )
                for place in self.sites
            ],
        )


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """One `up` or `down` at a time."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# -- the client's side ---------------------------------------------------------------------------


def _client_key(root: Path) -> str:
    """Make the key that the lab's configuration logs in with; returns its public half."""
    key = root / "id_ed25519"
    key.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "vmtui lab", "-f", str(key)], check=True)
    return key.with_suffix(".pub").read_text()


def _write_client_files(root: Path, sites: list[Site]) -> None:
    """Configuration and accepted host keys, as an operator would have them."""
    known = [
        f"[127.0.0.1]:{place.port} {' '.join((place.folder / 'ssh' / 'host_key.pub').read_text().split()[:2])}\n"
        for place in sites
    ]
    (root / "known_hosts").write_text("".join(known))
    settings = {
        "repository": f"file://{root}/repository",
        "state": str(root / "state"),
        "known_hosts": str(root / "known_hosts"),
        "default_tier": "standard",
        "tiers": {"standard": {"rpo": "24h"}, "gold": {"rpo": "1h", "rto": "30m"}},
        "rules": [{"vm": "db*", "tier": "gold"}],
        "hosts": {
            place.name: {
                "address": "127.0.0.1",
                "port": place.port,
                "user": place.account.name,
                "key": str(root / "id_ed25519"),
                "uri": "qemu:///session",
            }
            for place in sites
        },
    }
    (root / "config.toml").write_text(tomli_w.dumps(settings))


def _clear(root: Path, record: _Record) -> None:
    """End everything that the record names and remove all files."""
    worker = _worker(root)
    if worker is not None:
        processes.stop([worker], _STOP_S)
    for place in record.sites:
        site.stop_guests(place)
    doomed = [process for daemon in record.daemons for process in (daemon, *processes.descendants(daemon))]
    processes.stop(doomed, _STOP_S)
    for place in record.sites:
        site.stop_guests(place)  # what libvirtd started between the two
    shutil.rmtree(record.ground, ignore_errors=True)
    for name in ("repository", "state"):
        shutil.rmtree(root / name, ignore_errors=True)
    for name in ("config.toml", "known_hosts", "id_ed25519", "id_ed25519.pub", f"{_RECORD}.new", _RECORD):
        (root / name).unlink(missing_ok=True)


def _worker(root: Path) -> Process | None:
    """The worker that serves the lab's configuration."""
    path = root / "state" / "worker.pid"
    return processes.naming(path.read_text(), root / "config.toml") if path.is_file() else None
