"""What was chosen so far, and what can be chosen next. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from vmtui.model.ids import VmId
from vmtui.model.job import JobKind, JobRecord, JobState
from vmtui.overview.points import PointView
from vmtui.overview.words import age, size
from vmtui.restore.offers import Offers
from vmtui.restore.plan import RestorePlan, RestoreRequest

NO_NETWORK = "none"
SAME = "(same name)"
OFF = "powered off"
STARTED = "started; its guest agent is asked"
DIFFERING = "what differs, told by dirty bitmap and hashes"
WHOLE = "every block anew"
INSTANT = "instant: runs at once from the repository, moved while it runs"


class Target(StrEnum):
    """What becomes of the point."""

    NEW = "a new VM beside whatever is there"
    IN_PLACE = "the VM itself, in place; its old disks are kept aside"
    LOST = "the VM itself, after it was lost; nothing is replaced"
    FILE = "one disk, to a file on this machine"


@dataclass(frozen=True, slots=True)
class Draft:
    """The choices."""

    uuid: VmId
    vm: str
    origin: str
    """Host that the points are of."""
    point: PointView | None
    host: str
    target: Target = Target.NEW
    name: str = ""
    """Empty lets the preflight choose one."""
    start: bool = False
    whole: bool = False
    """In place: every block is written anew."""
    instant: bool = False
    networks: Mapping[str, str] = field(default_factory=dict)
    pools: Mapping[str, str] = field(default_factory=dict)
    disk: str = ""
    file: str = ""

    def request(self) -> RestoreRequest:
        """What the engine is asked."""
        assert self.point is not None
        return RestoreRequest(
            vm=self.point.uuid,
            point=self.point.id,
            host=self.host,
            name=(self.name or None) if self.target is Target.NEW else None,
            in_place=self.target is Target.IN_PLACE,
            same_identity=self.target is Target.LOST,
            networks=dict(self.networks),
            pools=dict(self.pools),
            start=self.start,
            whole=self.whole and self.target is Target.IN_PLACE,
            instant=self.request_is_instant,
        )

    def command(self) -> str:
        """The equivalent command line, before there is a plan."""
        import shlex

        if self.point is None:
            return "vmtui restore POINT"
        if self.target is Target.FILE:
            return shlex.join(["vmtui", "export", self.point.id, self.disk, self.file])
        words = ["vmtui", "restore", self.point.id, "--to", self.host, *self._as_what()]
        for option, mapping in (("--map-pool", self.pools), ("--map-network", self.networks)):
            for old, new in mapping.items():
                words += [option, f"{old}={new}"]
        if self.request_is_instant:
            words.append("--instant")
        elif self.start:
            words.append("--start")
        return shlex.join(words)

    def _as_what(self) -> list[str]:
        if self.target is Target.IN_PLACE:
            return ["--in-place", *(["--whole"] if self.whole else [])]
        if self.target is Target.LOST:
            return ["--same-identity"]
        return ["--as", self.name] if self.name else []

    @property
    def request_is_instant(self) -> bool:
        """Whether the VM is to run from the repository at once; only a new one can."""
        return self.instant and self.target is Target.NEW


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of a form: what it is, what it is now, what it may be."""

    id: str
    label: str
    value: str
    note: str = ""
    choices: tuple[str, ...] = ()
    """To pick from; empty for a text that is typed."""


def first_draft(uuid: VmId, vm: str, origin: str, points: Sequence[PointView], hosts: Sequence[str]) -> Draft:
    """The newest good point, on its own host if that is configured."""
    good = next((point for point in points if point.uuid == uuid and point.good), None)
    host = origin if origin in hosts else (hosts[0] if hosts else "")
    return Draft(uuid, vm, origin, good, host)


def target_settings(draft: Draft, hosts: Sequence[str]) -> tuple[Setting, ...]:
    """The lines of step 2."""
    lines = [Setting("target", "Bring back", draft.target.value, "", tuple(target.value for target in Target))]
    if draft.target is Target.FILE:
        disks = tuple(disk.name for disk in draft.point.disks) if draft.point is not None else ()
        note = "" if not draft.file else ("qcow2" if draft.file.endswith(".qcow2") else "raw")
        return (
            *lines,
            Setting("disk", "Disk", draft.disk or "–", "", disks),  # a dash is meant
            Setting(
                "file", "File", draft.file or "–", note or "a name that ends in .qcow2 makes a qcow2 image"
            ),  # a dash is meant
        )
    lines.append(Setting("host", "Host", draft.host or "–", "", tuple(hosts)))  # a dash is meant
    if draft.target is Target.NEW:
        lines.append(Setting("name", "Name", draft.name or "(chosen by itself)", "must be free on the host"))
    if draft.target is Target.IN_PLACE:
        note = "" if draft.whole else "the plan says how much"
        lines.append(Setting("write", "Write", WHOLE if draft.whole else DIFFERING, note, (DIFFERING, WHOLE)))
    boot = INSTANT if draft.request_is_instant else STARTED if draft.start else OFF
    choices = (OFF, STARTED, INSTANT) if draft.target is Target.NEW else (OFF, STARTED)
    note = "runs within seconds; needs this machine until it is moved" if draft.request_is_instant else ""
    lines.append(Setting("start", "Afterwards", boot, note, choices))
    return tuple(lines)


