"""Backs up the same disk with vmtui, virtnbdbackup, qemu-img and zstd, in turns, and prints medians and ratios.

    script/setup && .venv/bin/python benchmarks/compare.py [--rounds 5] [--size-gib 4] [--block-size 64K …]

With several block sizes, each is a tool of its own: vmtui 64K, vmtui 128K, …

The disk holds real files, incompressible data and holes. vmtui works through SSH, with hashes,
deduplication, a durable repository and read-back; the others work locally. Each tool's whole command is
timed, as an operator would wait for it; zstd only packs the raw disk into a file, without reading it from
a running VM or keeping it in order. Timings of one run may be compared with each other, not with those of
another machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from vmtui.lab import LabInfo, down, up
from vmtui.lab.account import Account, lab_account
from vmtui.repository import DEFAULT_BLOCK_SIZE

T = TypeVar("T")

MIB = 1 << 20
_PIECE = 64 << 10
_CHANGED = 64 * MIB
_HOST = "north"
_VM = "bench"
_DEFAULT = str(DEFAULT_BLOCK_SIZE)
_ORDER = ("full", "incremental", "restore", "verify")


@dataclass
class Bench:
    """The lab, the VM and what was measured."""

    lab: LabInfo
    account: Account
    folder: Path
    times: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    """Seconds by (what, tool)."""
    stored: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    """Bytes by (what, tool)."""
    verified: list[float] = field(default_factory=list)
    """Unpacked bytes a second of each verification."""

    @property
    def raw(self) -> Path:
        """The disk's bytes as a raw file."""
        return self.folder / "disk.raw"

    @property
    def site(self) -> Path:
        """Folder of the site."""
        return Path(next(site.images for site in self.lab.sites if site.name == _HOST)).parent

    @property
    def uri(self) -> str:
        """The site's libvirt."""
        return next(site.uri for site in self.lab.sites if site.name == _HOST)

    @property
    def image(self) -> Path:
        """The disk."""
        return self.site / "images" / f"{_VM}.qcow2"

    def virsh(self, *arguments: str, stdin: str | None = None) -> str:
        """Run virsh on the site."""
        argv = ["virsh", "-q", "-c", self.uri, *arguments]
        return subprocess.run(argv, check=True, text=True, input=stdin, stdout=subprocess.PIPE).stdout

    def as_site(self, *argv: str) -> None:
        """Run a program as the account and with the environment of the site."""
        environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(self.site),
            "XDG_RUNTIME_DIR": str(self.site / "run"),
            "XDG_CONFIG_HOME": str(self.site / "cfg"),
            "XDG_CACHE_HOME": str(self.site / "cache"),
            "XDG_DATA_HOME": str(self.site / "data"),
        }
        command = self.account.command(argv, self.site / "etc")
        answer = subprocess.run(command, env=environment, cwd=self.site, capture_output=True, text=True)
        if answer.returncode:
            raise SystemExit(f"{' '.join(argv)} ended with {answer.returncode}:\n{answer.stdout}\n{answer.stderr}")

    def forget_checkpoints(self) -> None:
        """Each tool begins with a clean VM; virtnbdbackup refuses to work beside other checkpoints."""
        for name in self.virsh("checkpoint-list", _VM, "--name").split():
            self.virsh("checkpoint-delete", _VM, name)

    def vmtui(self, *arguments: str, config: Path) -> dict[str, Any]:
        """Run vmtui; gives its document."""
        argv = [sys.executable, "-m", "vmtui", "--config", str(config), "--quiet", "--json", *arguments]
        # An installed program has its bytecode, as the other tools have; the first call writes it.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        answer = subprocess.run(argv, env=environment, capture_output=True, text=True)
        if answer.returncode:
            raise SystemExit(
                f"vmtui {' '.join(arguments)} ended with {answer.returncode}:\n{answer.stdout}\n{answer.stderr}"
            )
        document: dict[str, Any] = json.loads(answer.stdout)
        return document

    def timed(self, what: str, tool: str, action: Callable[[], T]) -> T:
        """Measure one action; gives what it gave."""
        os.sync()
        started = time.monotonic()
        result = action()
        self.times.setdefault((what, tool), []).append(time.monotonic() - started)
        return result

    def own(self, path: Path) -> Path:
        """A folder that the site's account may write."""
        path.mkdir(parents=True, exist_ok=True)
        self.account.own(path)
        return path


