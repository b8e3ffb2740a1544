"""Passwords in configuration: found by the names of their keys, and hidden. It errs on the side of hiding."""

from __future__ import annotations

import re
from dataclasses import dataclass

HIDDEN = "(hidden)"
_NAME = (
    r"(?<![\w.-])[\w.-]*(?:pass(?:w(?:or)?d|phrase|code)?|pw|psk|secret|private[-_]?key|preshared[-_]?key|wep[-_]?(?:tx)?[-_]?key\d*"
    r"|wireless[-_]?key\d*|token|cak|credentials?|api[-_]?key|community|\bpin\b|\bkey\d*\b|\bprivate\b|\bshared\b)[\w.-]*"
)
_LONG = 1000
"""A longer line is no setting; looking for names in it would take long [characters]."""
_ASSIGNED = re.compile(rf"(?P<name>[\"']?{_NAME}[\"']?)(?P<sign>\s*[:=]\s*|>\s*|\s+)(?P<value>\S.*)$", re.IGNORECASE)
_OPEN = re.compile(rf"{_NAME}[\"']?\s*[:=]\s*(?:[|>][-+0-9]*\s*)?$", re.IGNORECASE)
"""The value is on the lines that follow."""
_BLOCK = re.compile(r"-----BEGIN [^-]*(?:PRIVATE KEY|Static key)[^-]*-----", re.IGNORECASE)
_SECTION = re.compile(r"\s*\[(?P<name>[^]]*)\]\s*$")
_ANY = re.compile(r"(?P<name>[^=:#;]+)(?P<sign>\s*[=:]\s*)(?P<value>\S.*)$")
_COMMENT = ("#", ";", "//")
_HARMLESS = re.compile(r"(?:\"\"|''|yes|no|true|false|none|0|1)\s*(?:#.*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Shown:
    """A file as it may be shown, or be kept where everybody can read it."""

    content: bytes
    hidden: int
    """Lines whose values were taken out."""
    refused: str = ""
    """Why nothing of it may be kept or shown; `content` is empty then."""


def shown(content: bytes) -> Shown:
    """A file without its passwords. Pure."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return Shown(b"", 0, "it is not text, and may hold a password")
    if "\0" in text:
        return Shown(b"", 0, "it is not text, and may hold a password")
    if _BLOCK.search(text):
        return Shown(b"", 0, "it holds a private key")
    if any(len(line) > _LONG for line in text.splitlines()):
        return Shown(b"", 0, "it has very long lines, and may hold a password")
    lines, hidden, section = [], 0, ""
    for line in text.splitlines(keepends=True):
        body = line.rstrip("\r\n")
        if (match := _SECTION.match(body)) is not None:
            section = match["name"]
        if _opens_value(body):
            return Shown(b"", 0, "it holds a password over several lines")
        clean = _hide(body, everything="secret" in section.lower())
        hidden += clean != body
        lines.append(clean + line[len(body) :])
    return Shown("".join(lines).encode(), hidden)


def _opens_value(line: str) -> bool:
    bare = line.strip()
    return not bare.startswith(_COMMENT) and _OPEN.search(bare) is not None


def _hide(line: str, *, everything: bool) -> str:
    match = _ASSIGNED.search(line) if not everything else _ANY.search(line) or _ASSIGNED.search(line)
    if match is None or _HARMLESS.fullmatch(match["value"]):
        return line
    if match["sign"].isspace() and line.lstrip().startswith(_COMMENT) and len(match["value"].split()) > 1:
        return line  # prose about passwords; one word alone may be one that was commented out
    return f"{line[: match.start('value')]}{HIDDEN}"


_PASSWORD_ATTRIBUTE = re.compile(r"(?P<head>\b(?:passwd|password)\s*=\s*)(?P<quote>[\"']).*?(?P=quote)")


def shown_xml(xml: str) -> str:
    """libvirt's XML without its passwords; they are in attributes of these names. Pure."""
    return _PASSWORD_ATTRIBUTE.sub(lambda match: f"{match['head']}{match['quote']}{HIDDEN}{match['quote']}", xml)
