"""Brings a VM back in place by what differs and whole, in turns, and prints medians and ratios.

    script/setup && .venv/bin/python benchmarks/in_place.py [--rounds 5] [--size-gib 4] [--changed-mib 64]

The VM is off; its disk holds incompressible data. Each restore is the operator's whole command, reading back
included, and is undone before the next, which is timed as well: it copies the old disk after the short way.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from vmtui.lab import LabInfo, down, up
from vmtui.lab.account import Account, lab_account

MIB = 1 << 20
_PIECE = 4 * MIB
_VM = "inplace"
_DOMAIN = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{path}'/><target dev='vda' bus='virtio'/></disk>
<memballoon model='none'/></devices></domain>"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size-gib", type=int, default=4)
    parser.add_argument("--changed-mib", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vmtui-bench-") as folder:
        lab = up(Path(folder) / "lab", wanted=())
        try:
            measure(lab, lab_account(), Path(folder), options)
        finally:
            down(Path(folder) / "lab")


def measure(lab: LabInfo, account: Account, folder: Path, options: argparse.Namespace) -> None:
    """Make the VM, its point and its changes; then restore and undo in turns."""
    site = next(site for site in lab.sites if site.name == "north")
    image = Path(site.images) / f"{_VM}.qcow2"
    size = options.size_gib << 30
    qemu_img("create", "-f", "qcow2", str(image), str(size))
    os.chown(image, account.uid, account.gid)
    subprocess.run(
        ["virsh", "-c", site.uri, "define", "/dev/stdin"],
        input=_DOMAIN.format(name=_VM, path=image), text=True, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    write(image, range(0, size, 8 * MIB), 1)
    vmtui(lab, "repo", "init", check=False)
    point = vmtui(lab, "backup", f"north/{_VM}")["point"]
    every = size // (options.changed_mib * MIB // _PIECE)
    write(image, range(0, size - _PIECE, every), 2)
    times: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for name, words in (("what differs", ()), ("whole", ("--whole",))):
            began = time.monotonic()
            done = vmtui(lab, "restore", point, "--in-place", "--yes", *words)
            restored = time.monotonic()
            vmtui(lab, "revert", f"north/{_VM}", "--yes")
            times.setdefault(name, []).append(restored - began)
            times.setdefault(f"undo {name}", []).append(time.monotonic() - restored)
            print(f"{name}: {done['bytes'] / MIB:.0f} MiB written, {restored - began:.2f} s", flush=True)
            for path in image.parent.glob(f"{_VM}*.reverted-*"):
                path.unlink()
    for name, found in times.items():
        print(f"{name:20} median {statistics.median(found):6.2f} s  {min(found):.2f} to {max(found):.2f}")
    ratio = statistics.median(times["what differs"]) / statistics.median(times["whole"])
    print(f"what differs takes {ratio:.2f} of the whole way")
    print(f"({folder}, {os.cpu_count()} cores, {options.rounds} rounds)")


def write(image: Path, offsets: range, seed: int) -> None:
    """Write incompressible pieces to an image at rest."""
    dice = random.Random(seed)
    for offset in offsets:
        with tempfile.NamedTemporaryFile() as file:
            file.write(dice.randbytes(_PIECE))
            file.flush()
            command = f"write -q -s {file.name} {offset} {_PIECE}"
            subprocess.run(["qemu-io", "-f", "qcow2", "-c", command, str(image)], check=True)


def qemu_img(*arguments: str) -> None:
    """Run qemu-img."""
    subprocess.run(["qemu-img", *arguments], check=True, stdout=subprocess.DEVNULL)


def vmtui(lab: LabInfo, *arguments: str, check: bool = True) -> Any:
    """Run the program and give its document."""
    argv = [sys.executable, "-m", "vmtui", "--config", lab.config, *arguments, "--json"]
    answer = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if check and answer.returncode != 0:
        raise SystemExit(f"{arguments}: {answer.stderr}")
    return json.loads(answer.stdout) if answer.stdout.strip().startswith("{") else None


if __name__ == "__main__":
    main()
