"""Several restores as one plan: each with a preflight of its own, and all held against one another.

The members go to one host, in an order. What each of them needs is asked before a byte is written of any.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from vmtui.hosts import HostSession, storage
from vmtui.model.errors import RefusedError
from vmtui.model.ids import JobId
from vmtui.model.progress import Check, Watch
from vmtui.restore import run
from vmtui.restore.context import RestoreContext
from vmtui.restore.offers import needs
from vmtui.restore.plan import RestorePlan, RestoreRequest
from vmtui.restore.room import MARGIN, Room, rooms


@dataclass(frozen=True, slots=True)
class GroupRequest:
    """What was asked for: at least two restores to the same host."""

    members: tuple[RestoreRequest, ...]
    """In the order in which they are restored and started.

    Their mappings may name what only some of them have; each takes what it needs."""
    approved: str = ""
    """The plan that the operator agreed to, as `fingerprint` gives it; empty when nobody was asked."""


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """All that a run needs to know; plain data."""

    members: tuple[RestorePlan, ...]
    rooms: tuple[Room, ...]
    checks: tuple[Check, ...]
    """Of the members together; each member has its own."""

    @property
    def refused(self) -> list[str]:
        """What is wrong, in words; nothing may be written then."""
        own = [f"{plan.name}: {check.name}: {check.detail}" for plan in self.members for check in plan.refused]
        return own + [f"{check.name}: {check.detail}" for check in self.checks if check.ok is False]

    @property
    def data_bytes(self) -> int:
        """Bytes that will be written."""
        return sum(plan.data_bytes for plan in self.members)

    @property
    def command(self) -> str:
        """The equivalent command line."""
        return command_of([plan.request for plan in self.members])

    def fingerprint(self) -> str:
        """Names what will be written, replaced and stopped, and in which order."""
        return hashlib.sha256(json.dumps([plan.fingerprint() for plan in self.members]).encode()).hexdigest()


def prepare(
    request: GroupRequest, context_of: Callable[[RestoreRequest], RestoreContext], new_run: Callable[[], JobId]
) -> GroupPlan:
    """Check everything of every member, and the members against one another. Nothing is written. Safe to repeat.

    Args:
        request: What was asked for.
        context_of: The world of one member.
        new_run: Makes an id for the run of one member.

    Raises:
        DamageError: A point is missing something or damaged.
        UnreachableError: Host or repository do not answer.
    """
    plans: list[RestorePlan] = []
    used: set[str] = set()
    for number, member in enumerate(request.members, 1):
        context = context_of(member)
        point = context.point(member)
        networks, places = needs(point)
        watch = MemberWatch(context.watch, f"{number}/{len(request.members)}", point.vm_name)
        fitted = replace(member, networks=_only(member.networks, networks), pools=_only(member.pools, places))
        used |= {*fitted.networks, *fitted.pools}
        plans.append(run.prepare(replace(context, watch=watch), new_run(), fitted))
    asked = _rooms(context_of(request.members[0]).session, plans)
    return GroupPlan(tuple(plans), asked, (*_unused(request, used), *clashes(plans), _space(asked)))


def refuse(plan: GroupPlan, approved: str) -> None:
    """Return if every check passed, and the plan is the one that the operator agreed to.

    Raises:
        RefusedError: One failed, and the cause names them all; or something moved since. Nothing was written.
    """
    host = plan.members[0].request.host
    if plan.refused:
        raise RefusedError(
            "PREFLIGHT",
            f"The restore of {len(plan.members)} VMs to {host} cannot begin: {'; '.join(plan.refused)}.",
            checks=[
                {"name": f"{member.name}: {check.name}", "ok": check.ok, "detail": check.detail}
                for member in plan.members
                for check in member.checks
            ]
            + [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in plan.checks],
        )
    if approved not in ("", plan.fingerprint()):
        raise RefusedError(
            "PLAN-CHANGED",
            f"The plan for {len(plan.members)} VMs on {host} is not the one that was agreed to: "
            "the VMs or the target changed in between.",
        )


def _only(mapping: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    return {old: new for old, new in mapping.items() if old in names}


# -- the members against one another -------------------------------------------------------------


def _unused(request: GroupRequest, used: set[str]) -> list[Check]:
    """A name in a mapping that no member has is a slip of the pen."""
    asked = {name for member in request.members for name in (*member.networks, *member.pools)}
    unknown = sorted(asked - used)
    return [Check("mapping", False, f"no VM has a network, pool or folder {', '.join(unknown)}")] if unknown else []


def clashes(plans: Sequence[RestorePlan]) -> list[Check]:
    """What two members both want to be or to write. Pure."""
    return [
        _alone("vm", [(plan.request.vm, plan) for plan in plans], lambda plan: plan.origin),
        _alone("names", [(plan.name, plan) for plan in plans]),
        _alone("uuids", [(plan.uuid, plan) for plan in plans]),
        _alone("macs", [(mac.lower(), plan) for plan in plans for mac in plan.macs]),
        _alone("paths", [(path, plan) for plan in plans for path in _paths(plan)]),
    ]


def _paths(plan: RestorePlan) -> set[str]:
    """Every file that a member writes or sets aside."""
    return {posixpath.normpath(place.path) for place in (*run.places(plan), *plan.asides)}


def _alone(
    what: str, owners: Sequence[tuple[str, RestorePlan]], label: Callable[[RestorePlan], str] = lambda plan: plan.name
) -> Check:
    """Whether each thing has one owner."""
    seen: dict[str, list[str]] = {}
    for thing, plan in owners:
        seen.setdefault(thing, []).append(label(plan))
    twice = [(thing, names) for thing, names in seen.items() if len(names) > 1]
    if not twice:
        return Check(what, True, "none is wanted twice" if seen else "none")
    if what == "vm":
        return Check(what, False, ", ".join(f"{names[0]} is given {len(names)} times" for _, names in twice))
    return Check(what, False, "; ".join(f"{thing} is wanted by {' and by '.join(names)}" for thing, names in twice))


# -- room ----------------------------------------------------------------------------------------


def _rooms(session: HostSession, plans: Sequence[RestorePlan]) -> tuple[Room, ...]:
    """What is asked of each file system of the target; folders that are not there are the members' own failures."""
    needed: dict[str, int] = {}
    for plan in plans:
        sizes = [(disk.path, disk.write_bytes) for disk in plan.disks]
        for path, size in sizes + [(item.path, item.size) for item in plan.files if item.needed]:
            folder = storage.nearest_folder(session, posixpath.dirname(path))
            needed[folder] = needed.get(folder, 0) + size
    return rooms(session, needed)


