"""Addresses of repositories: their forms, and how they are shown without the secrets in them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote


class StoreKind(StrEnum):
    """What keeps a repository's objects."""

    FILE = "file"
    SFTP = "sftp"
    S3 = "s3"
    RCLONE = "rclone"
    REST = "rest"


FORMS = (
    "file:///absolute/folder",
    "sftp://HOST/absolute/folder",
    "s3:[https://SERVICE]/bucket/path",
    "rclone:REMOTE:path",
    "rest:https://SERVER[:port]",
)
"""How addresses are written, for messages."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a repository is."""

    kind: StoreKind
    place: str
    """A folder (file, sftp), `bucket/path` (s3), a remote as rclone writes it, or the URL of a server (rest)."""
    shown: str
    """The address without secrets."""
    host: str = ""
    """The configured host of an sftp address."""
    endpoint: str = ""
    """URL of an S3 service; empty for Amazon's."""
    profile: str = ""
    """Section of the AWS configuration files."""
    user: str = ""
    """Key id or user name, when it is in the address."""
    password: str = ""
    """What belongs to `user`."""


_SFTP = re.compile(r"sftp://(?P<host>[A-Za-z0-9][A-Za-z0-9._-]{0,62})(?P<folder>/.*[^/])/?")
_S3 = re.compile(
    r"(?:s3|b2):(?:(?P<login>[^@]+)@)?(?P<endpoint>https?://[^/@]+)?/(?P<bucket>[^/]+)/(?P<path>[^/].*?)/*"
)
_RCLONE = re.compile(r"rclone:(?P<place>/.*[^/]|[^/].*:.*)/?")
_REST = re.compile(r"(?:rest:)?(?P<scheme>https?)://(?:(?P<login>[^@/]+)@)?(?P<server>[^/@?#]+)(?P<path>/[^?#@]*)?")
_LOGIN = re.compile(r"^(rest:\w+://|\w+://|\w+:)([^:@]*):.*@")
_FIELD = re.compile(r'(\w*(?:pass|secret|token|key)\w*)=("[^"]*"|[^,:]*)', re.IGNORECASE)


def parse_address(text: str) -> Address:
    """Take an address apart.

    Raises:
        ValueError: It has none of the known forms; the message does not repeat it.
    """
    kind = text.partition(":")[0]
    if "\n" in text or "\0" in text:
        raise ValueError("an address is one line of text")
    reader = _READERS.get(kind)
    if reader is None:
        raise ValueError(f"one of these forms is needed: {', '.join(FORMS)}")
    return reader(text)


def without_secrets(text: str) -> str:
    """An address, also a wrong one, as it may be shown: passwords and keys are starred out."""
    return without_secret_fields(text) if text.startswith("rclone:") else _LOGIN.sub(r"\1\2:***@", text)


def without_secret_fields(text: str) -> str:
    """A text with what rclone's remotes may carry, like `secret_access_key=…`, starred out."""
    return _FIELD.sub(r"\1=***", text)


def _file(text: str) -> Address:
    if not text.startswith("file:///"):
        raise ValueError("three slashes are needed: file:///absolute/folder")
    return Address(StoreKind.FILE, text.removeprefix("file://"), text)


def _sftp(text: str) -> Address:
    found = _SFTP.fullmatch(text)
    if found is None:
        raise ValueError(
            "sftp://HOST/absolute/folder is needed, where HOST is the name of a [hosts.HOST] of this file, "
            "which says user, port, key and jump host"
        )
    return Address(StoreKind.SFTP, found["folder"], text, host=found["host"])


def _s3(text: str) -> Address:
    found = _S3.fullmatch(text)
    if found is None:
        raise ValueError("s3:[PROFILE@][https://SERVICE[:port]]/bucket/path is needed")
    user, colon, password = (found["login"] or "").partition(":")
    return Address(
        StoreKind.S3,
        f"{found['bucket']}/{unquote(found['path'])}",
        without_secrets(text),
        endpoint=found["endpoint"] or "",
        profile="" if colon else user,
        user=unquote(user) if colon else "",
        password=unquote(password),
    )


def _rclone(text: str) -> Address:
    found = _RCLONE.fullmatch(text)
    if found is None:
        raise ValueError("rclone:REMOTE:path is needed, REMOTE being one that `rclone listremotes` shows")
    return Address(StoreKind.RCLONE, found["place"], without_secrets(text))


def _rest(text: str) -> Address:
    found = _REST.fullmatch(text)
    if found is None:
        raise ValueError("rest:https://[USER@]SERVER[:port] is needed")
    user, _, password = (found["login"] or "").partition(":")
    return Address(
        StoreKind.REST,
        f"{found['scheme']}://{found['server']}{(found['path'] or '').rstrip('/')}",
        without_secrets(text),
        user=unquote(user),
        password=unquote(password),
    )


_READERS = {
    "file": _file,
    "sftp": _sftp,
    "s3": _s3,
    "b2": _s3,
    "rclone": _rclone,
    "rest": _rest,
    "http": _rest,
    "https": _rest,
}
