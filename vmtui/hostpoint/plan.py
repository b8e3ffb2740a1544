"""What a restore of a host's parts would do: facts in, plan out. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from xml.etree.ElementTree import Element

from vmtui.hostpoint.canonical import canonical
from vmtui.hostpoint.capture import own_bridge, unreadable
from vmtui.hosts import domain_xml
from vmtui.model.errors import UsageError
from vmtui.model.hostpoint import RESTORABLE, HostState, Key, Part, PartKind
from vmtui.model.ids import PointId, VmId


class Action(StrEnum):
    """What becomes of a part."""

    CREATE = "create"
    REPLACE = "replace"
    """It is there and differs; the operator named it."""
    SWITCH = "switch"
    """It is there as it should be; it is started, or its autostart is set."""
    SAME = "same"
    CONFLICT = "conflict"
    """It is left as it is, with the reason."""

    @property
    def changes(self) -> bool:
        """Whether something is done."""
        return self in (Action.CREATE, Action.REPLACE, Action.SWITCH)


@dataclass(frozen=True, slots=True)
class HostRestoreRequest:
    """What was asked for."""

    host: str
    """Where."""
    vm: VmId
    """The id of the host that the point is of."""
    point: PointId
    only: tuple[str, ...] = ()
    """`kind:name` of the wanted parts; all when empty."""
    replace: tuple[str, ...] = ()
    """Those that may be replaced where they differ."""


@dataclass(frozen=True, slots=True)
class PlannedPart:
    """One line of the plan."""

    kind: PartKind
    name: str
    action: Action
    detail: str
    start: bool = False
    """It was active, and is started."""
    autostart: bool | None = None

    @property
    def key(self) -> Key:
        """Names it."""
        return self.kind, self.name

    @property
    def title(self) -> str:
        """`network:default`, as it is typed."""
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class HostPlan:
    """What becomes of every part, in the order in which it is done."""

    host: str
    point: PointId
    parts: tuple[PlannedPart, ...]

    @property
    def todo(self) -> tuple[PlannedPart, ...]:
        """Parts that something is done with."""
        return tuple(part for part in self.parts if part.action.changes)

    @property
    def conflicts(self) -> tuple[PlannedPart, ...]:
        """Parts that are left although they are not as in the point."""
        return tuple(part for part in self.parts if part.action is Action.CONFLICT)


def make_plan(request: HostRestoreRequest, point: HostState, live: HostState) -> HostPlan:
    """What becomes of every wanted part.

    Args:
        request: What was asked for.
        point: The host point.
        live: The target now; only what libvirt defines is looked at.

    Raises:
        UsageError: A name is not in the point, or cannot be restored.
    """
    wanted = [key for key in point.parts if key[0] in RESTORABLE]
    if request.only:
        wanted = [parse_key(text, point) for text in dict.fromkeys(request.only)]
    replace = {parse_key(text, point) for text in request.replace}
    work = _Plan(point, live, replace, frozenset(wanted))
    ordered = [key for kind in RESTORABLE for key in _ordered(kind, wanted, point)]
    return HostPlan(request.host, request.point, tuple(work.part(key) for key in ordered))


def parse_key(text: str, point: HostState) -> Key:
    """A part by `kind:name`.

    Raises:
        UsageError: It is not in the point, or is of a kind that is not restored.
    """
    kind, _, name = text.partition(":")
    kinds = {item.value: item for item in RESTORABLE}
    if kind not in kinds:
        raise UsageError(
            "NAME-UNKNOWN",
            f"{text!r}: {kind!r} is nothing that is brought back by itself; known: {', '.join(kinds)}.",
            next_step="Example: --only network:default; files are written to a folder by: vmtui host export",
        )
    key = kinds[kind], name
    if key not in point.parts:
        there = ", ".join(part.entry.name for part in point.of(kinds[kind])) or "none"
        raise UsageError("NAME-UNKNOWN", f"The point has no {kind} {name!r}; it has: {there}.")
    return key


def _ordered(kind: PartKind, wanted: Iterable[Key], point: HostState) -> list[Key]:
    """Parts of a kind by name; a filter after those that it refers to."""
    names = sorted(name for found, name in wanted if found is kind)
    if kind is not PartKind.NWFILTER:
        return [(kind, name) for name in names]
    done: dict[str, None] = {}

    def visit(name: str, above: frozenset[str]) -> None:
        if name in done or name in above or name not in names:
            return
        for other in references(_root(point.parts[kind, name])):
            visit(other, above | {name})
        done[name] = None

    for name in names:
        visit(name, frozenset())
    return [(kind, name) for name in done]


def references(root: Element) -> list[str]:
    """Names of the filters that a filter refers to."""
    return [ref.get("filter", "") for ref in root.findall("./filterref")]


def _root(part: Part) -> Element:
    return domain_xml.parse(part.text)


class _Plan:
    def __init__(self, point: HostState, live: HostState, replace: set[Key], wanted: frozenset[Key]) -> None:
        self._point = point
        self._live = live
        self._replace = replace
        self._wanted = wanted

    def part(self, key: Key) -> PlannedPart:
        """What becomes of one part."""
        kind, name = key
        part, there = self._point.parts[key], self._live.parts.get(key)
        entry = part.entry
        if reason := self._why_not(part):
            return PlannedPart(kind, name, Action.CONFLICT, reason)
        start = entry.active is True and (there is None or not there.entry.active)
        autostart = entry.autostart
        if there is None:
            if reason := self._in_the_way(part):
                return PlannedPart(kind, name, Action.CONFLICT, reason)
            return PlannedPart(kind, name, Action.CREATE, self._words(part, start=start), start, autostart)
        if _counts(part) == _counts(there):
            if kind is PartKind.SECRET and (value := self._value(name)) is not None:
                return value
            same_switches = not start and autostart == there.entry.autostart
            other = "" if there.entry.facts.get("uuid") == entry.facts.get("uuid") else "; it has another UUID"
            if same_switches:
                return PlannedPart(kind, name, Action.SAME, f"it is there as in the point{other}")
            return PlannedPart(kind, name, Action.SWITCH, self._words(part, start=start), start, autostart)
        if key in self._replace:
            later = " when it is started anew; it is not stopped" if there.entry.active else ""
            return PlannedPart(kind, name, Action.REPLACE, f"takes effect{later or ' at once'}", start, autostart)
        return PlannedPart(
            kind, name, Action.CONFLICT, f"another one of that name is there; --replace {kind}:{name} replaces it"
        )

    def _why_not(self, part: Part) -> str:
        kind = part.entry.kind
        if reason := unreadable(part.key, self._live.left_out):
            return f"{self._live.host} does not tell what is there: {reason}"
        if part.entry.facts.get("transient"):
            return "it was transient: whoever made it makes it again"
        if part.entry.facts.get("hidden"):
            return "its password is not in the point, as the repository was not encrypted"
        if kind is PartKind.NWFILTER:
            known = {other for found, other in (*self._live.parts, *self._wanted) if found is kind}
            missing = [other for other in references(_root(part)) if other not in known]
            if missing:
                return f"it refers to the filter {missing[0]}, which is not there"
        return ""

    def _in_the_way(self, part: Part) -> str:
        """What libvirt would refuse a new object for; empty when nothing is in the way."""
        kind, _ = part.key
        for other in self._live.of(kind):
            if part.entry.facts.get("uuid") and other.entry.facts.get("uuid") == part.entry.facts["uuid"]:
                return f"{other.entry.name} has its UUID"
            if kind is PartKind.SECRET and other.entry.facts.get("usage") == part.entry.facts.get("usage"):
                return f"the secret {other.entry.name} is for the same {part.entry.facts.get('usage')}"
            if kind is PartKind.NETWORK and (bridge := own_bridge(part.text)) and own_bridge(other.text) == bridge:
                return f"the network {other.entry.name} has the bridge {bridge}"
            if kind is PartKind.POOL and (path := _target(part)) and _target(other) == path:
                return f"the pool {other.entry.name} is at {path}"
        return ""

    def _words(self, part: Part, *, start: bool) -> str:
        kind, name = part.key
        said = []
        if kind is PartKind.SECRET:
            there = (PartKind.SECRET_VALUE, name) in self._point.parts
            usage = part.entry.facts.get("usage", "")
            said.append(f"for {usage}" if usage else "")
            said.append("with its value" if there else "without its value: " + self._why_no_value(name))
        if part.entry.autostart is not None:
            said.append(f"autostart {'on' if part.entry.autostart else 'off'}")
        if start:
            said.append("started")
        return ", ".join(word for word in said if word)

    def _value(self, name: str) -> PlannedPart | None:
        """What becomes of the value of a secret that is defined as in the point; None when it needs nothing."""
        key = PartKind.SECRET_VALUE, name
        wanted, there = self._point.parts.get(key), self._live.parts.get(key)
        if wanted is None:
            return None
        if reason := unreadable(key, self._live.left_out):
            return PlannedPart(
                PartKind.SECRET, name, Action.SAME, f"it is there; whether its value is the same: {reason}"
            )
        if there is None:
            return PlannedPart(PartKind.SECRET, name, Action.SWITCH, "its value is missing, and is set")
        if there.content == wanted.content:
            return None
        if (PartKind.SECRET, name) in self._replace:
            return PlannedPart(PartKind.SECRET, name, Action.REPLACE, "its value is another one, and is set")
        words = f"its value is another one; --replace secret:{name} sets that of the point"
        return PlannedPart(PartKind.SECRET, name, Action.CONFLICT, words)

    def _why_no_value(self, name: str) -> str:
        reason = unreadable((PartKind.SECRET_VALUE, name), self._point.left_out) or "the point has none"
        return f"{reason}; set it by hand"


def _counts(part: Part) -> str:
    return canonical(part.entry.kind, part.content, without_uuid=part.entry.kind is not PartKind.SECRET)


def _target(part: Part) -> str:
    return domain_xml.text_of(_root(part), "./target/path")


def with_uuid(xml: str, uuid: str) -> str:
    """A definition under the UUID of the object that it replaces. Pure."""
    from xml.etree.ElementTree import tostring

    root = domain_xml.parse(xml)
    element = root.find("./uuid")
    if element is None or not uuid:
        return xml
    element.text = uuid
    return tostring(root, encoding="unicode")
