"""The configuration file as `Settings`."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Any

from vmtui.config.fields import Table, duration_s, nearest, size_bytes
from vmtui.model.address import StoreKind, parse_address, without_secrets
from vmtui.model.errors import UsageError
from vmtui.model.host import Host
from vmtui.model.point import Mode
from vmtui.model.policy import KeepRule, Rule, Tier
from vmtui.model.settings import Copy, Settings

DEFAULT_TIER = Tier(name="standard", rpo_s=24 * 3600)
"""What protects a VM when the file names no tiers."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_HOST_DEFAULTS = {field.name: field.default for field in fields(Host)}


def default_path() -> Path:
    """Where the configuration lives when `--config` does not say."""
    return _xdg("XDG_CONFIG_HOME", ".config") / "vmtui" / "config.toml"


def load(path: Path) -> Settings:
    """Read and validate a configuration file.

    Raises:
        UsageError: The file is missing, unreadable or wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UsageError("CONFIG-MISSING", f"There is no configuration file {path}.", file=str(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("CONFIG-INVALID", f"{path} cannot be read: {error}", file=str(path)) from error
    return parse(text, path)


def parse(text: str, path: Path) -> Settings:
    """Validate the text of a configuration file.

    Relative folders are taken from the folder of the file.

    Raises:
        UsageError: It is wrong; the error names the key.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError("CONFIG-INVALID", f"{path}: not valid TOML: {error}", file=str(path)) from error
    top = Table(str(path), "", data)
    hosts = {name: _host(name, top.table("hosts")) for name in top.table("hosts").names()}
    tiers = _tiers(top)
    settings = Settings(
        path=path,
        repository=_repository(top, path.parent, hosts),
        state=_folder(top, "state", _xdg("XDG_STATE_HOME", ".local/state") / "vmtui"),
        known_hosts=_folder(top, "known_hosts", path.parent / "known_hosts"),
        hosts=hosts,
        tiers=tiers,
        default_tier=_default_tier(top, tiers),
        rules=tuple(_rule(table, tiers) for table in top.tables("rules")),
        read_only=top.take("read_only", bool, False),
        passphrase_file=_optional_file(top, "passphrase_file"),
        passphrase_command=top.texts("passphrase_command"),
        compression_level=_level(top),
        repository_password_command=top.texts("repository_password_command"),
        copies={name: _copy(name, top.table("copies"), path.parent, hosts) for name in top.table("copies").names()},
    )
    top.finish()
    _check_jumps(top, hosts)
    return settings


def _xdg(variable: str, fallback: str) -> Path:
    value = os.environ.get(variable, "")
    return Path(value) if value.startswith("/") else Path.home() / fallback


def _folder(top: Table, key: str, default: Path) -> Path:
    text = top.optional(key, str)
    if text is None:
        return default
    folder = _expanded(top, key, text)
    return folder if folder.is_absolute() else Path(top.file).absolute().parent / folder


def _optional_file(top: Table, key: str) -> Path | None:
    return _folder(top, key, Path()) if top.has(key) else None


def _repository(top: Table, folder: Path, hosts: dict[str, Host], key: str = "repository") -> str:
    """The repository's address; a relative folder is made absolute."""
    text = top.take(key, str)
    place = text.removeprefix("file:")
    if text.startswith("file:") and place and not place.startswith("//"):
        text = f"file://{place if place.startswith('/') else folder.absolute() / place}"
    try:
        address = parse_address(text)
    except ValueError as error:
        raise top.error(key, f"{without_secrets(text)!r}: {error}") from error
    if address.kind is StoreKind.SFTP and address.host not in hosts:
        raise top.error(key, f"{text!r}: no host {address.host!r}; {nearest(address.host, hosts)}")
    return text


def _copy(name: str, tables: Table, folder: Path, hosts: dict[str, Host]) -> Copy:
    if not _NAME.fullmatch(name):
        raise tables.error(name, "a copy's name has letters, digits, '.', '_' and '-', at most 63")
    table = tables.table(name)
    copy = Copy(
        name=name,
        url=_repository(table, folder, hosts, "url"),
        password_command=table.texts("password_command"),
        rate=table.parsed("limit", size_bytes) if table.has("limit") else None,
    )
    table.finish()
    return copy


def _level(top: Table) -> int:
    level = top.take("compression_level", int, 3)
    if not 1 <= level <= 19:
        raise top.error("compression_level", "1 to 19 is needed")
    return level


