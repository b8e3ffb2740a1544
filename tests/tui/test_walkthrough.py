"""The walkthrough in the docs, followed key by key as it is written."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from tests.support.client import PROGRAM, Client, disk_images, remove_vm
from tests.support.site import Site
from tests.support.terminal import Terminal
from tests.support.vms import MIB, TestVm, assert_same, raw_copy

PAGE = Path(__file__).parents[2] / "docs" / "walkthrough-restore.md"
STEP = re.compile(r"^ ?\d+\. Press `(?P<key>[^`]+)`(?P<rest>.*?)You see `(?P<seen>[^`]+)`", re.DOTALL | re.MULTILINE)


def test_walkthrough(client: Client, new_vm: Callable[..., TestVm], south: Site, tmp_path: Path) -> None:
    vm = new_vm()
    vm.write(0x2A, 0, 3 * MIB)
    client.backup(vm)
    held = vm.contents(tmp_path / "held")
    steps = list(STEP.finditer(PAGE.read_text()))
    assert len(steps) == 12
    terminal = Terminal([*PROGRAM, "--config", str(client.config)])
    try:
        terminal.wait_for("live", "2 of 2 hosts answer")
        for step in steps:
            terminal.press(step["key"])
            if "type the VM's name" in step["rest"]:
                terminal.finish_filter(vm.name)
                terminal.wait_for_line(vm.name, "✓")
            terminal.wait_for(step["seen"])
        (name,) = {item for item in south.domains() if item.startswith(vm.name)}
    finally:
        terminal.close()
    try:
        (path, kind) = disk_images(south, name)["vda"]
        assert_same(raw_copy(path, kind, tmp_path), held["vda"])
    finally:
        remove_vm(south, name)


def test_every_picture_of_the_docs_is_there() -> None:
    root = PAGE.parents[1]
    for page in (PAGE, root / "README.md"):
        for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text()):
            assert (page.parent / picture).is_file(), picture
