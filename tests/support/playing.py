"""Screens played by keys, with a queue that only remembers what it was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from tests.support.pictures import NOW, StillApp, example, job, restored, running, shown, uuid
from vmtui.backup.plan import DiskPlan
from vmtui.backup.preview import Preview
from vmtui.calls import Call
from vmtui.model.ids import JobId
from vmtui.model.job import JobKind, JobRecord, JobState
from vmtui.model.point import DiskKind, FullReason, LeftOut, Mode
from vmtui.model.progress import Check
from vmtui.restore.group import GroupPlan, GroupRequest
from vmtui.restore.offers import Offers
from vmtui.restore.plan import DiskPlacement, RestorePlan, RestoreRequest, Step, command_of, unchecked_by
from vmtui.restore.room import Room
from vmtui.retention.plan import PlannedPoint, PrunePlan
from vmtui.tui.dialogs.base import Dialog
from vmtui.tui.picture import Picture

_PATIENCE_S = 60.0
JOB = JobId("0" * 16)


class Queue:
    """Stands in for the queue: what was asked for, in order."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def enqueue(self, *arguments: Any) -> JobId:
        self.asked.append(arguments)
        return JOB

    def cancel(self, job: str, *, discard: bool = False) -> None:
        self.asked.append(("cancel", job, discard))

    def again(self, job: str) -> JobId:
        self.asked.append(("again", job))
        return JOB

    def points_in_use(self) -> dict[Any, str]:
        return {}


class Play:
    """A running application, and the hands at its keys.

    Args:
        app: The application.
        pilot: Presses its keys.
        queue: What its commands ask for.
    """

    def __init__(self, app: StillApp, pilot: Pilot[Any], queue: Queue) -> None:
        self.app = app
        self.pilot = pilot
        self.queue = queue

    async def press(self, *keys: str) -> None:
        """Press keys, each after the screens have come to rest."""
        for key in keys:
            await self.pilot.press(key)
            await self.pilot.pause()

    async def until(self, true: Callable[[], object]) -> None:
        """Wait for something to be so."""
        async with asyncio.timeout(_PATIENCE_S):
            while not true():  # noqa: ASYNC110  # the screens set no event
                await asyncio.sleep(0.01)
        await self.pilot.pause()

    async def dialog(self, kind: type[Dialog[Any]]) -> Dialog[Any]:
        """The dialog of this kind, once it is open, seen and takes keys."""
        await self.until(
            lambda: (
                isinstance(self.app.screen, kind)
                and self.app.screen.listens
                and any(child.region for child in self.app.screen.query())
            )
        )
        await self.pilot.pause()
        assert isinstance(self.app.screen, kind)
        return self.app.screen

    @property
    def text(self) -> str:
        """What is seen."""
        return "\n".join(shown(self.app))


def play(
    folder: Path,
    script: Callable[[Play], Awaitable[None]],
    *,
    picture: Picture | None = None,
    size: tuple[int, int] = (120, 36),
    **look: Any,
) -> Queue:
    """Run a script on the screens; gives what was asked of the queue."""
    queue = Queue()

    async def run() -> None:
        app = StillApp(folder, picture or example(), **look)
        app.client = queue  # type: ignore[assignment]
        async with running(app, size) as pilot:
            await script(Play(app, pilot, queue))

    asyncio.run(run())
    return queue


def words(text: str) -> list[str]:
    """A text as the keys that type it."""
    special = {" ": "space", "@": "at", "-": "minus", "/": "slash", ":": "colon", ".": "full_stop", "_": "underscore"}
    return [special.get(letter, letter) for letter in text]


Script = Callable[[Play], Coroutine[Any, Any, None]]

# -- what a target host would say ------------------------------------------------------------------

OFFERS = Offers(
    networks_needed=("lan", "dmz"), places_needed=("images",), networks=("default", "lan"), pools=(("images", 90 << 30), ("fast", 40 << 30))
)  # fmt: skip


def plan_of(request: RestoreRequest, checks: Sequence[Check] = ()) -> RestorePlan:
    """A plan as the engine makes it for web1."""
    back = request.keeps_identity
    name = "web1" if back else (request.name or "web1-r0314")
    path = f"/images/{name}.qcow2"
    kind = "IN PLACE" if request.in_place else "NEW"
    plan = RestorePlan(
        run=JOB, request=request, point_time="2026-03-14T10:00:00Z", origin="kvm1/web1", name=name,
        uuid=uuid(1 if back else 77), macs=(), files=(), replaces_vm=request.in_place, stop_first=request.in_place,
        disks=(DiskPlacement("vda", "qcow2", 20 << 30, None, "00" * 32, 5 << 30, path, "images", request.in_place),),
        checks=(
            Check("name", True, f"{name} is free" if not request.in_place else f"{name} is there, and is replaced"),
            Check("room", True, "90 GiB free in images, 5 GiB needed"),
            Check("boot", None, "the VM is not started, so nobody asks whether it boots"),
            *checks,
        ),
        steps=(
            Step(1, f"{request.host}: write {path}.vmtui-{JOB}, each block checked against its hash", 5 << 30),
            Step(2, "read it back, and compare every block", 5 << 30),
            Step(3, f"define {name} ({kind})"),
        ),
        changes=("its MAC addresses are new",) if not back else (),
        destroys="nothing yet: the old disks of web1 are kept aside" if request.in_place else "nothing",
        unchecked=(), command=command_of(request, name),
    )  # fmt: skip
    return replace(plan, unchecked=unchecked_by(plan))