def _space(found: Sequence[Room]) -> Check:
    short = [room for room in found if not room.enough]
    if short:
        text = "; ".join(f"{', '.join(r.folders)}: {r.free} bytes free, {r.need} are needed by all" for r in short)
        return Check("space together", False, text)
    needed = sum(room.need - MARGIN for room in found)
    return Check("space together", True, f"{needed} bytes needed by all, there is room")


# -- words ---------------------------------------------------------------------------------------


def command_of(requests: Sequence[RestoreRequest]) -> str:
    """The command line for several, in their order; options go for all. Pure."""
    first = requests[0]
    words = ["vmtui", "restore", *(request.point for request in requests), "--to", first.host]
    words += ["--in-place"] if first.in_place else ["--same-identity"] if first.same_identity else []
    words += ["--new-nvram"] if any(request.new_nvram for request in requests) else []
    pools = {old: new for request in requests for old, new in request.pools.items()}
    networks = {old: new for request in requests for old, new in request.networks.items()}
    for option, mapping in (("--map-pool", pools), ("--map-network", networks)):
        for old, new in mapping.items():
            words += [option, f"{old}={new}"]
    words += ["--whole"] if first.whole else []
    words += ["--start"] if first.start else []
    return " ".join(words)


class MemberWatch:
    """A watch that says which of several is at work.

    Args:
        watch: Is told.
        place: `2/3`.
        name: The member's name.
    """

    def __init__(self, watch: Watch, place: str, name: str) -> None:
        self._watch = watch
        self._place = place
        self._name = name

    def phase(self, name: str, *, disk: str = "", total: int | None = None) -> None:
        """A new phase of the member began."""
        self._watch.phase(f"{self._place} {name}", disk=f"{self._name} {disk}".rstrip(), total=total)

    def advance(self, done: int, *, new: int = 0, stored: int = 0) -> None:
        """More bytes were dealt with."""
        self._watch.advance(done, new=new, stored=stored)

    def note(self, text: str, *, warning: bool = True) -> None:
        """Something that the operator should read."""
        self._watch.note(f"{self._name}: {text}", warning=warning)

    def check(self) -> None:
        """Return if the work may go on.

        Raises:
            CancelledError: Somebody asked for it to stop.
        """
        self._watch.check()
