"""Configuration files, packages and addresses of a host, each read with one command."""

from __future__ import annotations

import io
import json
import posixpath
import tarfile
from base64 import b64decode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from vmtui.hosts.session import HostSession
from vmtui.model.errors import FailedError
from vmtui.model.point import LeftOut

FILE_LIMIT = 1 << 20
"""A longer file is no configuration [bytes]."""
TOTAL_LIMIT = 6 << 20
"""All files of a host together [bytes]."""
_COUNT_LIMIT = 3000
_READ_S = 60.0

_NETWORK_ROOTS = (
    "/etc/network/interfaces",
    "/etc/network/interfaces.d",
    "/etc/netplan",
    "/etc/systemd/network",
    "/etc/NetworkManager/NetworkManager.conf",
    "/etc/NetworkManager/conf.d",
    "/etc/NetworkManager/system-connections",
    "/etc/sysconfig/network-scripts",
)
_SYSTEM_ROOTS = (
    "/etc/libvirt",
    "/etc/qemu",
    "/etc/default/libvirtd",
    "/etc/default/libvirt-guests",
    "/etc/default/qemu-kvm",
    "/etc/sysconfig/libvirtd",
    "/etc/sysconfig/libvirt-guests",
)
DEFINITIONS = ("qemu", "storage", "nwfilter", "secrets", "libxl", "lxc", "ch", "bhyve")
"""Folders of libvirt's own in its configuration folder: what they hold is read through libvirt, or belongs to VMs."""

_FIND = r"""
LC_ALL=C; export LC_ALL
base=$1 status=0; shift
for name in "$@"; do
    parent=${name%/*}
    if [ -d "$parent" ] && [ ! -x "$parent" ]; then
        printf 'x\t0\t\t\t0\t%s\t\0' "$name"
        continue
    fi
    [ -e "$name" ] || continue
    find "$name" -xdev \( @OWN@ \) -prune \
        -o -type d \( ! -readable -o ! -executable \) -printf 'x\t0\t\t\t0\t%p\t\0' -prune \
        -o -type f ! -readable -printf 'x\t0\t\t\t0\t%p\t\0' \
        -o \( -type f -o -type l \) -printf '%y\t%m\t%u\t%g\t%s\t%p\t%l\0' || status=1
done
exit $status
""".replace("@OWN@", " -o ".join(f'-path "$base/{name}"' for name in DEFINITIONS))
_TAR = "tar --null --no-recursion --hard-dereference --ignore-failed-read -cf - -T - 2>/dev/null | base64 -w 0"
_PACKAGES = r"""
if command -v dpkg-query >/dev/null 2>&1; then
    dpkg-query -W -f '${db:Status-Status}\t${Package}\t${Version}\n' 'libvirt*' 'qemu*' seabios 'ovmf*' 'swtpm*' 'libtpms*' \
        'virt*' 'dnsmasq*' 'ipxe*' 'linux-image-*' 2>/dev/null | sed -n 's/^installed\t//p'
elif command -v rpm >/dev/null 2>&1; then
    rpm -qa --qf '%{NAME}\t%{VERSION}-%{RELEASE}\n' 'libvirt*' 'qemu*' 'seabios*' 'edk2*' 'swtpm*' 'libtpms*' 'virt*' \
        'dnsmasq*' 'ipxe*' 'kernel*'
else
    echo 'neither dpkg-query nor rpm is there' >&2; exit 1
fi
"""
_SYSTEM = r"""
uname -srm
sed -n 's/^PRETTY_NAME=//p' /etc/os-release 2>/dev/null | tr -d '"'
"""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A file or symbolic link."""

    path: str
    mode: str
    """Octal digits."""
    owner: str
    """user:group."""
    content: bytes
    """What is in it, or where the link leads."""
    link: bool = False


@dataclass(frozen=True, slots=True)
class _Listed:
    kind: str
    mode: str
    owner: str
    size: int
    path: str
    target: str


def read_files(session: HostSession) -> tuple[list[ConfigFile], list[LeftOut]]:
    """All configuration files, and those that could not be read.

    Raises:
        FailedError: They cannot be listed.
        UnreachableError: The host does not answer.
    """
    base = _libvirt_folder(session)
    roots = [base, *(_SYSTEM_ROOTS if base == "/etc/libvirt" else ()), *_NETWORK_ROOTS]
    answer = session.run(["sh", "-c", _FIND, "list", base, *roots], deadline_s=_READ_S)
    listed = sorted(_parse(answer.output), key=lambda item: item.path)
    left_out = [LeftOut(item.path, "this login may not read it") for item in listed if item.kind == "x"]
    links = [
        ConfigFile(item.path, item.mode, item.owner, item.target.encode(), link=True)
        for item in listed
        if item.kind == "l"
    ]
    wanted, too_much = _within_limits([item for item in listed if item.kind == "f"])
    contents = _contents(session, [item.path for item in wanted])
    gone = [LeftOut(item.path, "it could not be read") for item in wanted if item.path not in contents]
    files = [
        ConfigFile(item.path, item.mode, item.owner, contents[item.path]) for item in wanted if item.path in contents
    ]
    if answer.status != 0:
        gone.append(LeftOut("some files", (answer.errors.strip() or "find failed").splitlines()[-1]))
    return files + links, left_out + too_much + gone


def _libvirt_folder(session: HostSession) -> str:
    """Where the libvirt that we talk to keeps its configuration."""
    if urlsplit(session.host.uri).path != "/session":
        return "/etc/libvirt"
    return posixpath.normpath(posixpath.join(session.environment("XDG_CONFIG_HOME", "$HOME/.config"), "libvirt"))


def _parse(output: str) -> list[_Listed]:
    """Rows of the listing; a name that is not UTF-8 cannot be asked for again, so it comes as unreadable."""
    found = []
    for row in output.split("\0"):
        fields = row.split("\t")
        if len(fields) != 7 or not fields[5].startswith("/"):
            continue
        kind, mode, user, group, size, path, target = fields
        bad = "�" in path
        found.append(_Listed("x" if bad else kind, mode, f"{user}:{group}", int(size), path, target))
    return found


def _within_limits(files: Sequence[_Listed]) -> tuple[list[_Listed], list[LeftOut]]:
    wanted: list[_Listed] = []
    left_out, total = [], 0
    for item in files:
        if item.size > FILE_LIMIT:
            left_out.append(LeftOut(item.path, f"it has {item.size} bytes, more than a configuration file"))
        elif total + item.size > TOTAL_LIMIT or len(wanted) >= _COUNT_LIMIT:
            left_out.append(LeftOut(item.path, "there are too many files"))
        else:
            total += item.size
            wanted.append(item)
    return wanted, left_out


def _contents(session: HostSession, paths: Sequence[str]) -> dict[str, bytes]:
    """What is in files, by path; without those that could not be read. They come as an archive that is only read."""
    if not paths:
        return {}
    stdin = "".join(f"{path}\0" for path in paths)
    answer = session.run(["sh", "-c", _TAR], deadline_s=_READ_S, stdin=stdin)
    asked = set(paths)
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(b64decode(answer.output)), mode="r:") as archive:
            for member in archive:
                path = "/" + member.name.lstrip("/")
                file = (
                    archive.extractfile(member)
                    if member.isreg() and member.size <= FILE_LIMIT and path in asked
                    else None
                )
                if file is not None:
                    found[path] = file.read()
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise FailedError(
            "REMOTE-COMMAND", f"tar on {session.host.name} gave no archive: {answer.errors.strip() or error}"
        ) from error
    return found


# -- packages and addresses ----------------------------------------------------------------------


def packages(session: HostSession) -> dict[str, str]:
    """Versions of the packages that matter to VMs, by name.

    Raises:
        FailedError: The host has no package manager that we know.
    """
    answer = session.run(["sh", "-c", _PACKAGES], deadline_s=_READ_S)
    if answer.status != 0 and not answer.output:
        answer.checked(session.host.name)
    rows = (line.split("\t") for line in answer.output.splitlines())
    return {row[0]: row[1] for row in rows if len(row) == 2 and row[0]}


def system(session: HostSession) -> dict[str, str]:
    """The running kernel and the name of the distribution."""
    kernel, _, name = session.run(["sh", "-c", _SYSTEM]).output.strip().partition("\n")
    return {"kernel": kernel, "system": name}


_EPHEMERAL = ("vnet", "tap", "macvtap", "veth")
"""Links that come and go with VMs and containers."""


def addresses(session: HostSession, ours: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Links with their addresses, without what changes by itself.

    Args:
        session: The host.
        ours: Bridges that libvirt makes for its networks; they are described there.

    Raises:
        FailedError: The host has no `ip`, or an old one.
    """
    skipped = {name for bridge in ours for name in (bridge, f"{bridge}-nic")}
    return [
        _link(item)
        for item in _ip(session, "addr")
        if not str(item.get("ifname", "")).startswith(_EPHEMERAL) and item.get("ifname") not in skipped
    ]