def group_plan_of(request: GroupRequest, checks: Sequence[Check] = ()) -> GroupPlan:
    """A plan as the engine makes it for several VMs of the example, each with its own name."""
    names = {view.uuid: view.vm for view in example().catalogue.points}
    members = []
    for number, member in enumerate(request.members):
        plan = plan_of(member)
        name = names[member.vm] if member.keeps_identity else f"{names[member.vm]}-r0314"
        disks = tuple(replace(disk, path=f"/images/{name}.qcow2") for disk in plan.disks)
        steps = tuple(replace(step, text=step.text.replace(plan.name, name)) for step in plan.steps)
        origin = f"kvm1/{names[member.vm]}"
        plan = replace(plan, name=name, origin=origin, disks=disks, steps=steps, uuid=uuid(80 + number))
        members.append(replace(plan, destroys=plan.destroys.replace("web1", names[member.vm])))
    need = sum(plan.data_bytes for plan in members) + (64 << 20)
    rooms = (Room(("/images",), need, 90 << 30),)
    return GroupPlan(tuple(members), rooms, (Check("names", True, "none is wanted twice"), *checks))


def group_job() -> JobRecord:
    """A job of three VMs whose second failed."""
    first = restored() | {"vm": "web1-r0314", "kept": None, "point": "0" * 16}
    cause = "db1-r0314 (2 of 3): /images/db1-r0314-vda.qcow2 on kvm1 is already there. Restored, and kept: web1-r0314. Not begun: archive1-r0314."
    error = {
        "id": "TARGET-EXISTS",
        "cause": cause,
        "next_step": "Move it away. The rest: vmtui restore …",
        "exit_code": 5,
    }
    result = {
        "host": "kvm1", "members": [first], "checks": [], "bytes": first["bytes"], "seconds": first["seconds"],
        "failed": "db1-r0314", "not_begun": ["archive1-r0314"],
    }  # fmt: skip
    work = ({"phase": "1/3 write", "disk": "web1-r0314 vda", "total": 5 << 30, "done": 5 << 30, "new": 0, "stored": 0},)
    return job(
        7, JobState.FAILED, kind=JobKind.GROUP_RESTORE, vm="web1 db1 archive1", error=error, result=result, work=work
    )


def prune_plan(name: str = "web1") -> PrunePlan:
    """Two points of a VM: the newest stays, the damaged one goes."""
    own = [view for view in example().catalogue.points if view.vm == "web1"]
    points = tuple(
        PlannedPoint(
            vm=view.uuid, id=view.id, host=view.host, name=name, tier="standard", time=view.time, keep=view.good,
            reasons=("last good point", "1 of the last 7") if view.good else ("damaged: 2 blocks do not match",),
            stored_bytes=1 << 30,
        )
        for view in own
    )  # fmt: skip
    return PrunePlan(NOW - timedelta(minutes=1), points, 0)


def preview_of(mode: Mode, *, full: bool) -> Preview:
    """What a host would say of a backup: one disk with tracked changes, one without, one that is left out."""
    tracked = mode is not Mode.COLD and not full
    why = None if tracked else FullReason.FORCED if full else FullReason.TRACKING_OFF
    disks = (
        DiskPlan("vda", "qcow2", DiskKind.INCREMENTAL if tracked else DiskKind.FULL, why, True, "/images/a", 20 << 30, "file", "virtio"),
        DiskPlan("vdb", "raw", DiskKind.FULL, FullReason.RAW, False, "/images/b", 5 << 30, "file", "virtio"),
    )  # fmt: skip
    return Preview(
        mode, "running", disks, (LeftOut("sda", "a physical disk that was passed through"),), (),
        {"vda": 700 << 20} if tracked else {}, 300.0, "disconnected",
    )  # fmt: skip


CALLS = tuple(
    Call(NOW.timestamp() - age, host, kind, what, seconds, result, by)
    for age, host, kind, what, seconds, result, by in (
        (1.0, "kvm1", "libvirt", "listing the VMs", 0.012, "ok", "screens"),
        (2.5, "kvm1", "command", "qemu-img info --output=json -U /images/web1.qcow2", 0.25, "exit 0", "worker"),
        (4.0, "kvm2", "libvirt", "logging in", 10.0, "HOST-UNREACHABLE", "screens"),
        (80.0, "kvm1", "file", "reading /etc/libvirt/qemu.conf", 0.004, "ok", "worker"),
        (90.0, "kvm1", "socket", "/run/vmtui-1/nbd.sock", 1.5, "ok", "worker"),
    )
)
