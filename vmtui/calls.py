"""What was asked of hosts: every libvirt call, remote command and file operation, with its duration.

Arguments never hold secrets: passwords travel over SSH's own authentication alone, and definitions by
libvirt calls whose contents are not written down. Should a caller slip, what the operator typed is hidden here.
"""

from __future__ import annotations

import json
import shlex
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from vmtui import keyring

_KEPT = 2000
_FILE_BYTES = 2 << 20
_TAIL_BYTES = 256 << 10
FILE = "calls.jsonl"
"""Where a worker writes its calls, in the state folder."""


@dataclass(frozen=True, slots=True)
class Call:
    """One question to a host."""

    at: float
    """When it began [s since 1970]."""
    host: str
    kind: str
    """libvirt, command, file or socket."""
    what: str
    seconds: float
    result: str
    """`ok`, an exit status, or the error's name."""
    by: str = "screens"
    """The process that asked: screens or worker."""


_calls: deque[Call] = deque(maxlen=_KEPT)
_lock = threading.Lock()
_file: Path | None = None


def write_to(path: Path) -> None:
    """From now on also write the calls of this process to a file."""
    global _file  # noqa: PLW0603  # one per process, set when a worker starts
    _file = path


@contextmanager
def recorded(host: str, kind: str, what: str) -> Iterator[list[str]]:
    """Note a call with its duration and how it ended; the body may put a result into the list."""
    at, began = datetime.now(UTC).timestamp(), time.monotonic()
    result: list[str] = []
    try:
        yield result
    except BaseException as error:
        result[:] = [getattr(error, "id", type(error).__name__)]
        raise
    finally:
        _note(Call(at, host, kind, _hidden(what), time.monotonic() - began, result[0] if result else "ok"))


def _hidden(what: str) -> str:
    """The words of a call without what was typed as a secret, plain or quoted for a shell."""
    for secret in keyring.everything().values():
        for form in (shlex.quote(secret), secret):
            what = what.replace(form, "…") if secret else what
    return what


def _note(call: Call) -> None:
    with _lock:
        _calls.append(call)
        if _file is not None:
            _write(_file, call)


def _write(path: Path, call: Call) -> None:
    try:
        if path.exists() and path.stat().st_size > _FILE_BYTES:
            path.replace(path.with_suffix(".1.jsonl"))
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(call) | {"by": "worker"}) + "\n")
    except OSError:
        return  # a log that cannot be written must not fail the backup that it tells of


def recent(state: Path) -> list[Call]:
    """Calls of this process and of the worker, newest first."""
    with _lock:
        own = list(_calls)
    return sorted([*own, *_of_worker(state / FILE)], key=lambda call: call.at, reverse=True)


def _of_worker(path: Path) -> list[Call]:
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            start = max(0, file.tell() - _TAIL_BYTES)
            file.seek(start)
            lines = file.read().decode("utf-8", "replace").splitlines()[1 if start else 0 :]
    except OSError:
        return []
    names = {field.name for field in fields(Call)}
    calls = []
    for line in lines:
        try:
            data = json.loads(line)
            calls.append(Call(**{name: data[name] for name in names}))
        except (ValueError, KeyError, TypeError):
            continue  # a torn line
    return calls
