"""Throw-away VMs: transient, gone with our connection, and looked after by a caretaker on the host.

Three things see to it that none outlives us. libvirt destroys it when our connection closes (AUTODESTROY). A caretaker,
a shell process whose standard input is its life line, destroys it and removes its folder when we are gone. And what both
missed, because the host itself went down, is swept away by the next run: a folder whose caretaker does not touch it any
more belongs to nobody.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import libvirt

from vmtui.hosts import domain_xml
from vmtui.hosts.domains import Domain
from vmtui.hosts.inventory import domain_state
from vmtui.hosts.session import HostSession
from vmtui.hosts.shell import LifeLine
from vmtui.model.errors import FailedError, UnreachableError, VmtuiError
from vmtui.model.ids import VmId
from vmtui.model.rehearsal import PREFIX, is_throw_away
from vmtui.model.vm import DomainState

ALIVE = "alive"
"""The file in the folder that the caretaker touches."""
SILENCE_S = 30
"""The caretaker acts after so long without a beat [s]."""
STALE_S = 120
"""A folder that nobody touched for so long belongs to nobody [s]."""

_OTHERS = "others"
_OTHERS_LIMIT = 4096
_OTHER = re.compile(r"vmtui-[0-9A-Za-z-]{8,26}")
_PATIENCE_S = 600
_LOOKS = 3
"""A VM that is being made while we die may appear a moment later, so the caretaker looks more than once."""

_CARETAKER = r"""
uri=$1 uuid=$2 folder=$3 log=$4 silence=$5 patience=$6 looks=$7
shift 7
command -v virsh >/dev/null || { echo "virsh is missing" >&2; exit 127; }
trap '' HUP PIPE INT TERM
: >"$folder/alive" || exit 1
echo ready
exec >/dev/null 2>&1
while :; do
    word=$(timeout "$silence" dd bs=1 count=1)
    case $word in
        k) touch "$folder/alive" ;;
        d) exit 0 ;;
        *) break ;;
    esac
done
gone=0
while [ "$patience" -gt 0 ] && [ "$gone" -lt "$looks" ]; do
    if known=$(virsh -q -c "$uri" list --all --uuid); then
        case $known in
            *"$uuid"*) gone=0; virsh -q -c "$uri" destroy "$uuid" ;;
            *) gone=$((gone + 1)) ;;
        esac
    fi
    sleep 1
    patience=$((patience - 1))
