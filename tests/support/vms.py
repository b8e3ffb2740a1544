"""Small VMs without a system inside: started paused, and written to through QEMU's monitor."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import signal
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests.support.site import Site

MIB = 1 << 20
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Spec:
    """A disk to make."""

    target: str = "vda"
    format: str = "qcow2"
    size: int = 64 * MIB
    options: str = ""
    """For qemu-img create -o."""
    driver: str = "discard='unmap'"
    """Further attributes of the driver element."""
    extra: str = ""
    """Further elements of the disk."""
    volume: bool = False
    """Named by pool and volume instead of by path."""


class TestVm:
    """A VM on a site.

    Args:
        site: Where.
        disks: What it is made of.
        name: Made up by default.
        extra: Further device XML.
    """

    __test__ = False

    def __init__(self, site: Site, disks: Sequence[Spec] = (Spec(),), name: str | None = None, extra: str = "") -> None:
        self.site = site
        self.name = name or f"t{next(_numbers)}-{uuid.uuid4().hex[:6]}"
        self.uuid = str(uuid.uuid4())
        self.specs = {spec.target: spec for spec in disks}
        self.paths: dict[str, Path] = {}
        for spec in disks:
            self._make(spec)
        self._extra = extra
        self._define()

    # -- life ------------------------------------------------------------------------------------

    def _define(self) -> None:
        disks = "".join(self.disk_xml(spec) for spec in self.specs.values())
        self.site.virsh(
            "define",
            "/dev/stdin",
            stdin=f"""<domain type='qemu'><name>{self.name}</name><uuid>{self.uuid}</uuid><memory unit='MiB'>32</memory>
            <os><type arch='x86_64' machine='q35'>hvm</type></os>
            <devices>{disks}{self._extra}<memballoon model='none'/></devices></domain>""",
        )

    def disk_xml(self, spec: Spec) -> str:
        path = self.paths[spec.target]
        source = f"<source file='{path}'/>"
        kind = "file"
        if spec.volume:
            kind, source = "volume", f"<source pool='images' volume='{path.name}'/>"
        return (
            f"<disk type='{kind}' device='disk'><driver name='qemu' type='{spec.format}' {spec.driver}/>{source}"
            f"<target dev='{spec.target}' bus='virtio'/>{spec.extra}</disk>"
        )

    def _make(self, spec: Spec) -> None:
        path = self.site.images / f"{self.name}-{spec.target}.{spec.format}"
        self.paths[spec.target] = path
        if spec.format == "raw":
            with path.open("wb") as file:
                file.truncate(spec.size)
        else:
            options = ["-o", spec.options] if spec.options else []
            subprocess.run(
                ["qemu-img", "create", "-q", "-f", spec.format, *options, str(path), str(spec.size)], check=True
            )
        self.site.own(path)
        if spec.volume:
            self.site.virsh("pool-refresh", "images")

    def start(self, *, paused: bool = True) -> None:
        self.site.virsh("start", self.name, *(["--paused"] if paused else []))

    def stop(self) -> None:
        """End QEMU so that it closes its images cleanly."""
        self.site.virsh("destroy", self.name, "--graceful")

    def kill(self) -> None:
        """End QEMU as a crash would."""
        os.kill(self.pid, signal.SIGKILL)
        while self.state != "shut off":
            pass

    def remove(self) -> None:
        """Take it away with its images; safe to repeat."""
        self.site.virsh("domjobabort", self.name, check=False)
        self.site.virsh("destroy", self.name, check=False)
        self.site.virsh("undefine", self.name, "--checkpoints-metadata", "--snapshots-metadata", check=False)
        for path in self.site.images.glob(f"{self.name}*"):
            path.unlink()

    @property
    def pid(self) -> int:
        return int((self.site.folder / "run" / "libvirt" / "qemu" / "run" / f"{self.name}.pid").read_text())

    @property
    def state(self) -> str:
        return self.site.virsh("domstate", self.name).strip()

    # -- disks -----------------------------------------------------------------------------------

    def attach(self, spec: Spec) -> None:
        """Add a disk to the running and the persistent definition."""
        self._make(spec)
        self.specs[spec.target] = spec
        scope = ["--persistent"] if self.state != "shut off" else ["--config"]
        self.site.virsh("attach-device", self.name, "/dev/stdin", *scope, stdin=self.disk_xml(spec))

    def detach(self, target: str) -> None:
        self.site.virsh("detach-disk", self.name, target, "--persistent" if self.state != "shut off" else "--config")
        del self.specs[target], self.paths[target]

    def monitor(self, command: str) -> str:
        return self.site.virsh("qemu-monitor-command", "--hmp", self.name, command)

    def io(self, command: str, target: str = "vda") -> None:
        """Run a qemu-io command on a disk of the running VM, as if the guest did it."""
        alias = self._alias(target)
        said = self.monitor(f'qemu-io -d /machine/peripheral/{alias}/virtio-backend "{command}"')
        assert "rror" not in said and "failed" not in said and "onflict" not in said, said

    def _alias(self, target: str) -> str:
        root = ElementTree.fromstring(self.site.virsh("dumpxml", self.name))
        for disk in root.findall("./devices/disk"):
            place, alias = disk.find("target"), disk.find("alias")
            if place is not None and place.get("dev") == target and alias is not None:
                return str(alias.get("name"))
        raise AssertionError(f"no disk {target}")

    def write(self, pattern: int, offset: int, length: int, target: str = "vda") -> None:
        self.io(f"write -P {pattern:#x} {offset} {length}", target)

    def zero(self, offset: int, length: int, target: str = "vda", *, unmap: bool = False) -> None:
        self.io(f"write -z {'-u ' if unmap else ''}{offset} {length}", target)

    def discard(self, offset: int, length: int, target: str = "vda") -> None:
        self.io(f"discard {offset} {length}", target)

    # -- what must come back ---------------------------------------------------------------------

    def checkpoints(self) -> list[str]:
        return self.site.virsh("checkpoint-list", self.name, "--name").split()

    def job(self) -> str:
        """The running job's kind, or nothing."""
        line = self.site.virsh("domjobinfo", self.name, check=False).strip().splitlines()
        kind = line[0].split(":", 1)[1].strip() if line else "None"
        return "" if kind == "None" else kind

    def leftovers(self) -> list[str]:
        """Files of ours near the VM or its images."""
        found = [path.name for path in self.site.images.glob("*vmtui-*")]
        found += [str(path) for path in (self.site.folder / "cfg" / "libvirt" / "qemu" / "lib").glob("*/vmtui*")]
        return found

    def contents(self, folder: Path) -> dict[str, Path]:
        """Raw copies of all disks as they are now, made with QEMU's and libnbd's tools alone."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.state == "shut off":
            return {target: _converted(path, self.specs[target].format, folder) for target, path in self.paths.items()}
        with self._own_frozen_view() as socket:
            return {target: copy_export(socket, target, folder) for target in self.paths}

    @contextlib.contextmanager
    def _own_frozen_view(self) -> Iterator[Path]:
        """A pull backup of the test's own, through virsh."""
        token = uuid.uuid4().hex[:8]
        socket = self.site.folder / "run" / f"w{token}"
        disks = "".join(
            f"<disk name='{target}' backup='yes' type='file'><scratch file='{self.site.images}/witness-{token}-{target}'/></disk>"
            for target in self.paths
        )
        xml = f"<domainbackup mode='pull'><server transport='unix' socket='{socket}'/><disks>{disks}</disks></domainbackup>"
        description = self.site.folder / "run" / f"{token}.xml"
        description.write_text(xml)
        self.site.virsh("backup-begin", self.name, str(description))
        try:
            yield socket
        finally:
            self.site.virsh("domjobabort", self.name)
            description.unlink()
            while self.job():
                pass


