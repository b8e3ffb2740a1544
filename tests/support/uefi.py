"""A real guest with UEFI firmware and a TPM, and raw TPM 2.0 commands, sent from inside it or to its state at rest."""

from __future__ import annotations

import contextlib
import gzip
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.client import wait_until
from tests.support.guests import run_in_guest
from tests.support.site import Site

_GUEST = Path(sys.prefix) / "share" / "vmtui" / "guest"
_CODE, _VARS = Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
_VARIABLE = "/v/VmtuiTest-5b446ed1-e30b-4faa-871a-3654eca36080"
_NV_INDEX = 0x01500020
_RETRY, _RETRIES = b"\x00\x00\x09\x22", 10
"""TPM_RC_RETRY: a TPM that was just started writes its own state first. In a guest the kernel sends again."""
_OWNER, _PASSWORD_SESSION, _TAG_SESSIONS = 0x40000001, 0x40000009, 0x8002


FIRMWARE = f"<loader readonly='yes' type='pflash'>{_CODE}</loader><nvram template='{_VARS}'>{{}}</nvram>"
TPM = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"


def tpm_folder(site: Site, uuid: str) -> Path:
    """Where libvirt keeps the state of a VM's TPM on a site."""
    return site.folder / "cfg" / "libvirt" / "qemu" / "swtpm" / uuid


def nvram_of(site: Site, name: str) -> Path:
    """Where a VM's firmware variables are."""
    return site.folder / "cfg" / "libvirt" / "qemu" / "nvram" / f"{name}_VARS.fd"


def make_uefi_guest(site: Site, name: str) -> None:
    """Make and define a VM with OVMF, an emulated TPM, and the lab's guest system; it starts from a kernel on the host."""
    boot = site.folder / f"boot-{name}"
    boot.mkdir()
    kernel, initrd = boot / "vmlinuz", boot / "initrd.gz"
    shutil.copy(min((_GUEST / "root" / "boot").glob("vmlinuz-*")), kernel)
    initrd.write_bytes((_GUEST / "initrd.gz").read_bytes() + gzip.compress(_efivarfs()))
    image = site.images / f"{name}.qcow2"
    subprocess.run(
        ["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", str(_GUEST / "disk.raw"), str(image)],
        check=True,
    )
    site.own(boot, kernel, initrd, image)
    site.virsh("define", "/dev/stdin", stdin=_definition(site, name, boot))


def _efivarfs() -> bytes:
    """A further part of the initramfs (newc): the module that shows the firmware's variables."""
    (module,) = (_GUEST / "root").glob("lib/modules/*/kernel/fs/efivarfs/efivarfs.ko")
    parts = [_entry("lib/efivarfs.ko", module.read_bytes()), _entry("TRAILER!!!", b"")]
    return b"".join(parts)


