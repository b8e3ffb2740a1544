"""Opening the configured repository: its store with the login that it needs, and its passphrase."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vmtui import keyring
from vmtui.model.address import without_secrets
from vmtui.model.errors import UnreachableError, UsageError
from vmtui.model.settings import Settings
from vmtui.repository import DEFAULT_BLOCK_SIZE, ObjectStore, Repository, locked, mirror, remembered

if TYPE_CHECKING:
    from vmtui.repository.store import SftpFiles

_COMMAND_S = 60.0
_OTHERS = 0o077


def open_repository(settings: Settings) -> Repository:
    """The repository; not yet in step.

    Raises:
        UsageError: There is none, or it is encrypted and no right passphrase is known.
        DamageError, UnreachableError: It cannot be opened.
    """
    return Repository(_store(settings), settings.state / "cache", lambda: passphrase(settings))


def make_repository(
    settings: Settings, block_size: int = DEFAULT_BLOCK_SIZE, phrase: Callable[[], str] | None = None
) -> Repository:
    """A new repository.

    Args:
        settings: Where.
        block_size: A power of two [bytes].
        phrase: Gives its passphrase; without it, nothing is encrypted.

    Raises:
        RefusedError: Something is there already.
        UsageError, UnreachableError: It cannot be made.
    """
    cache = settings.state / "cache"
    return Repository.create(_store(settings), cache, block_size=block_size, passphrase=phrase)


def open_copy(settings: Settings, source: Repository, name: str) -> Repository:
    """The copy of that name, begun when its place is new.

    Raises:
        UsageError: The configuration has no such copy.
        RefusedError: Something else is at its place.
        UnreachableError: It cannot be reached, or it is not where it was before.
    """
    if name not in settings.copies:
        raise UsageError(
            "NAME-UNKNOWN",
            f"The configuration has no copy {name!r}.",
            next_step=f"Known are: {', '.join(settings.copies) or 'none; add [copies.NAME] with its url'}.",
        )
    copy = settings.copies[name]
    store = _store(settings, copy.url, copy.password_command)
    cache = settings.state / "cache" / "copies" / name
    seen = remembered.begun(cache, store.url)

    def open_at() -> Repository:
        try:
            return Repository(store, cache, lambda: passphrase(settings))
        except UsageError as error:
            if error.id != "REPO-NOT-INITIALISED" or not seen.exists():
                raise
            raise UnreachableError(
                "REPO-UNREACHABLE",
                f"The copy {name} is not at {store.url}, where this machine has seen it.",
                next_step=f"Mount its file system or start its service. To begin another one there: rm {seen}",
                url=store.url,
            ) from error

    copy_there = mirror.open_copy(source, store, open_at)
    seen.parent.mkdir(parents=True, exist_ok=True)
    seen.touch()
    return copy_there


def _store(settings: Settings, url: str | None = None, password_command: tuple[str, ...] | None = None) -> ObjectStore:
    """The objects at an address, by default the repository's, with the logins of the configuration."""
    command = settings.repository_password_command if password_command is None else password_command
    return ObjectStore(
        url or settings.repository, open_sftp=lambda host: _sftp(settings, host), password_command=command
    )


def _sftp(settings: Settings, host: str) -> SftpFiles:
    from vmtui.hosts import open_store_files

    return open_store_files(settings, host)


def passphrase(settings: Settings) -> str:
    """The passphrase: what was typed, else from the file, else from the command.

    Raises:
        UsageError: None of them gives one.
    """
    typed = keyring.kept(keyring.REPOSITORY)
    if typed is not None:
        return typed
    if settings.passphrase_file is not None:
        return from_file(settings.passphrase_file)
    if settings.passphrase_command:
        return _from_command(settings)
    raise locked(without_secrets(settings.repository))


def from_file(path: Path) -> str:
    """The first line of a passphrase file.

    Raises:
        UsageError: It cannot be read, or others can read it too.
    """
    try:
        if path.stat().st_mode & _OTHERS:
            raise UsageError(
                "REPO-LOCKED", f"The passphrase file {path} may be read by others.", next_step=f"Run: chmod 600 {path}"
            )
        return path.read_text(encoding="utf-8").partition("\n")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("REPO-LOCKED", f"The passphrase file {path} cannot be read: {error}.") from error


def _from_command(settings: Settings) -> str:
    try:
        answer = subprocess.run(
            settings.passphrase_command,
            capture_output=True,
            text=True,
            timeout=_COMMAND_S,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as error:
        raise UsageError("REPO-LOCKED", f"The passphrase_command failed: {type(error).__name__}.") from error
    return answer.stdout.partition("\n")[0]


def adopt_paper_key(settings: Settings, text: str) -> Repository:
    """The repository, opened by its paper key.

    Raises:
        UsageError: The paper key is not as printed, or not this repository's.
    """
    return Repository.open_with_paper_key(_store(settings), settings.state / "cache", text)
