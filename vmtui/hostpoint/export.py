"""A host point as a folder: files, definitions, packages, and the ordered steps to rebuild a host from it.

Nothing on the host is touched; whoever rebuilds it copies what he wants, after a look at the differences.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from vmtui.hostpoint.diff import Change, visible
from vmtui.hostpoint.hiding import shown
from vmtui.model.codec import format_instant
from vmtui.model.errors import FailedError, RefusedError
from vmtui.model.hostpoint import RESTORABLE, HostState, Part, PartKind
from vmtui.model.ids import PointId

_STEPS = "REBUILD.md"
_DIFF = "changes.diff"


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    folder: str
    files: tuple[str, ...]
    """Paths below the folder."""
    hidden: tuple[str, ...]
    """Files whose passwords were taken out, or that were left out for them."""
    steps: tuple[str, ...]


def export(
    state: HostState,
    point: PointId,
    folder: Path,
    *,
    with_secrets: bool,
    changes: Sequence[Change] | None,
    restorable: Iterable[str],
) -> Exported:
    """Write a point into a new folder (0700).

    Args:
        state: All of the point.
        point: Its id.
        folder: Must not be there, or be empty.
        with_secrets: Also passwords and secrets' values, in clear.
        changes: What differs on the host that was compared; None when none was.
        restorable: Names of the VMs that have a point.

    Raises:
        RefusedError: Something is in the folder.
        FailedError: It cannot be written.
    """
    work = _Export(folder, with_secrets=with_secrets)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise RefusedError("TARGET-EXISTS", f"{folder} is not empty.")
        for part in state.parts.values():
            work.part(part)
        if changes is not None:
            work.write(_DIFF, _diff_text(changes).encode())
        steps = rebuild_steps(state, point, restorable)
        numbered = "".join(f"{number}. {step}\n" for number, step in enumerate(steps, 1))
        head = f"# Rebuild {state.host} from host point {point} of {format_instant(state.time)}\n\n"
        left = "".join(f"- {item.name}: {item.reason}\n" for item in state.left_out)
        work.write(_STEPS, (head + numbered + (f"\nThe point does not hold:\n\n{left}" if left else "")).encode())
    except OSError as error:
        raise FailedError("WRITE-FAILED", f"{folder} cannot be written: {error.strerror or error}") from error
    return Exported(str(folder), tuple(work.written), tuple(work.hidden), tuple(steps))


class _Export:
    def __init__(self, folder: Path, *, with_secrets: bool) -> None:
        self._folder = folder
        self._with_secrets = with_secrets
        self.written: list[str] = []
        self.hidden: list[str] = []

    def part(self, part: Part) -> None:
        """Write what a part holds."""
        kind, name = part.key
        if kind is PartKind.FILE:
            self._file(part)
        elif kind is PartKind.LINK:
            self.write(f"files/{_safe(name)}.symlink", part.content + b"\n")
        elif kind is PartKind.SECRET_VALUE:
            if self._with_secrets:
                self.write(f"secret/{quote(name, safe='')}.value", part.content)
            else:
                self.hidden.append(f"secret value {name}")
        elif part.content:
            suffix = (
                "xml" if part.text.lstrip().startswith("<") else "json" if part.text.startswith(("[", "{")) else "txt"
            )
            content = part.content if self._with_secrets else visible(part).encode()
            self.write(f"{kind.value.replace(' ', '-')}/{quote(name, safe='')}.{suffix}", content)

    def _file(self, part: Part) -> None:
        content, name = part.content, part.entry.name
        if not self._with_secrets:
            clean = shown(content)
            if clean.refused or clean.hidden or part.entry.facts.get("hidden"):
                self.hidden.append(name)
            if clean.refused:
                return
            content = clean.content
        self.write(f"files/{_safe(name)}", content)

    def write(self, path: str, content: bytes) -> None:
        """Write one new file (0600); nothing is replaced and no link is followed."""
        place = self._folder / path
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        self.written.append(path)


def _safe(path: str) -> str:
    """A path of a host below our folder: names that lead elsewhere are quoted."""
    parts = [part for part in path.split("/") if part]
    return "/".join("%2E" * len(part) if part in (".", "..") else part.replace("\0", "%00") for part in parts) or "%2F"


def _diff_text(changes: Sequence[Change]) -> str:
    lines = []
    for item in changes:
        lines.append(f"{item.what} {item.title}")
        lines += [f"  {detail}" for detail in item.details]
        lines += list(item.lines)
    return "\n".join(lines) + "\n" if lines else "nothing differs\n"


# -- the steps -----------------------------------------------------------------------------------


def rebuild_steps(state: HostState, point: PointId, restorable: Iterable[str]) -> list[str]:
    """What to do on a fresh host, in order. Pure.

    Args:
        state: All of the point.
        point: Its id.
        restorable: Names of the VMs that have a point.
    """
    system = next((part.text for part in state.of(PartKind.RECORD) if part.entry.name == "system"), "")
    facts = dict(line.split(": ", 1) for line in system.splitlines() if ": " in line)
    system_name, kernel = facts.get("system", "the same distribution"), facts.get("kernel", "kernel not known")
    called = facts.get("hostname", state.host)
    trust = f"vmtui host trust {state.host}"
    steps = [f"Install {system_name} ({kernel}), name it {called}, and let vmtui log in: {trust}"]
    packages = [f"{part.entry.name}={part.entry.facts.get('version', '')}" for part in state.of(PartKind.PACKAGE)]
    if packages:
        steps.append("Install these packages, at these versions or newer: " + " ".join(packages))
    files = [*state.of(PartKind.FILE), *state.of(PartKind.LINK)]
    network = [
        part.entry.name
        for part in files
        if not part.entry.name.startswith(("/etc/libvirt", "/etc/qemu", "/etc/default"))
    ]
    if network:
        steps.append("Compare, then copy the network's files, and restart the network: " + " ".join(network))
    other = [part.entry.name for part in files if part.entry.name not in network]
    if other:
        steps.append("Compare, then copy the files of libvirt and QEMU, and restart libvirt: " + " ".join(other))
    devices = [part.entry.name for part in state.of(PartKind.NODE_DEVICE)]
    if devices:
        steps.append("See that these devices are there and may be given to VMs: " + " ".join(devices))
    steps.append(f"See what will be made: vmtui host restore {point} --to {state.host} --plan")
    counts = ", ".join(f"{len(state.of(kind))} {kind}s" for kind in RESTORABLE if state.of(kind))
    steps.append(f"Bring back {counts or 'nothing'}: vmtui host restore {point} --to {state.host} --yes")
    steps += [
        f"Set the value of the secret {part.entry.name} ({part.entry.facts.get('usage', '')}): virsh secret-set-value"
        for part in state.of(PartKind.SECRET)
        if (PartKind.SECRET_VALUE, part.entry.name) not in state.parts
    ]
    return steps + _vm_steps(state, set(restorable))


def _vm_steps(state: HostState, restorable: set[str]) -> list[str]:
    """VMs that start with the host come first."""
    vms = sorted(state.of(PartKind.DOMAIN), key=lambda part: (not part.entry.autostart, part.entry.name))
    steps = []
    for part in vms:
        name = part.entry.name
        if name in restorable:
            steps.append(f"vmtui restore {shlex.quote(f'{state.host}/{name}@good')} --to {state.host}")
        else:
            steps.append(f"The VM {name} ({part.entry.facts.get('uuid', '')}) has no restore point.")
    return steps
