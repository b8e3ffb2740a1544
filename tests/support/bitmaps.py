"""Dirty bitmaps as QEMU's own tools see them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.support.vms import TestVm


def bitmaps_at_rest(path: Path) -> set[str]:
    """Names of the dirty bitmaps in an image that nobody has open."""
    answer = subprocess.run(["qemu-img", "info", "--output=json", str(path)], capture_output=True, check=True)
    data = json.loads(answer.stdout)["format-specific"]["data"]
    return {item["name"] for item in data.get("bitmaps", ())}


def bitmaps_in_memory(vm: TestVm) -> set[str]:
    """Names of the dirty bitmaps that a running QEMU has."""
    answer = vm.site.virsh("qemu-monitor-command", vm.name, '{"execute":"query-named-block-nodes"}')
    nodes = json.loads(answer)["return"]
    return {item["name"] for node in nodes for item in node.get("dirty-bitmaps", ()) if "name" in item}


def edit_bitmap(path: Path, *arguments: str) -> None:
    """Run `qemu-img bitmap` on an image at rest."""
    subprocess.run(["qemu-img", "bitmap", *arguments[:1], str(path), *arguments[1:]], check=True)