done
rm -f "$folder"/* "$log"
rmdir "$folder"
for other in "$@"; do
    rm -f "$other"/*
    rmdir "$other"
done
"""

_STALE = r"""
now=$(date +%s)
for folder in "$1"/"$2"*; do
    [ -d "$folder" ] && [ -O "$folder" ] && ! [ -L "$folder" ] || continue # others write there as well
    touched=$(stat -c %Y "$folder/alive" 2>/dev/null || stat -c %Y "$folder")
    [ $((now - touched)) -ge "$3" ] && echo "$folder"
done
exit 0
"""

_CLEAR = '[ -O "$1" ] && ! [ -L "$1" ] && rm -f "$1"/* && rmdir "$1"'


class Caretaker:
    """Destroys a throw-away VM and removes its folders when we are gone.

    Args:
        session: The host.
        uuid: The VM; it need not be there yet.
        folder: Its folder, which has its name; holds plain files alone.
        others: Further folders of that kind, for its sockets; they need not be there yet.

    Raises:
        FailedError: virsh is missing on the host, or the folder cannot be written.
        UnreachableError: The login ended.
    """

    def __init__(self, session: HostSession, uuid: VmId, folder: str, others: Sequence[str]) -> None:
        arguments = [session.remote_uri(), uuid, folder, log_path(session, posixpath.basename(folder))]
        arguments += [str(SILENCE_S), str(_PATIENCE_S), str(_LOOKS), *others]
        self._line: LifeLine = session.lifeline(_CARETAKER, arguments)
        self._line.beat()

    def dismiss(self) -> None:
        """All is cleared away: the caretaker ends without acting."""
        try:
            self._line.send(b"d")
        except UnreachableError:
            return  # it will look, and find nothing
        self._line.end(2.0)

    def abandon(self) -> None:
        """Let it act now."""
        self._line.end(0.0)


# -- the VM --------------------------------------------------------------------------------------


def create_paused(session: HostSession, xml: str) -> None:
    """Make a transient VM with its processors stopped; it ends with our connection to libvirt.

    Raises:
        FailedError: libvirt or QEMU refused; the cause says why.
        UnreachableError: libvirt does not answer in time.
    """
    flags = libvirt.VIR_DOMAIN_START_PAUSED | libvirt.VIR_DOMAIN_START_AUTODESTROY

    def call(connection: libvirt.virConnect) -> None:
        connection.createXML(xml, flags)

    session.with_libvirt("start the throw-away VM", call, deadline_s=120.0)


def destroy(session: HostSession, uuid: VmId) -> None:
    """End a throw-away VM. Safe to repeat.

    Raises:
        RuntimeError: It is none of ours.
        FailedError, UnreachableError: libvirt refused or does not answer.
    """

    def call(domain: libvirt.virDomain) -> None:
        if not is_throw_away(domain.name()) or domain.isPersistent():
            raise RuntimeError(f"{domain.name()} is not a throw-away VM")
        domain.destroy()

    try:
        Domain(session, uuid).call("end the throw-away VM", call, deadline_s=60.0)
    except VmtuiError as error:
        if error.id != "VM-GONE":
            raise


@dataclass(frozen=True, slots=True)
class Standing:
    """How a throw-away VM stands."""

    state: DomainState | None
    """None when it is gone."""
    panicked: bool = False
    """Its system told QEMU that it panicked."""
    io_error: bool = False
    """A disk could not be read or written, so it was paused."""


def standing(session: HostSession, uuid: VmId) -> Standing:
    """How it stands now."""

    def read(domain: libvirt.virDomain) -> Standing:
        state, reason = domain.state()
        return Standing(
            domain_state(state),
            panicked=(state, reason) == (libvirt.VIR_DOMAIN_CRASHED, libvirt.VIR_DOMAIN_CRASHED_PANICKED),
            io_error=(state, reason) == (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR),
        )

    try:
        return Domain(session, uuid).call("read the state", read)
    except VmtuiError as error:
        if error.id == "VM-GONE":
            return Standing(None)
        raise


# -- leftovers -----------------------------------------------------------------------------------


def log_path(session: HostSession, name: str) -> str:
    """Where libvirt keeps what QEMU printed; it would stay when the VM is gone."""
    if urlsplit(session.host.uri).path == "/session":
        cache = session.environment("XDG_CACHE_HOME", "$HOME/.cache")
        return posixpath.join(cache, "libvirt", "qemu", "log", f"{name}.log")
    return f"/var/log/libvirt/qemu/{name}.log"


def note_others(session: HostSession, folder: str, others: Sequence[str]) -> None:
    """Write down which further folders belong to a throw-away VM, for whoever sweeps them away."""
    session.files.write_new(posixpath.join(folder, _OTHERS), "\n".join(others).encode())


def _others(session: HostSession, folder: str) -> list[str]:
    """What was written down, as far as it is believed."""
    try:
        text = session.files.read(posixpath.join(folder, _OTHERS), _OTHERS_LIMIT).decode("utf-8", "replace")
    except FailedError:
        return []  # it died before that
    return [path for path in text.splitlines() if _OTHER.fullmatch(posixpath.basename(path))]


def clear_folder(session: HostSession, folder: str) -> None:
    """Remove a folder of plain files. Safe to repeat.

    Raises:
        FailedError: Something in it cannot be removed.
    """
    if session.files.exists(folder):
        session.run(["sh", "-c", _CLEAR, "clear", folder]).checked(session.host.name)


def left_behind(session: HostSession, uuid: VmId, folders: Sequence[str]) -> list[str]:
    """What is still there of a VM that should be gone without a trace; empty when nothing is."""
    found = [folder for folder in folders if session.files.exists(folder)]
    return found + ([uuid] if standing(session, uuid).state is not None else [])


def sweep(session: HostSession, parent: str, run: str = "") -> list[str]:
    """Clear away what earlier runs left: what nobody tends any more, and all of one run.

    Args:
        session: The host.
        parent: Where folders of throw-away VMs are.
        run: Whatever begins so goes as well, tended or not; only its own run may say so.

    Returns:
        Names of what was cleared away.

    Raises:
        FailedError, UnreachableError: The host refused or does not answer.
    """
    found = session.run(["sh", "-c", _STALE, "stale", parent, PREFIX, str(STALE_S)]).checked(session.host.name)
    stale = [folder for folder in found.output.splitlines() if is_throw_away(posixpath.basename(folder))]
    if run:
        stale += [posixpath.join(parent, name) for name in session.files.names(parent) if _is_of(name, run)]
    running = _running(session)
    names = {posixpath.basename(folder) for folder in stale}
    names |= {name for name in running if _is_of(name, run)}
    for name in sorted(names & running.keys()):
        destroy(session, running[name])
        session.files.remove(log_path(session, name))
    for folder in sorted(set(stale)):
        for other in _others(session, folder):
            clear_folder(session, other)
        clear_folder(session, folder)
    return sorted(names)


def _is_of(name: str, run: str) -> bool:
    return bool(run) and is_throw_away(name) and name.startswith(f"{PREFIX}{run}-")


def _running(session: HostSession) -> dict[str, VmId]:
    """Throw-away VMs by name."""

    def read(connection: libvirt.virConnect) -> dict[str, VmId]:
        domains = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT)
        return {domain.name(): VmId(domain.UUIDString()) for domain in domains if is_throw_away(domain.name())}

    return session.with_libvirt("list the throw-away VMs", read)


# -- what it shows -------------------------------------------------------------------------------

_PICTURE_LIMIT = 64 << 20
_PIECE = 256 << 10


def screenshot(session: HostSession, uuid: VmId) -> tuple[str, bytes]:
    """A picture of the first screen.

    Returns:
        (media type, bytes).

    Raises:
        FailedError: There is no screen, or the VM is gone.
    """

    def take(domain: libvirt.virDomain) -> tuple[str, bytes]:
        stream = domain.connect().newStream(0)
        kind = domain.screenshot(stream, 0, 0)
        data = bytearray()
        while piece := stream.recv(_PIECE):
            data += piece
            if len(data) > _PICTURE_LIMIT:
                stream.abort()
                raise FailedError("REMOTE-COMMAND", "the picture of the screen has no end", host=session.host.name)
        stream.finish()
        return str(kind), bytes(data)

    return Domain(session, uuid).call("take a picture of the screen", take, deadline_s=30.0)


def agent_state(session: HostSession, uuid: VmId) -> str:
    """`connected`, `disconnected` or `absent`."""
    xml = Domain(session, uuid).call("look at the agent's channel", lambda domain: domain.XMLDesc(0))
    return domain_xml.agent_channel(domain_xml.parse(xml))


def free_memory(session: HostSession) -> tuple[int, int]:
    """(what processes could still use, all) of the host's memory [bytes]."""

    def read(connection: libvirt.virConnect) -> tuple[int, int]:
        kib = connection.getMemoryStats(libvirt.VIR_NODE_MEMORY_STATS_ALL_CELLS, 0)
        usable = kib.get("free", 0) + kib.get("buffers", 0) + kib.get("cached", 0)
        return usable << 10, kib.get("total", 0) << 10

    return session.with_libvirt("read the host's memory", read)
