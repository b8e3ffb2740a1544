"""Opening the repository that the configuration names, with all that its store needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtui.model.settings import Settings
from vmtui.repository import DEFAULT_BLOCK_SIZE, Repository

if TYPE_CHECKING:
    from vmtui.repository.store import SftpFiles


def open_repository(settings: Settings) -> Repository:
    """The repository.

    Raises:
        UsageError, DamageError, UnreachableError: It cannot be opened.
    """
    return Repository(
        settings.repository,
        settings.state / "cache",
        open_sftp=lambda host: _sftp(settings, host),
        password_command=settings.repository_password_command,
    )


def make_repository(settings: Settings, block_size: int = DEFAULT_BLOCK_SIZE) -> Repository:
    """A new repository.

    Raises:
        RefusedError: Something is there already.
        UsageError, UnreachableError: It cannot be made.
    """
    return Repository.create(
        settings.repository,
        settings.state / "cache",
        block_size=block_size,
        open_sftp=lambda host: _sftp(settings, host),
        password_command=settings.repository_password_command,
    )


def _sftp(settings: Settings, host: str) -> SftpFiles:
    from vmtui.hosts import open_store_files

    return open_store_files(settings, host)