def _host(name: str, tables: Table) -> Host:
    if not _NAME.fullmatch(name):
        raise tables.error(name, "a host's name has letters, digits, '.', '_' and '-', at most 63")
    table = tables.table(name)
    host = Host(
        name=name,
        address=table.take("address", str, name),
        port=table.optional("port", int),
        user=table.optional("user", str),
        key=_path_text(table, "key"),
        password_command=table.texts("password_command"),
        jump=table.optional("jump", str),
        uri=table.take("uri", str, _default("uri")),
        socket=table.optional("socket", str),
        scratch=table.optional("scratch", str),
        scratch_reserve_bytes=table.parsed("scratch_reserve", size_bytes, _default("scratch_reserve_bytes")),
        jobs=table.take("jobs", int, _default("jobs")),
        deadline_s=table.take("deadline", float, _default("deadline_s")),
        shutdown_s=float(table.parsed("shutdown", duration_s, int(_default("shutdown_s")))),
        read_only=table.take("read_only", bool, False),
        libvirt=table.take("libvirt", bool, True),
    )
    table.finish()
    _check_host(table, host)
    return host


def _default(name: str) -> Any:
    return _HOST_DEFAULTS[name]


def _path_text(table: Table, key: str) -> str | None:
    value = table.optional(key, str)
    return str(_expanded(table, key, value)) if value else None


def _expanded(table: Table, key: str, value: str) -> Path:
    try:
        return Path(value).expanduser()
    except RuntimeError as error:
        raise table.error(key, f"{value!r}: there is no such home folder") from error


def _check_host(table: Table, host: Host) -> None:
    if host.port is not None and not 1 <= host.port <= 65535:
        raise table.error("port", "1 to 65535 is needed")
    if host.jobs < 1:
        raise table.error("jobs", "1 or more is needed")
    if not 0 < host.deadline_s <= 600:
        raise table.error("deadline", "seconds, above 0 and up to 600, are needed")
    if not re.fullmatch(r"[a-z][a-z0-9]*:///.*", host.uri):
        raise table.error("uri", f"{host.uri!r}: a local URI like 'qemu:///system' is needed; SSH carries it")
    for key, value in (("socket", host.socket), ("scratch", host.scratch)):
        if value is not None and not value.startswith("/"):
            raise table.error(key, f"{value!r}: an absolute path on the host is needed")


def _check_jumps(top: Table, hosts: dict[str, Host]) -> None:
    for host in hosts.values():
        if host.jump is None:
            continue
        if host.jump not in hosts:
            raise top.error(f"hosts.{host.name}.jump", f"no host {host.jump!r}; {nearest(host.jump, hosts)}")
        if hosts[host.jump].jump is not None or host.jump == host.name:
            raise top.error(f"hosts.{host.name}.jump", "a jump host must be reached directly")


def _tiers(top: Table) -> dict[str, Tier]:
    tables = top.table("tiers")
    tiers = {name: _tier(name, tables.table(name)) for name in tables.names()}
    return tiers or {DEFAULT_TIER.name: DEFAULT_TIER}


def _tier(name: str, table: Table) -> Tier:
    tier = Tier(
        name=name,
        rpo_s=table.parsed("rpo", duration_s),
        rto_s=table.parsed("rto", duration_s) if table.has("rto") else None,
        mode=table.parsed("mode", _mode, Mode.HOT),
        keep=_keep(table.table("keep")),
        media=table.take("media", bool, False),
    )
    table.finish()
    return tier


def _keep(table: Table) -> KeepRule:
    rule = KeepRule(
        last=_count(table, "last"),
        hourly=_count(table, "hourly"),
        daily=_count(table, "daily"),
        weekly=_count(table, "weekly"),
        monthly=_count(table, "monthly"),
        yearly=_count(table, "yearly"),
        within_s=table.parsed("within", duration_s) if table.has("within") else 0,
    )
    table.finish()
    return rule


def _count(table: Table, key: str) -> int:
    count = table.take(key, int, 0)
    if table.has(key) and count < 1:
        raise table.error(key, "1 or more is needed; without the key nothing is kept for it")
    return count


def _mode(text: str) -> Mode:
    if text not in list(Mode):
        raise ValueError(nearest(text, [mode.value for mode in Mode]))
    return Mode(text)


def _default_tier(top: Table, tiers: dict[str, Tier]) -> str:
    name = top.optional("default_tier", str)
    if name is None:
        if len(tiers) > 1:
            raise top.error("default_tier", f"is needed, as there are several tiers: {', '.join(tiers)}")
        return next(iter(tiers))
    if name not in tiers:
        raise top.error("default_tier", f"no tier {name!r}; {nearest(name, tiers)}")
    return name


def _rule(table: Table, tiers: dict[str, Tier]) -> Rule:
    rule = Rule(
        host=table.take("host", str, "*"),
        vm=table.take("vm", str, "*"),
        metadata=table.optional("metadata", str),
        tier=table.optional("tier", str),
        exempt=table.optional("exempt", str),
    )
    table.finish()
    if (rule.tier is None) == (rule.exempt is None):
        raise table.error("tier", 'a rule gives either a tier or exempt = "reason"')
    if rule.tier is not None and rule.tier not in tiers:
        raise table.error("tier", f"no tier {rule.tier!r}; {nearest(rule.tier, tiers)}")
    if rule.exempt is not None and not rule.exempt.strip():
        raise table.error("exempt", "a reason is needed")
    return rule