def mapping_settings(draft: Draft, offers: Offers) -> tuple[Setting, ...]:
    """The lines of step 3."""
    free = dict(offers.pools)
    lines = []
    for place in offers.places_needed:
        value = draft.pools.get(place, SAME)
        room = free.get(value if value != SAME else place)
        note = f"{size(room)} free" if room is not None else ""
        lines.append(Setting(f"pool {place}", f"Disks of {place}", value, note, tuple(dict.fromkeys((SAME, *free)))))
    for network in offers.networks_needed:
        value = draft.networks.get(network, SAME)
        note = "link down" if value == NO_NETWORK else ""
        # A network may bear a name that means something here; each value is there once.
        choices = tuple(dict.fromkeys((NO_NETWORK, SAME, *offers.networks)))
        lines.append(Setting(f"network {network}", f"Interfaces on {network}", value, note, choices))
    return tuple(lines)


def changed(draft: Draft, setting: str, value: str) -> Draft:
    """The draft after one line was changed."""
    kind, _, name = setting.partition(" ")
    if kind == "target":
        target = Target(value)
        disk = (
            draft.point.disks[0].name if target is Target.FILE and draft.point is not None and draft.point.disks else ""
        )
        host = draft.origin if target is Target.IN_PLACE else draft.host
        return replace(draft, target=target, disk=disk, host=host, networks={}, pools={})
    if kind == "host":
        return replace(draft, host=value, networks={}, pools={})
    if kind == "start":
        return replace(draft, start=value == STARTED, instant=value == INSTANT)
    if kind == "write":
        return replace(draft, whole=value == WHOLE)
    if kind == "file":
        return replace(draft, file=os.path.abspath(os.path.expanduser(value)) if value else "")  # noqa: PTH100, PTH111  # never raises
    if kind == "pool":
        return replace(draft, pools=_mapped(draft.pools, name, value))
    if kind == "network":
        return replace(draft, networks=_mapped(draft.networks, name, value))
    return replace(draft, disk=value) if kind == "disk" else replace(draft, name=value)


def _mapped(mapping: Mapping[str, str], name: str, value: str) -> dict[str, str]:
    kept = {key: old for key, old in mapping.items() if key != name}
    return kept if value == SAME else {**kept, name: value}


def with_safe_links(draft: Draft, offers: Offers) -> Draft:
    """A new VM's interfaces start with their links down; the original may still run."""
    if draft.target is not Target.NEW or draft.networks:
        return draft
    return replace(draft, networks=dict.fromkeys(offers.networks_needed, NO_NETWORK))


def missing(draft: Draft) -> str:
    """What must still be chosen before there can be a plan."""
    if draft.point is None:
        return "choose a restore point that is not damaged"
    if draft.target is Target.FILE:
        return "" if draft.disk and draft.file else "choose the disk and the file"
    return "" if draft.host else "choose a host"


# -- how long it will take -----------------------------------------------------------------------

_LEAST_BYTES = 1 << 20


def past_rates(records: Sequence[JobRecord], host: str) -> list[float]:
    """Bytes a second of past restores on a host, reading back included."""
    return [
        record.result["bytes"] / record.result["seconds"]
        for record in records
        if record.kind is JobKind.RESTORE
        and record.host == host
        and record.state in (JobState.OK, JobState.WARNINGS)
        and record.result.get("bytes", 0) >= _LEAST_BYTES
        and record.result.get("seconds", 0) > 0
    ]


def time_words(data_bytes: int, rates: Sequence[float], host: str) -> str:
    """How long it will take, from what was measured; honest when nothing was."""
    if not rates:
        return f"not known: no restore of more than {size(_LEAST_BYTES)} on {host} was measured yet"
    low, high = data_bytes / max(rates), data_bytes / min(rates)
    span = age(low) if age(low) == age(high) else f"{age(low)} to {age(high)}"
    return f"{span}, from {len(rates)} past restore{'s' if len(rates) > 1 else ''} on {host}"


def plan_is_ready(plan: RestorePlan | None) -> bool:
    """Whether it can be carried out."""
    return plan is not None and not plan.refused