def routes(session: HostSession, ours: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Routes, without those of libvirt's own bridges."""
    kept = ("dst", "gateway", "dev", "protocol", "scope", "prefsrc", "metric", "type")
    skipped = set(ours)
    return [
        {name: item[name] for name in kept if name in item}
        for item in _ip(session, "route")
        if item.get("dev") not in skipped
    ]


def _ip(session: HostSession, what: str) -> list[dict[str, Any]]:
    answer = session.run(["sh", "-c", f"PATH=$PATH:/usr/sbin:/sbin exec ip -d -j {what} show"]).checked(
        session.host.name
    )
    try:
        found = json.loads(answer.output or "[]")
    except ValueError as error:
        raise FailedError("REMOTE-COMMAND", f"ip on {session.host.name} gave no JSON: {error}") from error
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _link(item: dict[str, Any]) -> dict[str, Any]:
    info = item.get("linkinfo") or {}
    data = info.get("info_data") or {}
    link: dict[str, Any] = {
        name: item[name] for name in ("ifname", "link_type", "mtu", "master", "address") if name in item
    }
    if "info_kind" in info:
        link["kind"] = info["info_kind"]
    for name in ("protocol", "id", "mode", "stp_state", "vlan_filtering", "miimon"):
        if name in data:
            link[name] = data[name]
    link["addresses"] = [
        f"{address.get('local')}/{address.get('prefixlen')}"
        for address in item.get("addr_info", ())
        if not address.get("temporary") and not (address.get("dynamic") and address.get("family") == "inet6")
    ]
    return link
