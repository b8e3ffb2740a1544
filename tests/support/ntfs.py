"""Filling NTFS images without root: through ntfs-3g's own library."""

from __future__ import annotations

import ctypes
import ctypes.util
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

_DATA = 0x80
_RECOVER = 0x2


class _Library:
    def __init__(self) -> None:
        name = ctypes.util.find_library("ntfs-3g")
        assert name is not None
        library = ctypes.CDLL(name, use_errno=True)
        pointer = ctypes.c_void_p
        for function, result, arguments in (
            ("ntfs_mount", pointer, [ctypes.c_char_p, ctypes.c_ulong]),
            ("ntfs_umount", ctypes.c_int, [pointer, ctypes.c_int]),
            ("ntfs_pathname_to_inode", pointer, [pointer, pointer, ctypes.c_char_p]),
            ("ntfs_create", pointer, [pointer, ctypes.c_uint32, ctypes.c_char_p, ctypes.c_uint8, ctypes.c_uint32]),
            ("ntfs_inode_close", ctypes.c_int, [pointer]),
            ("ntfs_inode_close_in_dir", ctypes.c_int, [pointer, pointer]),
            (
                "ntfs_delete",
                ctypes.c_int,
                [pointer, ctypes.c_char_p, pointer, pointer, ctypes.c_char_p, ctypes.c_uint8],
            ),
            ("ntfs_attr_open", pointer, [pointer, ctypes.c_uint32, pointer, ctypes.c_uint32]),
            ("ntfs_attr_pwrite", ctypes.c_int64, [pointer, ctypes.c_int64, ctypes.c_int64, ctypes.c_char_p]),
            ("ntfs_attr_close", None, [pointer]),
        ):
            call = getattr(library, function)
            call.restype, call.argtypes = result, arguments
            setattr(self, function, call)
        self.library = library


def fill(image: Path, files: Mapping[str, bytes]) -> None:
    """Write files into an image that mkntfs made. Paths are relative; folders are made as they come."""
    library = _Library().library
    volume = library.ntfs_mount(str(image).encode(), _RECOVER)
    assert volume, f"ntfs_mount: {ctypes.get_errno()}"
    folders = {""}
    try:
        for path in sorted(files):
            parts = path.split("/")
            for depth in range(1, len(parts)):
                folder = "/".join(parts[:depth])
                if folder not in folders:
                    _make(library, volume, folder, stat.S_IFDIR, None)
                    folders.add(folder)
            _make(library, volume, path, stat.S_IFREG, files[path])
    finally:
        assert library.ntfs_umount(volume, 0) == 0


def delete(image: Path, names: Sequence[str]) -> None:
    """Delete files of the topmost folder."""
    library = _Library().library
    volume = library.ntfs_mount(str(image).encode(), _RECOVER)
    assert volume
    try:
        for name in names:
            wide = name.encode("utf-16-le")
            inode = library.ntfs_pathname_to_inode(volume, None, f"/{name}".encode())
            folder = library.ntfs_pathname_to_inode(volume, None, b"/")
            # Both are closed by it, whatever comes of it.
            assert library.ntfs_delete(volume, None, inode, folder, wide, len(wide) // 2) == 0, name
    finally:
        assert library.ntfs_umount(volume, 0) == 0


def _make(library: ctypes.CDLL, volume: int, path: str, kind: int, content: bytes | None) -> None:
    parent, _, name = path.rpartition("/")
    folder = library.ntfs_pathname_to_inode(volume, None, f"/{parent}".encode())
    assert folder, path
    wide = name.encode("utf-16-le")
    inode = library.ntfs_create(folder, 0, wide, len(wide) // 2, kind)
    assert inode, f"{path}: {ctypes.get_errno()}"
    if content:
        attribute = library.ntfs_attr_open(inode, _DATA, None, 0)
        assert attribute, path
        assert library.ntfs_attr_pwrite(attribute, 0, len(content), content) == len(content)
        library.ntfs_attr_close(attribute)
    assert library.ntfs_inode_close_in_dir(inode, folder) == 0
    assert library.ntfs_inode_close(folder) == 0
