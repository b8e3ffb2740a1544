"""How each disk is read, and why: every reason, from facts alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vmtui.backup.plan import BackupRequest, Parent, check_worth, effective_mode, plan_disks
from vmtui.jobs.world import utc_now
from vmtui.model.errors import RefusedError
from vmtui.model.ids import PointId, VmId
from vmtui.model.point import Checkpoint, DiskKind, FullReason, Mode, PointDisk, RestorePoint
from vmtui.model.vm import Disk, DiskFacts, DomainState, Image, VmFacts

DISK = Disk("vda", "disk", "virtio", "file", "qcow2", "/i/vda.qcow2")
IMAGE = Image("/i/vda.qcow2", "qcow2", 64 << 20, 1 << 20, "1.1")
HELD = PointDisk("vda", "qcow2", 64 << 20, "ab" * 32, DiskKind.FULL, None, 0, 0, 0, tracked=True, path="/i/vda.qcow2")


def facts(*disks: DiskFacts, **changes: Any) -> VmFacts:
    values: dict[str, Any] = {
        "host": "kvm1",
        "uuid": VmId("u"),
        "name": "web1",
        "state": DomainState.RUNNING,
        "persistent": True,
        "autostart": False,
        "managed_save": False,
        "disks": disks,
        "checkpoints": (),
        "agent_channel": "connected",
    }
    return VmFacts(**(values | changes))


def point(*disks: PointDisk, checkpoint: bool = True) -> RestorePoint:
    now = utc_now()
    return RestorePoint(
        id=PointId("0" * 16),
        repository="r",
        vm_uuid=VmId("u"),
        vm_name="web1",
        host="kvm1",
        time=now,
        mode=Mode.HOT,
        consistency="crash",  # type: ignore[arg-type]  # of no interest here
        consistency_reason="",
        disks=disks,
        left_out=(),
        files=(),
        xml_inactive="<domain/>",
        xml_live="",
        checkpoint=Checkpoint("c1", "<domaincheckpoint/>") if checkpoint else None,
        parent=None,
        job="j",  # type: ignore[arg-type]  # of no interest here
        autostart=False,
        frozen_ms=0,
        started=now,
        finished=now,
    )


GOOD = Parent(point(HELD), earlier=True, checkpoint_usable=True)


@pytest.mark.parametrize(
    ("disk", "image", "parent", "full", "reason"),
    [
        (DISK, IMAGE, GOOD, False, None),
        (DISK, IMAGE, Parent(None, earlier=False), False, FullReason.FIRST),
        (DISK, IMAGE, GOOD, True, FullReason.FORCED),
        (replace(DISK, format="raw"), replace(IMAGE, format="raw", compat=None), GOOD, False, FullReason.RAW),
        (DISK, replace(IMAGE, compat="0.10"), GOOD, False, FullReason.COMPAT),
        (DISK, IMAGE, replace(GOOD, point=point(replace(HELD, name="vdb"))), False, FullReason.ADDED),
        (DISK, IMAGE, replace(GOOD, checkpoint_usable=False), False, FullReason.BITMAP_LOST),
        (DISK, IMAGE, replace(GOOD, point=point(HELD, checkpoint=False)), False, FullReason.BITMAP_LOST),
        (DISK, IMAGE, replace(GOOD, point=point(replace(HELD, tracked=False))), False, FullReason.BITMAP_LOST),
        (DISK, replace(IMAGE, virtual_size=32 << 20), GOOD, False, FullReason.SHRUNK),
        (DISK, IMAGE, replace(GOOD, newer_damaged=True), False, FullReason.PARENT_GONE),
        (DISK, IMAGE, Parent(None, earlier=True), False, FullReason.PARENT_GONE),
        (replace(DISK, format="vmdk"), IMAGE, GOOD, False, FullReason.TRACKING_OFF),
        (DISK, None, GOOD, False, FullReason.TRACKING_OFF),
    ],
)
def test_reason(disk: Disk, image: Image | None, parent: Parent, full: bool, reason: FullReason | None) -> None:
    (plan,), left_out, _ = plan_disks(facts(DiskFacts(disk, image)), parent, Mode.HOT, full=full)
    assert plan.reason is reason
    assert plan.kind is (DiskKind.INCREMENTAL if reason is None else DiskKind.FULL)
    assert (plan.parent_root is not None) == (reason is None)
    assert left_out == []


def test_every_reason_but_the_sample_is_planned() -> None:
    """Whether the sample differs is only known while reading."""
    marks = next(mark for mark in test_reason.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]
    assert {row[4] for row in marks.args[1]} == {*FullReason, None} - {FullReason.SAMPLE_DIFFERS}


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (IMAGE, None),
        (replace(IMAGE, path="/i/overlay.qcow2"), FullReason.BITMAP_LOST),
        (replace(IMAGE, backing=("/i/base.qcow2",)), FullReason.BITMAP_LOST),
    ],
)
def test_at_rest_an_increment_needs_the_same_chain(image: Image, reason: FullReason | None) -> None:
    (plan,), _, _ = plan_disks(facts(DiskFacts(DISK, image), state=DomainState.SHUT_OFF), GOOD, Mode.COLD, full=False)
    assert plan.reason is reason


@pytest.mark.parametrize(
    ("disk", "mode", "word"),
    [
        (replace(DISK, device="cdrom"), Mode.HOT, "cdrom"),
        (replace(DISK, source_type=""), Mode.HOT, "no source"),
        (replace(DISK, read_only=True), Mode.HOT, "read-only"),
        (replace(DISK, transient=True), Mode.HOT, "transient"),
        (replace(DISK, encrypted=True), Mode.HOT, "LUKS"),
        (replace(DISK, bus="sd"), Mode.HOT, "sd bus"),
        (replace(DISK, source_type="vhostuser"), Mode.HOT, "vhostuser"),
        (replace(DISK, source_type="network"), Mode.COLD, "network"),
    ],
)
def test_what_is_left_out_says_why(disk: Disk, mode: Mode, word: str) -> None:
    disks, (left,), _ = plan_disks(facts(DiskFacts(disk, IMAGE)), GOOD, mode, full=False)
    assert disks == []
    assert word in left.reason


def test_a_vm_whose_disks_are_all_left_out_is_refused() -> None:
    disks, left, _ = plan_disks(facts(DiskFacts(replace(DISK, encrypted=True), IMAGE)), GOOD, Mode.HOT, full=False)
    with pytest.raises(RefusedError, match="LUKS"):
        check_worth(facts(), disks, left)
    check_worth(facts(), [], [])


@pytest.mark.parametrize(
    ("asked", "changes", "expected"),
    [
        (Mode.HOT, {}, Mode.HOT),
        (Mode.HOT, {"state": DomainState.SHUT_OFF}, Mode.COLD),
        (Mode.PAUSED, {}, Mode.PAUSED),
        (Mode.COLD, {}, Mode.COLD),
        (Mode.HOT, {"state": DomainState.PAUSED}, Mode.HOT),
    ],
)
def test_mode(asked: Mode, changes: dict[str, Any], expected: Mode) -> None:
    assert effective_mode(BackupRequest("kvm1", VmId("u"), "web1", asked), facts(**changes)) is expected


@pytest.mark.parametrize("changes", [{"persistent": False}, {"state": DomainState.PAUSED}])
def test_cold_is_refused_where_the_vm_would_be_lost_or_cannot_stop(changes: dict[str, Any]) -> None:
    with pytest.raises(RefusedError):
        effective_mode(BackupRequest("kvm1", VmId("u"), "web1", Mode.COLD), facts(**changes))


def test_internal_snapshots_and_shared_disks_are_warned_of() -> None:
    image = replace(IMAGE, internal_snapshots=2)
    _, _, warnings = plan_disks(facts(DiskFacts(replace(DISK, shareable=True), image)), GOOD, Mode.HOT, full=False)
    assert any("internal snapshot" in text for text in warnings)
    assert any("shareable" in text for text in warnings)
