"""Reading a host, part by part. What cannot be read is named; it never costs the rest."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

from vmtui.hostpoint.canonical import EPHEMERAL, digest
from vmtui.hostpoint.hiding import shown, shown_xml
from vmtui.hosts import HostSession, domain_xml, host_files, host_objects
from vmtui.hosts.host_files import ConfigFile
from vmtui.hosts.host_objects import HostObject
from vmtui.model.errors import FailedError
from vmtui.model.hostpoint import RESTORABLE, Entry, HostState, Key, Part, PartKind
from vmtui.model.point import LeftOut

T = TypeVar("T")

_OBJECTS = (*RESTORABLE, PartKind.INTERFACE, PartKind.DOMAIN)


def every(kind: PartKind) -> str:
    """How all parts of a kind are called where none could be read."""
    return f"every {kind}"


def unreadable(key: Key, left_out: Iterable[LeftOut]) -> str:
    """Why a part could not be read; empty when it could."""
    kind, name = key
    names = {every(kind), f"{kind} {name}", *([name] if kind in (PartKind.FILE, PartKind.LINK) else [])}
    for item in left_out:
        if item.name in names or (kind in (PartKind.FILE, PartKind.LINK) and name.startswith(f"{item.name}/")):
            return item.reason
    return ""


def capture(session: HostSession, now: datetime, *, with_secrets: bool) -> HostState:
    """Everything that a host point holds.

    Args:
        session: The host.
        now: The instant [UTC].
        with_secrets: Also the values of secrets, and files with the passwords in them; else they are taken out.

    Raises:
        UnreachableError: The host does not answer.
    """
    return _Capture(session, with_secrets=with_secrets).everything(now)


def capture_objects(session: HostSession, now: datetime, kinds: Sequence[PartKind] = RESTORABLE) -> HostState:
    """Only what libvirt defines, with secrets' values; for comparing, never for keeping.

    Raises:
        UnreachableError: The host does not answer.
    """
    work = _Capture(session, with_secrets=True)
    for kind in kinds:
        found = work.objects(kind)
        if kind is PartKind.SECRET:
            for item in found:
                work.value(item.name)
    return work.state(now)


class _Capture:
    def __init__(self, session: HostSession, *, with_secrets: bool) -> None:
        self._session = session
        self._with_secrets = with_secrets
        self._parts: dict[Key, Part] = {}
        self._left_out: list[LeftOut] = []
        self._bridges: list[str] = []
        """Links that libvirt makes for its networks: they are described there, and come and go with them."""

    def everything(self, now: datetime) -> HostState:
        """All kinds."""
        found = {kind: self.objects(kind) for kind in _OBJECTS}
        for item in found[PartKind.SECRET]:
            if self.value(item.name):
                self._left_out.append(LeftOut(f"{PartKind.SECRET_VALUE} {item.name}", "it has none"))
        devices, away = host_objects.devices_in_use(self._session, found[PartKind.DOMAIN])
        self._left_out += away
        for item in devices:
            self._add_object(item)
        self._files()
        self._records(self._bridges)
        return self.state(now)

    def state(self, now: datetime) -> HostState:
        """What was read."""
        return HostState(self._session.host.name, now, dict(sorted(self._parts.items())), tuple(self._left_out))

    # -- libvirt ---------------------------------------------------------------------------------

    def objects(self, kind: PartKind) -> list[HostObject]:
        """Read all of a kind."""
        found = self._try(every(kind), lambda: host_objects.read_kind(self._session, kind)) or []
        if kind is PartKind.NETWORK:
            self._bridges = [bridge for item in found if (bridge := own_bridge(item.xml))]
        if kind is PartKind.INTERFACE:
            skipped = {name for bridge in self._bridges for name in (bridge, f"{bridge}-nic")}
            found = [item for item in found if not item.name.startswith(EPHEMERAL) and item.name not in skipped]
        for item in found:
            self._add_object(item)
        return found

    def _add_object(self, item: HostObject) -> None:
        facts = {"uuid": item.uuid} if item.uuid else {}
        if not item.persistent:
            facts["transient"] = "yes"
        if item.kind is PartKind.SECRET:
            facts["usage"] = _usage(item.xml)
        xml = "" if item.kind is PartKind.DOMAIN else item.xml
        if not self._with_secrets and (clean := shown_xml(xml)) != xml:
            xml = clean
            facts["hidden"] = "its password"
        self._add(item.kind, item.name, xml.encode(), active=item.active, autostart=item.autostart, facts=facts)

    def value(self, uuid: str) -> bool:
        """Read the value of a secret, if that may be kept or compared; gives whether it is known to have none."""
        name = f"{PartKind.SECRET_VALUE} {uuid}"
        if not self._with_secrets:
            self._left_out.append(LeftOut(name, "the repository is not encrypted"))
            return False
        found = self._try(name, lambda: (host_objects.secret_value(self._session, uuid),))
        if found is not None and found[0] is not None:
            self._add(PartKind.SECRET_VALUE, uuid, found[0])
        return found == (None,)

    # -- files -----------------------------------------------------------------------------------

    def _files(self) -> None:
        found = self._try(every(PartKind.FILE), lambda: host_files.read_files(self._session))
        if found is None:
            return
        files, left_out = found
        self._left_out += left_out
        for item in files:
            self._add_file(item)

    def _add_file(self, item: ConfigFile) -> None:
        facts = {"mode": item.mode, "owner": item.owner}
        content = item.content
        if not item.link and not self._with_secrets:
            clean = shown(content)
            if clean.refused:
                self._left_out.append(LeftOut(item.path, f"{clean.refused}, and the repository is not encrypted"))
                return
            if clean.hidden:
                facts["hidden"] = f"{clean.hidden} lines"
            content = clean.content
        self._add(PartKind.LINK if item.link else PartKind.FILE, item.path, content, facts=facts)

    # -- what the host says of itself ------------------------------------------------------------

    def _records(self, bridges: Sequence[str]) -> None:
        session = self._session
        packages = self._try(every(PartKind.PACKAGE), lambda: host_files.packages(session))
        for name, version in (packages or {}).items():
            self._add(PartKind.PACKAGE, name, facts={"version": version})
        self._record("capabilities", lambda: host_objects.capabilities(session))
        self._record("domain capabilities", lambda: host_objects.domain_capabilities(session))
        self._record("addresses", lambda: _json(host_files.addresses(session, bridges)))
        self._record("routes", lambda: _json(host_files.routes(session, bridges)))
        self._record("system", lambda: _lines(host_files.system(session) | host_objects.versions(session)))
        self._record("hypervisor", lambda: host_objects.hypervisor_version(session) + "\n")

    def _record(self, name: str, read: Callable[[], str]) -> None:
        text = self._try(f"{PartKind.RECORD} {name}", read)
        if text is not None:
            self._add(PartKind.RECORD, name, text.encode())

    # -- inside ----------------------------------------------------------------------------------

    def _try(self, name: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except FailedError as error:
            self._left_out.append(LeftOut(name, error.cause))
            return None

    def _add(
        self,
        kind: PartKind,
        name: str,
        content: bytes = b"",
        *,
        active: bool | None = None,
        autostart: bool | None = None,
        facts: dict[str, str] | None = None,
    ) -> None:
        entry = Entry(kind, name, digest(kind, content), bool(content), active, autostart, facts or {})
        self._parts[entry.key] = Part(entry, content)


def own_bridge(xml: str) -> str:
    """The bridge that libvirt makes for a network; empty when it makes none."""
    root = domain_xml.parse(xml)
    forward = root.find("./forward")
    bridge = root.find("./bridge")
    made = forward is None or forward.get("mode", "nat") in ("nat", "route", "open")
    return bridge.get("name", "") if made and bridge is not None else ""


def _usage(xml: str) -> str:
    """What a secret is for: `volume /path`, `ceph client.admin`, …"""
    usage = domain_xml.parse(xml).find("./usage")
    if usage is None:
        return ""
    return " ".join([usage.get("type", ""), *((child.text or "").strip() for child in usage)])


def _json(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def _lines(values: dict[str, str]) -> str:
    return "".join(f"{name}: {value}\n" for name, value in sorted(values.items()))
