"""A folder on this machine into which files are written, and never beside it.

Names come from a file system that may be hostile. Every name is one step below an open folder, given as
bytes, and nothing is ever opened through a link: so it does not matter what the names are, nor what is
there already. A file has its name when it is whole.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from vmtui.files.entries import Entry, name_bytes
from vmtui.model.errors import FailedError, RefusedError

_PERMISSIONS = 0o1777
"""Bits that are taken over. Those that give a program its owner's rights are not: the owner is another machine's."""
_PAGE = 4096
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@dataclass(frozen=True, slots=True)
class Rules:
    """How things are written."""

    overwrite: bool = False
    """Replace files and links that are there."""
    owner: bool = True
    """Give them their owner and group, where this account may."""


class Folder:
    """An open folder; everything is done relative to it.

    Args:
        handle: Its file descriptor, which it owns.
        rules: How things are written.
    """

    def __init__(self, handle: int, rules: Rules) -> None:
        self.handle = handle
        self._rules = rules

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.handle)

    @classmethod
    def open(cls, path: str, rules: Rules) -> Folder:
        """The folder that the operator names; made when it is not there.

        Raises:
            FailedError: It is not a folder, or cannot be made.
        """
        try:
            with contextlib.suppress(FileExistsError):
                Path(path).mkdir(0o700)
            return cls(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), rules)
        except OSError as error:
            raise _failed(path, error) from error

    def below(self, name: str) -> Folder:
        """A folder in it, made when it is not there.

        Raises:
            FailedError: Something else is there, or it cannot be made.
        """
        step = _step(name)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(step, 0o700, dir_fd=self.handle)
            return Folder(os.open(step, _FOLDER, dir_fd=self.handle), self._rules)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise RefusedError("TARGET-EXISTS", f"{name!r} is already there, and not as a folder.") from error
            raise _failed(name, error) from error

    def dress(self, entry: Entry) -> None:
        """Give this folder the owner, mode and time of an entry; to be called when all is in it."""
        try:
            _dress(self.handle, entry, self._rules)
        except OSError as error:
            raise _failed(entry.name, error) from error

    def file(self, entry: Entry) -> NewFile:
        """A new file, to be filled and then kept."""
        return NewFile(self, entry, self._rules)

    def link(self, entry: Entry) -> None:
        """A symbolic link, pointing where it pointed in the guest; nobody follows it here.

        Raises:
            FailedError: It cannot be made.
            RefusedError: Something is there.
        """
        step, part = _step(entry.name), _part()
        try:
            os.symlink(name_bytes(entry.target), part, dir_fd=self.handle)
            if self._rules.owner:
                _own(part, entry, self.handle)
            with contextlib.suppress(OSError, OverflowError):
                os.utime(part, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=self.handle, follow_symlinks=False)
            self.name(part, step)
        except (OSError, ValueError) as error:
            raise _failed(entry.name, error) from error

    def hard_link(self, name: str, other: Folder, other_name: str, identity: tuple[int, int]) -> bool:
        """A second name for a file that was written before; False when that is not possible here."""
        step, part = _step(name), _part()
        try:
            os.link(_step(other_name), part, src_dir_fd=other.handle, dst_dir_fd=self.handle, follow_symlinks=False)
        except OSError:
            return False
        found = os.stat(part, dir_fd=self.handle, follow_symlinks=False)
        if (found.st_dev, found.st_ino) != identity:
            os.unlink(part, dir_fd=self.handle)
            return False
        try:
            self.name(part, step)
        except OSError as error:
            raise _failed(name, error) from error
        return True

    def name(self, part: bytes, step: bytes) -> None:
        """Give what was made its name; if that fails, it is removed.

        Raises:
            RefusedError: Something is there, and must not be replaced.
            OSError: It cannot be named.
        """
        try:
            if self._rules.overwrite:
                os.rename(part, step, src_dir_fd=self.handle, dst_dir_fd=self.handle)
            else:
                self._name_new(part, step)
        except FileExistsError as error:
            raise RefusedError(
                "TARGET-EXISTS",
                f"{os.fsdecode(step)!r} is already there.",
                next_step="Say --overwrite, or choose another folder.",
            ) from error
        finally:
            with contextlib.suppress(OSError):
                os.unlink(part, dir_fd=self.handle)

    def _name_new(self, part: bytes, step: bytes) -> None:
        try:
            os.link(part, step, src_dir_fd=self.handle, dst_dir_fd=self.handle, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with contextlib.suppress(FileNotFoundError):  # a file system without hard links
                os.stat(step, dir_fd=self.handle, follow_symlinks=False)
                raise FileExistsError(errno.EEXIST, "File exists") from error
            os.rename(part, step, src_dir_fd=self.handle, dst_dir_fd=self.handle)


class NewFile:
    """A file that is being written; without `keep` nothing stays.

    Args:
        folder: Where.
        entry: What.
        rules: How.

    Raises:
        FailedError: It cannot be made.
    """

    def __init__(self, folder: Folder, entry: Entry, rules: Rules) -> None:
        self._folder = folder
        self._entry = entry
        self._rules = rules
        self._step = _step(entry.name)
        self._part: bytes | None = _part()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._handle = os.open(self._part, flags, 0o600, dir_fd=folder.handle)
        except OSError as error:
            raise _failed(entry.name, error) from error
        self.size = 0
        """Bytes so far, holes included."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)
        if self._part is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._part, dir_fd=self._folder.handle)

    def write(self, data: bytes) -> None:
        """Add bytes; pages of zeroes become holes.

        Raises:
            FailedError: No space, or another trouble.
        """
        try:
            for start, end in _written(data):
                os.lseek(self._handle, self.size + start, os.SEEK_SET)
                view = memoryview(data)[start:end]
                while view:
                    view = view[os.write(self._handle, view) :]
        except OSError as error:
            raise _failed(self._entry.name, error) from error
        self.size += len(data)

    def skip(self, length: int) -> None:
        """Add a hole."""
        self.size += length

    def keep(self) -> tuple[int, int]:
        """Give the file its size, owner, mode, time and name.

        Returns:
            (device, inode) of the file.

        Raises:
            FailedError: It has not the size that it should have, or cannot be named.
            RefusedError: Something is there.
        """
        try:
            os.ftruncate(self._handle, self.size)
            _dress(self._handle, self._entry, self._rules)
            found = os.fstat(self._handle)
            if found.st_size != self._entry.size:
                raise FailedError(
                    "FILES-UNREADABLE",
                    f"{self._entry.name!r} should have {self._entry.size} bytes, it has {found.st_size}.",
                )
            part, self._part = self._part, None
            assert part is not None
            self._folder.name(part, self._step)
        except (OSError, OverflowError) as error:
            raise _failed(self._entry.name, error) from error
        return found.st_dev, found.st_ino


