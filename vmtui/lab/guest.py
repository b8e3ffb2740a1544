"""The guest system of the lab: a distribution kernel, busybox, the QEMU guest agent, a writer that never stops.

It is put together once, by `script/setup`, from unpacked packages: a disk image with a boot partition
(FAT, SYSLINUX, kernel, initramfs) and a data partition (ext4). Nothing here needs root.

    python -m vmtui.lab.guest FOLDER      # FOLDER/root holds the unpacked packages
"""

from __future__ import annotations

import gzip
import lzma
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import zstandard

TEMPLATE = "disk.raw"
"""Name of the finished image in the guest folder."""

_SECTOR = 512
_BOOT_START = 2048
_BOOT_SECTORS = 72 << 11
_DATA_START = _BOOT_START + _BOOT_SECTORS
_DISK_SECTORS = 256 << 11

_MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "button",
    "evdev",
)
"""In the order of their dependencies; what is not there is built into the kernel."""

_SYSLINUX = """DEFAULT lab
PROMPT 0
TIMEOUT 0
LABEL lab
 KERNEL vmlinuz
 INITRD initrd.gz
 APPEND console=ttyS0 quiet panic=1 net.ifnames=0
"""

_INIT = r"""#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in $(cat /lib/modules.list); do insmod /lib/$module.ko; done
i=0
while [ ! -b /dev/vda2 ] && [ $i -lt 50 ]; do sleep 0.1; i=$((i + 1)); done
mount -t ext4 /dev/vda2 /data || echo "vmtui-lab: no data partition"
if [ -b /dev/vdb ]; then
    mkdir -p /more
    mount -t ext4 /dev/vdb /more 2>/dev/null
fi
acpid -f -l /dev/null &
for port in /sys/class/virtio-ports/*; do
    if [ "$(cat $port/name)" = org.qemu.guest_agent.0 ]; then
        qemu-ga -m virtio-serial -p /dev/$(basename $port) -t /run -f /run/ga.pid -d
    fi
done
echo "vmtui-lab: ready"
write() {
    n=0
    while [ -d $1 ]; do
        n=$((n + 1))
        { echo "$n $(cat /proc/uptime)"; head -c 16384 /dev/urandom; } >$1/writer.$((n % 8)).new
        sync
        mv $1/writer.$((n % 8)).new $1/writer.$((n % 8))
        echo $n >$1/count
        sleep 0.5
    done
}
[ -d /more ] && write /more &
write /data &
wait
while :; do sleep 60; done
"""

_SHUTDOWN = """#!/bin/sh
sync
umount /more 2>/dev/null
umount /data 2>/dev/null || mount -o remount,ro /data
poweroff -f
"""


def build(folder: Path) -> Path:
    """Make the disk image.

    Args:
        folder: Its subfolder `root` holds the unpacked packages.

    Returns:
        Path of the image.
    """
    parts = folder / "root"
    kernel = _only(parts.glob("boot/vmlinuz-*"))
    initramfs = folder / "initrd.gz"
    initramfs.write_bytes(gzip.compress(_initramfs(parts), compresslevel=6))
    image = folder / TEMPLATE
    _partition(image, _only(parts.glob("usr/lib/*/mbr/mbr.bin")))
    _boot_partition(image, parts, kernel, initramfs)
    _data_partition(image, parts)
    return image


def _only(paths: Iterator[Path]) -> Path:
    return min(paths)


# -- initramfs -----------------------------------------------------------------------------------


def _initramfs(parts: Path) -> bytes:
    """A newc cpio archive, as the kernel's Documentation/driver-api/early-userspace/buffer-format.rst."""
    archive = _Cpio()
    for name in (
        "bin",
        "sbin",
        "lib",
        "proc",
        "sys",
        "dev",
        "data",
        "run",
        "tmp",
        "etc",
        "etc/acpi",
        "etc/acpi/PWRF",
        "var",
    ):
        archive.folder(name)
    archive.link("var/run", "/run")
    archive.file("bin/busybox", _only(parts.glob("**/bin/busybox")).read_bytes())
    archive.link("bin/sh", "busybox")
    agent = _only(parts.glob("**/sbin/qemu-ga"))
    archive.file("bin/qemu-ga", agent.read_bytes())
    for library in _libraries(agent):
        archive.file(library.lstrip("/"), Path(library).read_bytes())
    modules = list(_modules(parts))
    for name, data in modules:
        archive.file(f"lib/{name}.ko", data, mode=0o644)
    archive.file("lib/modules.list", "\n".join(name for name, _ in modules).encode(), mode=0o644)
    archive.file("sbin/shutdown", _SHUTDOWN.encode())
    archive.file("etc/acpi/PWRF/00000080", _SHUTDOWN.encode())
    archive.file("init", _INIT.encode())
    return archive.finish()


