"""The story of `script/demo`: real VMs, a real loss, and proof from outside that what came back is what was there.

Everything is done through the `vmtui` command line. What was there is copied by QEMU's own tool from
the frozen view while the backup holds it; what came back is read by the same tool and compared byte by byte.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

VM = "web1"
NOTE = "written by the guest a moment before the second backup"
_WAIT_S = 240.0
_CHUNK = 1 << 20


class StoryError(Exception):
    """The story did not go as it should."""


def say(text: str = "") -> None:
    """Tell a paragraph."""
    print(textwrap.fill(text, 100) if text else "", flush=True)


def headline(number: int, text: str) -> None:
    """Begin a chapter."""
    print(f"\n--- {number}. {text} " + "-" * max(0, 92 - len(text)), flush=True)


class Story:
    """One telling.

    Args:
        root: Folder of the lab.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lab: dict[str, Any] = {}
        self.config = root / "config.toml"
        self.hold = root / "hold"
        self.evidence: list[tuple[str, str]] = []

    # -- tools -----------------------------------------------------------------------------------

    def vmtui(self, *arguments: str, show: bool = True) -> str:
        """Run vmtui; its narration and, unless it is JSON, its answer are shown."""
        argv = [sys.executable, "-m", "vmtui", "--config", str(self.config), *arguments]
        if show:
            print(f"\n  $ vmtui {' '.join(arguments)}", flush=True)
        answer = subprocess.run(
            argv, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL, env=self.environment()
        )
        if show and "--json" not in arguments:
            print(textwrap.indent(answer.stdout, "  "), end="", flush=True)
        if answer.returncode != 0:
            raise StoryError(f"vmtui {' '.join(arguments)} ended with {answer.returncode}")
        return answer.stdout

    def environment(self) -> dict[str, str]:
        """The worker waits at the start of each transfer while the hold file is there."""
        return os.environ | {"VMTUI_FAILPOINT": f"backup.transfer=hold:{self.hold}"}

    def site(self, name: str) -> dict[str, Any]:
        """A site of the lab."""
        return next(site for site in self.lab["sites"] if site["name"] == name)

    def virsh(self, site: str, *arguments: str) -> str:
        """Run virsh on a site, as an administrator would."""
        argv = ["virsh", "-q", "-c", self.site(site)["uri"], *arguments]
        answer = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
        if answer.returncode != 0:
            raise StoryError(f"virsh {arguments[0]}: {answer.stderr.strip()}")
        return answer.stdout

    def guest(self, site: str, vm: str, script: str) -> str:
        """Run a shell script inside a guest, through its agent."""

        def agent(command: str, **arguments: Any) -> Any:
            request = json.dumps({"execute": command, "arguments": arguments})
            return json.loads(self.virsh(site, "qemu-agent-command", vm, request))["return"]

        pid = agent("guest-exec", path="/bin/sh", arg=["-c", script], **{"capture-output": True})["pid"]
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            status = agent("guest-exec-status", pid=pid)
            if status["exited"]:
                return base64.b64decode(status.get("out-data", "")).decode().strip()
            time.sleep(0.1)
        raise StoryError("the guest did not answer")

    # -- the chapters ----------------------------------------------------------------------------

    def tell(self) -> None:
        """Tell it from the beginning to the end."""
        self.practice_site()
        self.first_backup()
        point, witness = self.second_backup()
        self.disaster()
        self.restore(point, witness)
        self.conclusion()

    def practice_site(self) -> None:
        """Chapter 1."""
        headline(1, "A practice site")
        say(
            "Two hosts, north and south, each with its own libvirt and its own SSH server, and small Linux VMs under "
            "plain emulation. A program inside each VM writes to its disk all the time, as a real one would."
        )
        started = time.monotonic()
        out = self.vmtui("lab", "up", "--root", str(self.root), "--json", show=False)
        self.lab = json.loads(out)
        say(f"The site is up after {time.monotonic() - started:.0f} s. Nobody has backed anything up yet:")
        self.vmtui("vms")

    def first_backup(self) -> None:
        """Chapter 2."""
        headline(2, "A full backup of a running VM, over SSH")
        say(
            f"The guest's file systems are frozen for a moment, QEMU is asked for a frozen view of the disk, and they are "
            f"thawed again: {VM} goes on while the view is read. Everything travels inside one SSH login."
        )
        result = json.loads(self.vmtui("backup", f"north/{VM}", "--json"))
        disk = result["disks"][0]
        say(
            f"Point {result['point']}: consistency {result['consistency']}, the guest stood still for {result['frozen_ms']} ms, "
            f"{disk['read_bytes'] / 2**20:.1f} MiB were read, {disk['stored_bytes'] / 2**20:.1f} MiB stored."
        )

    def second_backup(self) -> tuple[str, Path]:
        """Chapter 3; gives the point and the witness."""
        headline(3, "A second backup: only what changed")
        self.guest("north", VM, f"echo '{NOTE}' >/data/note; sync")
        say(
            "QEMU has kept a list of the blocks that were written since (a dirty bitmap), so only those are read. While the "
            "backup holds its frozen view, QEMU's own qemu-img copies the whole view to a file. That copy is our witness."
        )
        self.hold.touch()
        argv = [sys.executable, "-m", "vmtui", "--config", str(self.config), "backup", f"north/{VM}", "--json"]
        print(f"\n  $ vmtui backup north/{VM} --json", flush=True)
        backup = subprocess.Popen(
            argv, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL, env=self.environment()
        )
        try:
            witness = self.take_witness(backup)
        finally:
            self.hold.unlink(missing_ok=True)
        out, _ = backup.communicate(timeout=_WAIT_S)
        if backup.returncode != 0:
            raise StoryError(f"the second backup ended with {backup.returncode}")
        result = json.loads(out)
        disk = result["disks"][0]
        say(
            f"Point {result['point']}: {disk['kind']}, {disk['read_bytes'] / 2**20:.1f} MiB read, "
            f"{disk['stored_bytes'] / 2**20:.1f} MiB stored, in {result['seconds']:.1f} s."
        )
        self.evidence.append(("point", f"{result['point']}, {result['mode']}, {disk['kind']}, {result['consistency']}"))
        self.vmtui("points", f"north/{VM}")
        return result["point"], witness

    def take_witness(self, backup: subprocess.Popen[str]) -> Path:
        """Copy the frozen view, with QEMU's tool, from the socket that the backup job serves."""
        deadline = time.monotonic() + _WAIT_S
        reached = self.hold.with_name(self.hold.name + ".reached")
        while not reached.exists():
            if time.monotonic() > deadline or backup.poll() is not None:
                raise StoryError("the backup did not come to its frozen view")
            time.sleep(0.05)
        reached.unlink()
        description = self.virsh("north", "backup-dumpxml", VM)
        server = ElementTree.fromstring(description).find("server")  # noqa: S314  # our own site's
        if server is None:
            raise StoryError("libvirt shows no frozen view")
        witness = self.root / "witness.raw"
        export = f"nbd+unix:///vda?socket={server.get('socket')}"
        subprocess.run(
            ["qemu-img", "convert", "-f", "raw", "-O", "raw", export, str(witness)], check=True, timeout=_WAIT_S
        )
        return witness

    def disaster(self) -> None:
        """Chapter 4."""
        headline(4, "The disaster")
        say(f"{VM} is powered off hard, its definition is removed, and its disk is deleted.")
        domain = ElementTree.fromstring(self.virsh("north", "dumpxml", VM))  # noqa: S314  # our own site's
        source = domain.find("./devices/disk/source")
        path = Path(str(source.get("file") if source is not None else ""))
        print(f"\n  $ virsh destroy {VM}; virsh undefine {VM}; rm {path.name}", flush=True)
        self.virsh("north", "destroy", VM)
        self.virsh("north", "undefine", VM, "--checkpoints-metadata")
        path.unlink()
        say("The VM is gone. Its restore points are not:")
        self.vmtui("vms")

    def restore(self, point: str, witness: Path) -> None:
        """Chapter 5."""
        headline(5, "Bringing it back, on the other host")
        say("First the plan: what would be done, and whether everything that it needs is there. Nothing is changed.")
        self.vmtui("restore", point, "--to", "south", "--plan")
        say("Now in earnest. Each block is checked against its hash as it is written, and again as it is read back.")
        result = json.loads(self.vmtui("restore", point, "--to", "south", "--json"))
        self.evidence.append(
            ("restore", f"{result['bytes'] / 2**20:.1f} MiB to south/{result['vm']} in {result['seconds']:.1f} s")
        )
        failed = [check for check in result["checks"] if check["ok"] is False]
        if failed:
            raise StoryError(f"checks failed: {failed}")
        self.compare(result["vm"], witness)
        self.boot(result["vm"])

    def compare(self, vm: str, witness: Path) -> None:
        """Compare the restored disk with the witness, byte by byte, outside of vmtui."""
        say("Is it really the same? The restored disk is read by qemu-img and compared with the witness, byte by byte.")
        domain = ElementTree.fromstring(self.virsh("south", "dumpxml", vm))  # noqa: S314  # our own site's
        source = domain.find("./devices/disk/source")
        path = str(source.get("file") if source is not None else "")
        restored = self.root / "restored.raw"
        subprocess.run(
            ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, str(restored)], check=True, timeout=_WAIT_S
        )
        sizes = (witness.stat().st_size, restored.stat().st_size)
        hashes = (sha256(witness), sha256(restored))
        different = first_difference(witness, restored)
        print(f"\n  witness   {sizes[0]} bytes  sha256 {hashes[0]}", flush=True)
        print(f"  restored  {sizes[1]} bytes  sha256 {hashes[1]}", flush=True)
        if different is not None or sizes[0] != sizes[1] or hashes[0] != hashes[1]:
            raise StoryError(f"the restored disk DIFFERS from the frozen view, first at byte {different}")
        print(f"  identical: all {sizes[0]} bytes\n", flush=True)
        self.evidence.append(("compared", f"{sizes[0]} bytes of the restored disk with the frozen view: identical"))
        self.evidence.append(("sha256", hashes[0]))

    def boot(self, vm: str) -> None:
        """Start the restored VM and ask its agent."""
        say("Does it boot? It is started, and its guest agent is asked for the note that the lost VM had written.")
        started = time.monotonic()
        self.virsh("south", "start", vm)
        while True:
            try:
                note = self.guest("south", vm, "cat /data/note")
                break
            except StoryError:
                if time.monotonic() - started > _WAIT_S:
                    raise
                time.sleep(0.3)
        if note != NOTE:
            raise StoryError(f"the restored guest's note is {note!r}")
        seconds = time.monotonic() - started
        print(f"\n  the guest agent answered after {seconds:.1f} s; the note says: {note}", flush=True)
        self.evidence.append(
            ("booted", f"guest agent of south/{vm} answered after {seconds:.1f} s, and the note is there")
        )

    def conclusion(self) -> None:
        """Chapter 6."""
        headline(6, "Evidence")
        for what, fact in self.evidence:
            print(f"  {what:10} {fact}", flush=True)
        say()

    def down(self) -> None:
        """Clear everything away."""
        argv = [sys.executable, "-m", "vmtui", "lab", "down", "--root", str(self.root)]
        subprocess.run(argv, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=True)


def sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_difference(one: Path, other: Path) -> int | None:
    """Offset of the first byte that differs; None when there is none."""
    position = 0
    with one.open("rb") as left, other.open("rb") as right:
        while True:
            a, b = left.read(_CHUNK), right.read(_CHUNK)
            if a != b:
                return position + next(
                    (i for i, pair in enumerate(zip(a, b, strict=False)) if pair[0] != pair[1]), min(len(a), len(b))
                )
            if not a:
                return None
            position += len(a)


def main(arguments: Sequence[str]) -> int:
    """Tell the story; gives the exit code."""
    parser = argparse.ArgumentParser(prog="script/demo", description="Back up, lose and restore a practice VM.")
    parser.add_argument("--headless", action="store_true", help="clear everything away at the end")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    root = Path(tempfile.mkdtemp(prefix="vmtui-demo-"))
    story = Story(root)
    keep = False
    try:
        story.tell()
        keep = not options.headless
    except (StoryError, subprocess.SubprocessError, OSError) as error:
        print(f"\nThe story ended badly: {error}", file=sys.stderr, flush=True)
        return 1
    finally:
        if not keep:
            story.down()
            subprocess.run(["rm", "-rf", "--", str(root)], check=True)
    if keep:
        if sys.stdin.isatty() and sys.stdout.isatty():
            say("The screens open now on the practice site: ? shows the keys, q leaves them.")
            subprocess.run([sys.executable, "-m", "vmtui", "--config", story.config], check=False)
        say("The practice site is still up. Go on by hand:")
        print(f"\n  .venv/bin/vmtui --config {story.config}           # the screens")
        print(f"  .venv/bin/vmtui --config {story.config} vms")
        print(f"  .venv/bin/vmtui --config {story.config} backup north/db1")
        print(f"  .venv/bin/vmtui --config {story.config} restore north/db1@latest --to south --as db1-copy --plan")
        print(f"  .venv/bin/vmtui lab down --root {root}      # clears it away")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