def _written(data: bytes) -> Iterable[tuple[int, int]]:
    """The ranges of a part that are not whole pages of zeroes."""
    if data.count(0) == 0:
        return [(0, len(data))]
    ranges: list[tuple[int, int]] = []
    for start in range(0, len(data), _PAGE):
        page = data[start : start + _PAGE]
        if page.count(0) == len(page):
            continue
        if ranges and ranges[-1][1] == start:
            ranges[-1] = (ranges[-1][0], start + len(page))
        else:
            ranges.append((start, start + len(page)))
    return ranges


def _dress(handle: int, entry: Entry, rules: Rules) -> None:
    if rules.owner:
        _own(handle, entry, None)
    os.fchmod(handle, stat.S_IMODE(entry.mode) & _PERMISSIONS)
    with contextlib.suppress(OSError, OverflowError):  # a time that no clock shows
        os.utime(handle, ns=(entry.mtime_ns, entry.mtime_ns))


def _own(what: int | bytes, entry: Entry, folder: int | None) -> None:
    """Give the owner, where this account may."""
    with contextlib.suppress(PermissionError, OverflowError):
        if isinstance(what, int):
            os.fchown(what, entry.uid, entry.gid)
        else:
            os.chown(what, entry.uid, entry.gid, dir_fd=folder, follow_symlinks=False)


def _step(name: str) -> bytes:
    """A name as one step downwards.

    Raises:
        RefusedError: It is none.
    """
    step = name_bytes(name)
    if step in (b"", b".", b"..") or b"/" in step or b"\0" in step:
        raise RefusedError("NAME-BAD", f"{name!r} is no name that a file may have; it was left out.")
    return step


def _part() -> bytes:
    return b".vmtui-" + secrets.token_hex(8).encode() + b".part"


def _failed(name: str, error: Exception) -> FailedError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return FailedError(
        "WRITE-FAILED", f"{name!r} cannot be written: {reason}.", next_step="Look at space and rights there."
    )