def make_disk(bench: Bench, size: int) -> None:
    """Real files in a quarter of the disk, incompressible data in an eighth, holes elsewhere."""
    raw = bench.raw
    with raw.open("wb") as file:
        file.truncate(size)
        written = 0
        for path in real_files():
            data = path.read_bytes()[: size // 4 - written]
            file.write(data)
            written += len(data)
            if written >= size // 4:
                break
        file.seek(size // 2)
        for _ in range(size // 8 // MIB):
            file.write(random.randbytes(MIB))
    subprocess.run(["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", str(raw), str(bench.image)], check=True)
    bench.account.own(bench.image, 0o600)
    disk = (
        f"<disk type='file' device='disk'><driver name='qemu' type='qcow2' discard='unmap'/><source file='{bench.image}'/>"
        "<target dev='vda' bus='virtio'/></disk>"
    )
    bench.virsh(
        "define",
        "/dev/stdin",
        stdin=f"<domain type='qemu'><name>{_VM}</name><memory unit='MiB'>32</memory><os><type arch='x86_64' machine='q35'>hvm"
        f"</type></os><devices>{disk}<memballoon model='none'/></devices></domain>",
    )
    bench.virsh("start", _VM, "--paused")


def real_files() -> list[Path]:
    """Files of this system: programs, libraries, documents."""
    found = [path for path in Path("/usr").rglob("*") if path.is_file() and not path.is_symlink()]
    found.sort()
    random.Random(1).shuffle(found)  # the same order each time
    return found


def change_disk(bench: Bench, size: int) -> None:
    """64 MiB of random writes of 64 KiB each, through QEMU, as a guest would do them."""
    backend = "/machine/peripheral/virtio-disk0/virtio-backend"
    sources = bench.own(bench.site / "changes")
    lines = []
    for number, place in enumerate(random.sample(range(size // _PIECE), _CHANGED // _PIECE)):
        source = sources / str(number)
        source.write_bytes(random.randbytes(_PIECE))
        command = f'qemu-io -d {backend} "write -s {source} {place * _PIECE} {_PIECE}"'
        lines.append(f"qemu-monitor-command --hmp {_VM} '{command}'")
    bench.virsh(stdin="\n".join(lines) + "\nquit\n")
    shutil.rmtree(sources)


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


# -- the tools -----------------------------------------------------------------------------------


def round_vmtui(bench: Bench, number: int, size: int, block_size: str, tool: str) -> None:
    """One round of vmtui, with a repository of its own and its worker already running."""
    folder = bench.folder / f"vmtui{number}"
    config = folder / "config.toml"
    folder.mkdir()
    text = Path(bench.lab.config).read_text()
    text = text.replace(f"{bench.lab.root}/repository", f"{folder}/repository").replace(
        f"{bench.lab.root}/state", f"{folder}/state"
    )
    config.write_text(text)
    bench.vmtui("repo", "init", "--block-size", block_size, "--encryption", "no", config=config)
    bench.vmtui("verify", "--all", config=config)  # starts the worker
    bench.timed("full", tool, lambda: bench.vmtui("backup", f"{_HOST}/{_VM}", config=config))
    full = size_of(folder / "repository" / "packs")
    change_disk(bench, size)
    bench.timed("incremental", tool, lambda: bench.vmtui("backup", f"{_HOST}/{_VM}", config=config))
    bench.timed(
        "restore",
        tool,
        lambda: bench.vmtui("restore", f"{_VM}@latest", "--to", _HOST, "--as", f"r{number}", config=config),
    )
    verdict = bench.timed("verify", tool, lambda: bench.vmtui("verify", "--all", config=config))
    bench.verified.append(verdict["read_bytes"] / bench.times[("verify", tool)][-1])
    total = size_of(folder / "repository" / "packs")
    bench.stored.setdefault(("full", tool), []).append(full)
    bench.stored.setdefault(("incremental", tool), []).append(total - full)
    bench.virsh("undefine", f"r{number}")
    (bench.site / "images" / f"r{number}-vda.qcow2").unlink()
    bench.forget_checkpoints()
    os.kill(int((folder / "state" / "worker.pid").read_text()), 15)
    time.sleep(1)
    shutil.rmtree(folder)


def round_virtnbdbackup(bench: Bench, number: int, size: int, *, compress: bool) -> None:
    """One round of virtnbdbackup, locally on the host."""
    tool = "virtnbdbackup -z" if compress else "virtnbdbackup"
    folder = bench.own(bench.site / f"vnb{number}{'z' if compress else ''}")
    target, scratch, restored = (
        str(folder / "set"),
        str(bench.own(folder / "scratch")),
        str(bench.own(folder / "restored")),
    )
    options = ["-U", "qemu:///session", "-d", _VM, "-o", target, "-S", scratch, "-f", str(folder / "s"), "-n"]
    options += ["-z"] if compress else []
    bench.timed("full", tool, lambda: bench.as_site("virtnbdbackup", "-l", "full", *options))
    full = size_of(folder / "set")
    change_disk(bench, size)
    bench.timed("incremental", tool, lambda: bench.as_site("virtnbdbackup", "-l", "inc", *options))
    bench.stored.setdefault(("full", tool), []).append(full)
    bench.stored.setdefault(("incremental", tool), []).append(size_of(folder / "set") - full)
    bench.timed(
        "restore",
        tool,
        lambda: bench.as_site(
            "virtnbdrestore", "-U", "qemu:///session", "-i", target, "-o", restored, "-f", str(folder / "s"), "-n"
        ),
    )
    bench.forget_checkpoints()
    shutil.rmtree(folder)


def round_qemu_img(bench: Bench, number: int) -> None:
    """One round of qemu-img: the image as it lies there, compressed, and back."""
    packed, restored = bench.folder / f"packed{number}.qcow2", bench.folder / f"restored{number}.qcow2"
    convert = ["qemu-img", "convert", "-q", "-U", "-f", "qcow2", "-O", "qcow2"]
    bench.timed(
        "full",
        "qemu-img -c",
        lambda: subprocess.run([*convert, "-c", str(bench.image), str(packed)], check=True) and None,
    )
    bench.timed(
        "restore", "qemu-img -c", lambda: subprocess.run([*convert, str(packed), str(restored)], check=True) and None
    )
    bench.stored.setdefault(("full", "qemu-img -c"), []).append(packed.stat().st_size)
    packed.unlink()
    restored.unlink()


def round_zstd(bench: Bench, number: int) -> None:
    """One round of zstd over the raw disk as it was at first: the bound of what compression alone costs."""
    packed = bench.folder / f"packed{number}.zst"
    argv = ["zstd", "-q", "-1", "-T0", str(bench.raw), "-o", str(packed)]
    bench.timed("full", "zstd -1 -T0", lambda: subprocess.run(argv, check=True))
    bench.stored.setdefault(("full", "zstd -1 -T0"), []).append(packed.stat().st_size)
    packed.unlink()


# -- the table -----------------------------------------------------------------------------------


def report(bench: Bench, rounds: int, size: int) -> None:
    """Print medians, spreads and ratios."""
    ours = next(tool for _, tool in bench.times)
    print(
        f"\n{platform.machine()}, {os.cpu_count()} cores, {size / 2**30:g} GiB disk, {rounds} rounds, medians [s] (min to max)\n"
    )
    print(f"{'':14}{'tool':20}{'seconds':>10}{'spread':>18}{'vmtui / it':>12}{'stored MiB':>14}{'vmtui / it':>12}")
    for (what, tool), times in sorted(bench.times.items(), key=lambda item: _ORDER.index(item[0][0])):
        median = statistics.median(times)
        ratio = statistics.median(bench.times[(what, ours)]) / median
        line = f"{what:14}{tool:20}{median:10.2f}{f'{min(times):.2f} to {max(times):.2f}':>18}{ratio:12.2f}"
        if (what, tool) in bench.stored:
            stored = statistics.median(bench.stored[(what, tool)])
            line += f"{stored / MIB:14.1f}{statistics.median(bench.stored[(what, ours)]) / stored:12.2f}"
        print(line)
    print(
        f"\nverified {statistics.median(bench.verified) / 1e6:.0f} MB/s of unpacked data, by the whole command's time"
    )


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size-gib", type=float, default=4)
    parser.add_argument("--block-size", nargs="+", default=[""], help="sizes like 64K; the default is the program's")
    parser.add_argument("--alone", action="store_true", help="vmtui and zstd only")
    options = parser.parse_args()
    size = int(options.size_gib * 2**30) // MIB * MIB
    with tempfile.TemporaryDirectory(prefix="vmtui-bench-") as name:
        root = Path(name) / "lab"
        bench = Bench(up(root, wanted=()), lab_account(), Path(name))
        try:
            make_disk(bench, size)
            for number in range(options.rounds):
                print(f"round {number + 1}", flush=True)
                for wanted in options.block_size:
                    round_vmtui(bench, number, size, wanted or _DEFAULT, f"vmtui {wanted}".rstrip())
                round_zstd(bench, number)
                if options.alone:
                    continue
                round_virtnbdbackup(bench, number, size, compress=True)
                round_virtnbdbackup(bench, number, size, compress=False)
                round_qemu_img(bench, number)
            report(bench, options.rounds, size)
        finally:
            down(root)


if __name__ == "__main__":
    main()
