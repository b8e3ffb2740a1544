"""Pictures made up for the screens: every state that a row can have, and names that mean harm."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from vmtui import config
from vmtui.model.host import Capabilities, HostState
from vmtui.model.hostpoint import HOST_NAME
from vmtui.model.ids import JobId, PointId, VmId, host_subject, new_id
from vmtui.model.job import JobKind, JobRecord, JobState
from vmtui.model.point import DiskKind, FullReason, LeftOut, PointDisk
from vmtui.model.rehearsal import Network, Rehearsal, Verdict
from vmtui.model.vm import DomainState, Vm
from vmtui.overview.journal import LogEntry
from vmtui.overview.points import FileView, PointView
from vmtui.overview.vms import vm_rows
from vmtui.tui.app import Look, VmtuiApp
from vmtui.tui.feeds import known_from
from vmtui.tui.picture import CatalogueView, HostView, JobsView, Picture, PoolSpace

NOW = datetime(2026, 3, 14, 12, 0, 0, tzinfo=UTC)
CONFIG = """
repository = "file:///tmp/none/repository"
state = "{state}"
default_tier = "standard"
[hosts.kvm1]
address = "127.0.0.1"
[hosts.kvm2]
address = "127.0.0.2"
read_only = true
[tiers.gold]
rpo = "1h"
[tiers.standard]
rpo = "1d"
[tiers.cold]
rpo = "1d"
mode = "cold"
[[rules]]
vm = "db*"
tier = "gold"
[[rules]]
vm = "archive*"
tier = "cold"
[[rules]]
vm = "ci-*"
exempt = "rebuilt by CI"
"""


def settings(folder: Path, text: str = CONFIG) -> Any:
    """Settings whose hosts are never asked."""
    return config.parse(text.format(state=folder / "state"), folder / "config.toml")


def uuid(number: int) -> VmId:
    return VmId(f"00000000-0000-4000-8000-{number:012x}")


def point(
    number: int, name: str, age: timedelta, *, host: str = "kvm1", now: datetime = NOW, **changes: Any
) -> PointView:
    """A point of VM `number`."""
    time = now - age
    disk = PointDisk("vda", "qcow2", 20 << 30, "00" * 32, DiskKind.FULL, FullReason.FIRST, 5 << 30, 3 << 30, 1 << 30)
    values: dict[str, Any] = {
        "id": PointId(new_id(time)[:10] + f"{number:06d}"),
        "uuid": uuid(number),
        "vm": name,
        "host": host,
        "time": time,
        "mode": "hot",
        "consistency": "filesystem",
        "consistency_reason": "",
        "disks": (disk,),
        "left_out": (),
        "files": (),
        "verified": None,
        "damaged": "",
        "parent": None,
        "checkpoint": "vmtui-1",
        "frozen_ms": 120,
        "seconds": 42.0,
        "job": "j",
        "versions": {"vmtui": "0.1.0"},
        "warnings": (),
    }
    return PointView(**(values | changes))


def host_point(number: int, age: timedelta, *, now: datetime = NOW, **changes: Any) -> PointView:
    """A point of the host kvm1."""
    parts = (("network", "default"), ("network", "lan [1]"), ("pool", "images"), ("file", "/etc/libvirt/qemu.conf"))
    values: dict[str, Any] = {
        "uuid": host_subject("0123456789abcdef", "kvm1"),
        "consistency": "crash",
        "consistency_reason": "a host's configuration, read part by part",
        "disks": (),
        "files": (FileView("host parts", "", 900), *(FileView(role, path, 500) for role, path in parts)),
        "left_out": (LeftOut("/etc/libvirt/auth.conf", "this login may not read it"),),
        "checkpoint": None,
    }
    return point(number, HOST_NAME, age, now=now, **(values | changes))


def rehearsal(now: datetime, *, failed: str = "") -> Rehearsal:
    """One of an hour ago."""
    return Rehearsal(
        verdict=Verdict.FAILED if failed else Verdict.BOOTABLE,
        time=now - timedelta(hours=1),
        host="kvm1",
        job=JobId("j"),
        network=Network.NONE,
        marker="the guest agent answered",
        reason=failed,
        boot_s=None if failed else 31.2,
        rto_s=None if failed else 41.0,
        untested=("the network: its interfaces are taken out",),
        picture="ab" * 32,
    )


def job(
    number: int, state: JobState, *, kind: JobKind = JobKind.BACKUP, now: datetime = NOW, **changes: Any
) -> JobRecord:
    """A job in some state."""
    began = now - timedelta(minutes=number)
    values: dict[str, Any] = {
        "id": JobId(new_id(began)[:10] + f"{number:06d}"),
        "kind": kind,
        "vm": "web1",
        "host": "kvm1",
        "state": state,
        "phase": "" if state.final else "transfer",
        "disk": "" if state.final else "vda",
        "done": 3 << 30,
        "total": 5 << 30,
        "new": 1 << 30,
        "stored": 1 << 29,
        "rate": 0.0 if state.final else 150e6,
        "asked": began,
        "started": None if state is JobState.QUEUED else began,
        "finished": began + timedelta(seconds=30) if state.final else None,
        "beat": now - timedelta(seconds=1),
        "by": "ops@console",
    }
    return JobRecord(**(values | changes))


def example(now: datetime = NOW) -> Picture:
    """Hosts, VMs, points and jobs in every state."""
    vms = tuple(
        Vm("kvm1", name, uuid(number), state)
        for number, (name, state) in enumerate(
            (
                ("web1", DomainState.RUNNING),
                ("db1", DomainState.RUNNING),
                ("archive1", DomainState.RUNNING),
                ("ci-runner", DomainState.PAUSED),
                ("erp-test", DomainState.SHUT_OFF),
            ),
            1,
        )
    )
    points = (
        point(
            1,
            "web1",
            timedelta(hours=2),
            now=now,
            verified=now - timedelta(hours=1),
            rehearsed=rehearsal(now),
            proven=rehearsal(now),
        ),
        point(
            2,
            "db1",
            timedelta(hours=3),
            now=now,
            consistency="crash",
            consistency_reason="no guest agent",
            rehearsed=rehearsal(now, failed="its kernel panicked"),
        ),
        point(
            3,
            "archive1",
            timedelta(hours=20),
            now=now,
            left_out=(LeftOut("vdb", "encrypted (LUKS)"),),
            held="before the upgrade",
        ),
        point(1, "web1", timedelta(hours=26), now=now, damaged="2 blocks do not match"),
        point(9, "mail1", timedelta(hours=30), host="kvm2", now=now),
        point(8, "old-crm", timedelta(days=41), now=now),
    )
    kept = (
        host_point(21, timedelta(hours=5), now=now),
        host_point(22, timedelta(days=3), now=now, held="before the upgrade", left_out=()),
    )
    hosts = {
        "kvm1": HostView(
            "kvm1",
            HostState.CONNECTED,
            now - timedelta(hours=1),
            vms,
            now,
            Capabilities(
                9_000_000,
                7_002_022,
                hot_backup=True,
                virsh=True,
                qemu_img="7.2",
                qemu_nbd="7.2",
                forwarding="streamlocal",
            ),
            (PoolSpace("images", 50 << 30, 100 << 30),),
            0.08,
        ),
        "kvm2": HostView(
            "kvm2",
            HostState.UNREACHABLE,
            now - timedelta(hours=3),
            as_of=now - timedelta(hours=3),
            next_try=now + timedelta(seconds=30),
            error={"id": "HOST-UNREACHABLE", "cause": "kvm2 does not answer.", "next_step": "Try ssh by hand."},
        ),
    }
    failed = {"id": "VM-BUSY", "cause": "Another job runs on the VM.", "next_step": "Wait for it.", "exit_code": 5}
    records = (
        job(1, JobState.RUNNING, now=now),
        job(2, JobState.QUEUED, now=now, vm="db1", total=None, done=0),
        job(3, JobState.FAILED, now=now, vm="db1", error=failed),
        job(4, JobState.OK, now=now, kind=JobKind.RESTORE, result=restored()),
        job(5, JobState.CANCELLED, now=now),
        job(6, JobState.WARNINGS, now=now, notes=("the sample of clean blocks differed",)),
    )
    return Picture(
        hosts=hosts,
        catalogue=CatalogueView(
            points, now, None, "0123456789abcdef", 12, 3456, 4 << 30, 90 << 30, 65536, host_points=kept
        ),
        jobs=JobsView(records, worker=True, as_of=now),
        log=(
            LogEntry(now - timedelta(minutes=9), "info", "kvm1", "answers"),
            LogEntry(
                now - timedelta(minutes=5),
                "error",
                "kvm2",
                "kvm2 does not answer.",
                "HOST-UNREACHABLE",
                "Try ssh by hand.",
            ),
        ),
    )


def restored() -> dict[str, Any]:
    """The result of an in-place restore."""
    checks = [
        {"name": "disk vda", "ok": True, "detail": "read back"},
        {"name": "boot", "ok": None, "detail": "not started"},
    ]
    return {
        "vm": "web1",
        "host": "kvm1",
        "uuid": uuid(1),
        "point": "p",
        "bytes": 5 << 30,
        "seconds": 30.0,
        "kept": ["/images/web1.before"],
        "checks": checks,
    }


class StillApp(VmtuiApp):
    """The application over a picture that nobody changes: it asks no host and no worker."""

    def __init__(self, folder: Path, picture: Picture, now: datetime = NOW, **look: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(settings(folder), Look(**({"guard_s": 0.0} | look)))
        rows = vm_rows(
            self.settings,
            [vm for view in picture.hosts.values() for vm in view.vms],
            {name: "does not answer" for name, view in picture.hosts.items() if view.away},
            known_from(picture.catalogue.points),
            now,
        )
        from dataclasses import replace

        self.picture = replace(picture, rows=tuple(rows))
        self.said: list[str] = []

    def _listen(self) -> None:
        """Nobody is asked."""

    def notify(self, message: str, **_: Any) -> None:
        """Remember what was said."""
        self.said.append(message)


@asynccontextmanager
async def running(app: VmtuiApp, size: tuple[int, int] = (120, 36)) -> AsyncIterator[Pilot[Any]]:
    """The application on a terminal without a screen, after its first paint."""
    async with app.run_test(size=size, notifications=True) as pilot:
        await pilot.pause()
        yield pilot


def shown(app: VmtuiApp) -> list[str]:
    """What is seen, line by line."""
    strips = app.screen._compositor.render_strips()  # Textual has no public way to the cells
    return ["".join(segment.text for segment in strip).rstrip() for strip in strips]


def names(rows: Sequence[Any]) -> list[str]:
    """Names of rows."""
    return [row.name for row in rows]
