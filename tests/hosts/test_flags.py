"""old_remote_new_library: no flag goes to a libvirtd that does not know it, however new the library here is."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import libvirt
import pytest

from vmtui.hosts import defining
from vmtui.hosts.domains import Domain
from vmtui.model.ids import VmId

OLDEST = 7_002_000
"""The first libvirt that makes incremental backups by itself; what every host is taken to know."""
SINCE = {
    "VIR_DOMAIN_AFFECT_CONFIG": 9_002,
    "VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK": 5_010_000,
    "VIR_DOMAIN_BLOCK_JOB_TYPE_PULL": 9_004,
    "VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE": 5_006_000,
    "VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE_VALIDATE": 6_010_000,
    "VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY": 5_006_000,
    "VIR_DOMAIN_CHECKPOINT_LIST_LEAVES": 5_006_000,
    "VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN": 5_006_000,
    "VIR_DOMAIN_CHECKPOINT_XML_SECURE": 5_006_000,
    "VIR_DOMAIN_CHECKPOINT_XML_SIZE": 5_006_000,
    "VIR_DOMAIN_DEFINE_VALIDATE": 1_002_012,
    "VIR_DOMAIN_GUEST_INFO_OS": 5_007_000,
    "VIR_DOMAIN_SAVE_IMAGE_XML_SECURE": 5_001_000,
    "VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN": 10_001,
    "VIR_DOMAIN_SHUTDOWN_GUEST_AGENT": 10_001,
    "VIR_DOMAIN_METADATA_ELEMENT": 9_010,
    "VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP": 8_003,
    "VIR_DOMAIN_START_AUTODESTROY": 9_003,
    "VIR_DOMAIN_START_PAUSED": 8_002,
    "VIR_DOMAIN_STATS_STATE": 1_002_008,
    "VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA": 5_006_000,
    "VIR_DOMAIN_UNDEFINE_KEEP_NVRAM": 2_003_000,
    "VIR_DOMAIN_UNDEFINE_KEEP_TPM": 8_009_000,
    "VIR_DOMAIN_XML_INACTIVE": 1,
    "VIR_DOMAIN_XML_SECURE": 1,
}
"""Flags that calls are made with, and the version that brought each [libvirt version number], from libvirt's reference."""
ANSWERS = (
    "VIR_ERR_",
    "VIR_CONNECT_LIST_",
    "VIR_NODE_MEMORY_STATS_",
    "VIR_DOMAIN_JOB_",
    "VIR_DOMAIN_DISK_ERROR_",
    "VIR_DOMAIN_PAUSED",
)
"""What is compared with answers, or older than anything."""
STATES = {
    f"VIR_DOMAIN_{state}"
    for state in ["BLOCKED", "CRASHED", "NOSTATE", "PMSUSPENDED", "RUNNING", "SHUTDOWN", "SHUTOFF"]
}
GUARDED = {"VIR_DOMAIN_UNDEFINE_KEEP_TPM"}
"""Given to newer hosts only; below each is tried against an old one."""


def used() -> set[str]:
    names = set()
    for path in Path(defining.__file__).parents[1].rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr.startswith("VIR_"):
                names.add(node.attr)
    return {name for name in names if not name.startswith(ANSWERS)} - STATES - {"VIR_DOMAIN_CRASHED_PANICKED"}


def test_every_flag_is_known_to_the_oldest_host_or_guarded() -> None:
    assert used() == SINCE.keys()
    assert {name for name, since in SINCE.items() if since > OLDEST} == GUARDED


class OldDomain:
    """A VM of a host whose libvirtd knows what its version knew."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.flags = 0

    def connect(self) -> Any:
        return SimpleNamespace(getLibVersion=lambda: self.version)

    def undefineFlags(self, flags: int) -> None:  # noqa: N802  # libvirt's name
        known = sum(
            int(getattr(libvirt, name))
            for name, since in SINCE.items()
            if name.startswith("VIR_DOMAIN_UNDEFINE_") and since <= self.version
        )
        if flags & ~known:
            raise libvirt.libvirtError(f"unsupported flags (0x{flags & ~known:x})")
        self.flags = flags


@pytest.mark.parametrize("version", [OLDEST, 8_000_000, 8_009_000, 12_000_000])
def test_old_remote_new_library(monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    domain = OldDomain(version)
    monkeypatch.setattr(Domain, "call", lambda _self, _doing, function: function(domain))
    session: Any = SimpleNamespace()
    defining.undefine(session, VmId("11111111-2222-3333-4444-555555555555"))
    assert domain.flags & libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
    assert bool(domain.flags & libvirt.VIR_DOMAIN_UNDEFINE_KEEP_TPM) == (
        version >= SINCE["VIR_DOMAIN_UNDEFINE_KEEP_TPM"]
    )
