"""How much a second VM made from the same distribution image adds to a repository.

    .venv/bin/python benchmarks/second_vm.py [--size-gib 2]

The image is an ext4 file system with real programs and libraries of this system. The second VM is a copy of it
that has lived: other names and keys, logs, and a twentieth of its files replaced, as an upgrade does. Both are
backed up hot, over SSH.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import tempfile
from pathlib import Path

from compare import MIB, Bench, real_files

from vmtui.lab import down, up
from vmtui.lab.account import lab_account

_NEW_FILES = 200
_LOG = 16 * MIB


def make_image(raw: Path, tree: Path, size: int) -> list[Path]:
    """An ext4 image with real files in 60 % of it; gives their paths inside."""
    inside: list[Path] = []
    written = 0
    for path in real_files():
        target = tree / path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        inside.append(path)
        written += target.stat().st_size
        if written > size * 6 // 10:
            break
    with raw.open("wb") as file:
        file.truncate(size)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(raw)], check=True)
    return inside


def live(raw: Path, inside: list[Path], scratch: Path) -> None:
    """What sets a second VM apart: keys, logs, replaced files."""
    rng = random.Random(2)
    commands = []
    for number, path in enumerate(rng.sample(inside, min(len(inside) // 20, len(inside)))):
        new = scratch / f"r{number}"
        new.write_bytes(path.read_bytes()[::-1])
        commands += [f"rm {path}", f"write {new} {path}"]
    for number in range(_NEW_FILES):
        new = scratch / f"n{number}"
        new.write_bytes(rng.randbytes(rng.randrange(200, 20_000)))
        commands.append(f"write {new} /new-{number}")
    log = scratch / "log"
    log.write_text(
        "".join(
            f"Jan  1 00:00:{line % 60:02} host daemon[{line}]: event {rng.random()}\n" for line in range(_LOG // 56)
        )
    )
    commands.append(f"write {log} /messages")
    subprocess.run(
        ["debugfs", "-w", "-f", "/dev/stdin", str(raw)],
        input="\n".join(commands),
        text=True,
        check=True,
        capture_output=True,
    )
    subprocess.run(["e2fsck", "-fy", str(raw)], check=False, capture_output=True)


def define(bench: Bench, name: str, raw: Path) -> None:
    """A paused VM on a qcow2 copy of an image."""
    image = bench.site / "images" / f"{name}.qcow2"
    subprocess.run(["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", str(raw), str(image)], check=True)
    bench.account.own(image, 0o600)
    bench.virsh(
        "define",
        "/dev/stdin",
        stdin=f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory><os><type arch='x86_64' machine='q35'>hvm"
        f"</type></os><devices><disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{image}'/>"
        "<target dev='vda' bus='virtio'/></disk><memballoon model='none'/></devices></domain>",
    )
    bench.virsh("start", name, "--paused")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size-gib", type=float, default=2)
    size = int(parser.parse_args().size_gib * 2**30) // MIB * MIB
    with tempfile.TemporaryDirectory(prefix="vmtui-bench-") as name:
        folder, root = Path(name), Path(name) / "lab"
        (folder / "tree").mkdir()
        (folder / "scratch").mkdir()
        inside = make_image(folder / "one.raw", folder / "tree", size)
        shutil.copyfile(folder / "one.raw", folder / "two.raw")
        live(folder / "two.raw", inside, folder / "scratch")
        bench = Bench(up(root, wanted=()), lab_account(), folder)
        try:
            config = Path(bench.lab.config)
            bench.vmtui("repo", "init", "--encryption", "no", config=config)
            stored = {}
            for vm in ("one", "two"):
                define(bench, vm, folder / f"{vm}.raw")
                disk = bench.vmtui("backup", f"north/{vm}", config=config)["disks"][0]
                stored[vm] = disk
                print(
                    f"{vm}: read {disk['read_bytes'] / MIB:.1f} MiB, new {disk['new_bytes'] / MIB:.1f} MiB, stored {disk['stored_bytes'] / MIB:.1f} MiB"
                )
            print(
                f"the second stores {100 * stored['two']['stored_bytes'] / stored['one']['stored_bytes']:.1f} % of what the first did"
            )
        finally:
            down(root)


if __name__ == "__main__":
    main()