def copy_export(socket: Path, export: str, folder: Path) -> Path:
    """Copy an NBD export to a raw file with libnbd's nbdcopy."""
    path = folder / f"{export}.raw"
    path.unlink(missing_ok=True)
    subprocess.run(["nbdcopy", f"nbd+unix:///{export}?socket={socket}", str(path)], check=True, timeout=300)
    return path


def _converted(source: Path, kind: str, folder: Path) -> Path:
    path = folder / f"{source.name}.raw"
    path.unlink(missing_ok=True)
    if kind == "raw":
        subprocess.run(["cp", "--sparse=always", str(source), str(path)], check=True)
    else:
        subprocess.run(
            ["qemu-img", "convert", "-f", kind, "-O", "raw", str(source), str(path)], check=True, timeout=300
        )
    return path


def raw_copy(source: Path, kind: str, folder: Path) -> Path:
    """A raw copy of an image at rest."""
    folder.mkdir(parents=True, exist_ok=True)
    return _converted(source, kind, folder)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def assert_same(mine: Path, theirs: Path) -> None:
    """Both files have the same length and the same bytes."""
    assert mine.stat().st_size == theirs.stat().st_size, f"{mine}: {mine.stat().st_size} != {theirs.stat().st_size}"
    answer = subprocess.run(["cmp", str(mine), str(theirs)], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout + answer.stderr
