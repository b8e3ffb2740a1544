"""The kinds of places where a repository's objects can be. Each library is imported where it is used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vmtui.model.address import Address, StoreKind
from vmtui.model.errors import UsageError
from vmtui.repository.places.base import ObjectInfo, Place, Trouble
from vmtui.repository.places.folder import Folder
from vmtui.repository.places.login import login_of
from vmtui.repository.places.sftp import OpenSftp, Sftp, SftpFiles

__all__ = ["ObjectInfo", "OpenSftp", "Place", "SftpFiles", "Trouble", "place_at"]


def place_at(address: Address, open_sftp: OpenSftp | None, password_command: Sequence[str]) -> Place:
    """The place at an address; nothing is asked of it yet.

    Raises:
        UsageError: It is reached by SSH, and no way to log in was handed in.
    """
    if address.kind is StoreKind.FILE:
        return Folder(Path(address.place))
    if address.kind is StoreKind.SFTP:
        if open_sftp is None:
            raise UsageError("REPO-URL-BAD", f"{address.shown} needs a configuration with the host {address.host}.")
        return Sftp(address.host, address.place, open_sftp)
    login = login_of(address, password_command)
    if address.kind is StoreKind.S3:
        from vmtui.repository.places.s3 import S3

        return S3(address, login)
    if address.kind is StoreKind.REST:
        from vmtui.repository.places.rest import Rest

        return Rest(address.place, login)
    from vmtui.repository.places.rclone import Rclone

    return Rclone(address.place)