def _entry(name: str, data: bytes) -> bytes:
    raw = name.encode() + b"\0"
    numbers = (0, 0o100644 if data else 0, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
    head = b"070701" + b"".join(b"%08x" % number for number in numbers) + raw
    head += bytes(-len(head) % 4)
    return head + data + bytes(-len(data) % 4)


def _definition(site: Site, name: str, boot: Path) -> str:
    return f"""<domain type='qemu'><name>{name}</name><memory unit='MiB'>192</memory><vcpu>1</vcpu>
      <os><type arch='x86_64' machine='q35'>hvm</type>{FIRMWARE.format(nvram_of(site, name))}
        <kernel>{boot}/vmlinuz</kernel><initrd>{boot}/initrd.gz</initrd>
        <cmdline>console=ttyS0 quiet panic=1</cmdline></os>
      <features><acpi/></features>
      <devices>
        <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{site.images}/{name}.qcow2'/>
          <target dev='vda' bus='virtio'/></disk>
        <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
        <serial type='pty'/><memballoon model='none'/>{TPM}
      </devices></domain>"""


def remove_uefi_guest(site: Site, name: str) -> None:
    """Take a VM away with everything that belongs to it; safe to repeat."""
    site.virsh("destroy", name, check=False)
    site.virsh("undefine", name, "--nvram", "--managed-save", "--checkpoints-metadata", check=False)  # and its TPM
    for path in [*site.images.glob(f"{name}[.-]*"), *nvram_of(site, name).parent.glob(f"{name}_VARS*")]:
        path.unlink()
    shutil.rmtree(site.folder / f"boot-{name}", ignore_errors=True)


# -- firmware variables, as the guest sees them --------------------------------------------------


def write_variable(site: Site, vm: str, value: str) -> None:
    """Let the guest store a firmware variable."""
    script = (
        "mkdir -p /v; [ -d /sys/module/efivarfs ] || insmod /lib/efivarfs.ko; "
        "grep -q ' /v ' /proc/mounts || mount -t efivarfs none /v; "
        f"printf '\\007\\000\\000\\000{value}' >/tmp/value; dd if=/tmp/value of={_VARIABLE} bs=4096 count=1 2>&1"
    )
    run_in_guest(site, vm, script)


def read_variable(site: Site, vm: str) -> str:
    """The value of that variable, as the guest reads it."""
    script = (
        "mkdir -p /v; [ -d /sys/module/efivarfs ] || insmod /lib/efivarfs.ko; "
        "grep -q ' /v ' /proc/mounts || mount -t efivarfs none /v; "
        f"tail -c +5 {_VARIABLE}"
    )
    return run_in_guest(site, vm, script)


# -- the TPM -------------------------------------------------------------------------------------

Tpm = Callable[[bytes], bytes]
"""Sends one raw command to a TPM and gives its answer (TPM 2.0 library, part 3)."""


def guest_tpm(site: Site, vm: str) -> Tpm:
    """The TPM of a running guest, through a shell in it."""

    def send(command: bytes) -> bytes:
        octal = "".join(f"\\{byte:03o}" for byte in command)
        script = (
            f"exec 3<>/dev/tpm0; printf '{octal}' >/tmp/c; dd if=/tmp/c bs=4096 count=1 >&3 2>/dev/null; "
            "dd bs=4096 count=1 <&3 2>/dev/null | od -An -v -tx1"
        )
        return bytes.fromhex(run_in_guest(site, vm, script))

    return send


@contextlib.contextmanager
def tpm_at_rest(site: Site, folder: Path) -> Iterator[Tpm]:
    """The TPM whose state is in a folder while its VM is off, run by swtpm itself."""
    socket_path = folder / "s"
    argv = [
        "swtpm",
        "socket",
        "--tpm2",
        "--tpmstate",
        f"dir={folder / 'tpm2'}",
        "--flags",
        "not-need-init,startup-clear",
    ]
    process = subprocess.Popen([*argv, "--server", f"type=unixio,path={socket_path}"])
    try:
        wait_until(socket_path.exists, 60, "swtpm's socket")
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(60)
            wait_until(lambda: line.connect_ex(str(socket_path)) == 0, 60, "swtpm listens")

            def send(command: bytes) -> bytes:
                for _ in range(_RETRIES):
                    line.sendall(command)
                    answer = line.recv(4096)
                    if answer[6:10] != _RETRY:
                        break
                return answer

            yield send
    finally:
        process.terminate()
        process.wait(60)
        socket_path.unlink(missing_ok=True)
        site.own(*(folder / "tpm2").iterdir())


def _checked(answer: bytes) -> bytes:
    (code,) = struct.unpack_from(">I", answer, 6)
    assert code == 0, f"the TPM answered {code:#x}"
    return answer


def _command(code: int, handles: bytes, parameters: bytes) -> bytes:
    authorization = struct.pack(">IHBH", _PASSWORD_SESSION, 0, 0, 0)
    body = handles + struct.pack(">I", len(authorization)) + authorization + parameters
    return struct.pack(">HII", _TAG_SESSIONS, 10 + len(body), code) + body


def seal(tpm: Tpm, secret: bytes) -> None:
    """Put a secret into a TPM: an NV index that only this TPM's state holds."""
    attributes = 0x00020002 | 0x00040004  # OWNERWRITE, OWNERREAD, AUTHREAD, AUTHWRITE
    public = struct.pack(">IHIHH", _NV_INDEX, 0x000B, attributes, 0, len(secret))
    define = struct.pack(">H", 0) + struct.pack(">H", len(public)) + public
    _checked(tpm(_command(0x12A, struct.pack(">I", _OWNER), define)))
    write = struct.pack(">H", len(secret)) + secret + struct.pack(">H", 0)
    _checked(tpm(_command(0x137, struct.pack(">II", _NV_INDEX, _NV_INDEX), write)))


def unseal(tpm: Tpm, length: int) -> bytes:
    """What a TPM holds there."""
    read = struct.pack(">HH", length, 0)
    answer = _checked(tpm(_command(0x14E, struct.pack(">II", _NV_INDEX, _NV_INDEX), read)))
    (size,) = struct.unpack_from(">H", answer, 14)
    return answer[16 : 16 + size]
