"""Small real file systems that can be filled: a tmpfs for root, ext4 through FUSE for anybody else."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.client import wait_until

MIB = 1 << 20


@contextlib.contextmanager
def small_file_system(folder: Path, size: int) -> Iterator[Path]:
    """Mount one at an empty folder; a lab that is started afterwards sees it as well.

    Args:
        folder: Made if needed.
        size: Of the file system [bytes].
    """
    folder.mkdir(parents=True, exist_ok=True)
    if os.getuid() == 0:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "tmpfs", str(folder)], check=True)
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    image = folder.with_name(f"{folder.name}.img")
    with image.open("wb") as file:
        file.truncate(size)
    subprocess.run(
        ["/usr/sbin/mkfs.ext4", "-q", "-m", "0", "-E", f"root_owner={os.getuid()}:{os.getgid()}", str(image)],
        check=True,
    )
    server = subprocess.Popen(["fuse2fs", "-f", str(image), str(folder)])
    try:
        wait_until(lambda: os.path.ismount(folder), 10, "the small file system mounted")
        yield folder
    finally:
        subprocess.run(["fusermount3", "-u", "-z", str(folder)], check=False)
        server.wait(10)


def fill(path: Path) -> None:
    """Take all room that is left with one file."""
    piece = bytes(64 << 10)
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while len(piece) > 0:
            if file.write(piece) < len(piece):
                piece = piece[: len(piece) // 2]