def _libraries(program: Path) -> Iterator[str]:
    """Files that the dynamic linker loads for a program; of this system, as the packages are its own."""
    answer = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True)
    for path in re.findall(r"(/\S+)", answer.stdout):
        if Path(path).is_file() and Path(path) != program:
            yield path


def _modules(parts: Path) -> Iterator[tuple[str, bytes]]:
    for name in _MODULES:
        for path in parts.glob(f"**/kernel/**/{name}.ko*"):
            data = path.read_bytes()
            if path.suffix == ".zst":
                data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
            elif path.suffix == ".xz":
                data = lzma.decompress(data)
            yield name, data


class _Cpio:
    """Writes a newc archive in memory."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._inode = 0
        self._made: set[str] = set()

    def folder(self, name: str) -> None:
        if name not in self._made:
            self._made.add(name)
            self._entry(name, stat.S_IFDIR | 0o755, b"")

    def file(self, name: str, data: bytes, mode: int = 0o755) -> None:
        for parent in reversed(Path(name).parents[:-1]):
            self.folder(str(parent))
        self._entry(name, stat.S_IFREG | mode, data)

    def link(self, name: str, target: str) -> None:
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def finish(self) -> bytes:
        self._entry("TRAILER!!!", 0, b"")
        return bytes(self._data)

    def _entry(self, name: str, mode: int, data: bytes) -> None:
        self._inode += 1
        raw = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
        self._data += b"070701" + b"".join(b"%08x" % field for field in fields) + raw
        self._pad()
        self._data += data
        self._pad()

    def _pad(self) -> None:
        self._data += bytes(-len(self._data) % 4)


# -- the disk ------------------------------------------------------------------------------------


def _partition(image: Path, boot_code: Path) -> None:
    """An MBR with an active FAT16 partition and a Linux partition."""

    def entry(active: bool, kind: int, start: int, count: int) -> bytes:
        return struct.pack("<B3sB3sII", 0x80 if active else 0, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", start, count)

    table = entry(True, 0x0E, _BOOT_START, _BOOT_SECTORS)
    table += entry(False, 0x83, _DATA_START, _DISK_SECTORS - _DATA_START)
    with image.open("wb") as file:
        file.truncate(_DISK_SECTORS * _SECTOR)
        file.write(boot_code.read_bytes()[:440])
        file.seek(446)
        file.write(table + bytes(32) + b"\x55\xaa")


def _boot_partition(image: Path, parts: Path, kernel: Path, initramfs: Path) -> None:
    tools = parts / "usr" / "bin"
    environment = os.environ | {"MTOOLS_SKIP_CHECK": "1", "PATH": f"{tools}:{os.environ['PATH']}"}
    offset = _BOOT_START * _SECTOR
    place = f"{image}@@{offset}"
    settings = initramfs.with_name("syslinux.cfg")
    settings.write_text(_SYSLINUX)

    def call(*argv: str) -> None:
        subprocess.run(argv, check=True, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    geometry = ["-T", str(_BOOT_SECTORS), "-h", "64", "-s", "32", "-H", str(_BOOT_START)]
    call(str(tools / "mformat"), "-i", place, *geometry, "::")
    for source, name in ((kernel, "vmlinuz"), (initramfs, "initrd.gz"), (settings, "syslinux.cfg")):
        call(str(tools / "mcopy"), "-i", place, str(source), f"::{name}")
    call(str(tools / "syslinux"), "--install", "--offset", str(offset), str(image))


def _data_partition(image: Path, parts: Path) -> None:
    """An ext4 file system with some real files in it."""
    files = image.with_name("data")
    shutil.rmtree(files, ignore_errors=True)
    (files / "programs").mkdir(parents=True)
    for program in ("usr/bin/mtools", "usr/bin/syslinux"):
        shutil.copy(parts / program, files / "programs")
    documents = files / "documents"
    documents.mkdir()
    for number in range(200):
        (documents / f"{number:03}.txt").write_text(f"Document {number} of the practice lab.\n" * (number + 1))
    size_kib = (_DISK_SECTORS - _DATA_START) // 2
    offset = _DATA_START * _SECTOR
    argv = [
        "/usr/sbin/mke2fs",
        "-q",
        "-t",
        "ext4",
        "-E",
        f"offset={offset},root_owner=0:0",
        "-d",
        str(files),
        str(image),
    ]
    subprocess.run([*argv, f"{size_kib}k"], check=True, stdin=subprocess.DEVNULL)
    shutil.rmtree(files)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
