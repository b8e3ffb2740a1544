"""Host points in the repository: restore points without disks, whose streams are the parts of a host.

They use the machinery of VMs' points as it is: durable order, seals, verification, holds, copies, prune and
garbage collection know nothing else of them. They are kept under an id of the host's own (`model.ids.host_subject`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from vmtui import __version__
from vmtui.failpoint import failpoint
from vmtui.hostpoint.capture import capture
from vmtui.hosts import HostSession
from vmtui.model.codec import from_plain, to_plain
from vmtui.model.errors import DamageError
from vmtui.model.hostpoint import HOST_NAME, Entry, HostState, Key, Part, PartKind
from vmtui.model.ids import JobId, PointId, host_subject, new_id
from vmtui.model.point import CapturedFile, Consistency, Mode, RestorePoint
from vmtui.model.progress import Watch
from vmtui.repository import BlobWriter, Repository, store_stream
from vmtui.repository.streams import read_stream

INDEX_ROLE = "host parts"
"""The stream that lists the others."""
_FORMAT = 1
_REASON = "a host's configuration, read part by part"


@dataclass(frozen=True, slots=True)
class HostPointRequest:
    """What was asked for."""

    host: str
    always: bool = True
    """Make a point also when nothing has changed since the newest one."""


@dataclass(frozen=True, slots=True)
class HostPointWork:
    """What a capture works with."""

    open_session: Callable[[], HostSession]
    repository: Repository
    level: int
    """zstd level."""
    watch: Watch
    now: Callable[[], datetime]
    """The clock [UTC]."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of it."""

    point: PointId
    """The new point, or the newest one when nothing has changed since."""
    new: bool
    host: str
    time: datetime
    parts: dict[str, int]
    """How many of each kind."""
    left_out: tuple[tuple[str, str], ...]
    seconds: float


def take(work: HostPointWork, request: HostPointRequest, run: JobId) -> Taken:
    """Capture a host, and make a point of it. Safe to repeat.

    Args:
        work: Host and repository.
        request: Which host.
        run: Names its session in the repository; must be no other run's.

    Raises:
        FailedError: No space is left.
        UnreachableError: Host or repository do not answer.
    """
    started = work.now()
    repository = work.repository
    session = repository.session(run)
    session.begin(started)
    try:
        work.watch.phase("host")
        repository.sync()
        saw = repository.declare(run, None)
        state = capture(work.open_session(), started, with_secrets=repository.identity.encrypted)
        failpoint("host.captured")
        before = newest(repository, request.host)
        if before is not None and not request.always and _same(repository, before, state):
            return _taken(before.id, state, work.now(), new=False)
        work.watch.check()
        files = write(repository, state, work.level)
        session.require(work.now())
        point = manifest_of(repository, state, files, run, work.now(), saw)
        repository.points.commit(point)
        return _taken(point.id, state, point.finished, new=True)
    finally:
        session.close(work.now())


def write(repository: Repository, state: HostState, level: int) -> tuple[CapturedFile, ...]:
    """Store the parts of a host, durably; the run's session must have begun, and `sync` been called."""
    writer = repository.writer(level)
    try:
        files = _store(state, writer, repository.block_size)
        writer.settle()
    finally:
        writer.close()
    return files


def _store(state: HostState, writer: BlobWriter, block_size: int) -> tuple[CapturedFile, ...]:
    entries = [part.entry for part in state.parts.values()]
    index = json.dumps({"format": _FORMAT, "entries": to_plain(entries)}, sort_keys=True).encode()
    streams = [(INDEX_ROLE, "", index)]
    streams += [(part.entry.kind.value, part.entry.name, part.content) for part in state.parts.values() if part.content]
    return tuple(
        CapturedFile(role, path, len(data), store_stream(data, writer, block_size).hex())
        for role, path, data in streams
    )


def manifest_of(
    repository: Repository,
    state: HostState,
    files: tuple[CapturedFile, ...],
    run: JobId,
    finished: datetime,
    saw: tuple[str, ...],
) -> RestorePoint:
    """The manifest of a host point whose parts are stored."""
    return RestorePoint(
        id=PointId(new_id(state.time)),
        repository=repository.id,
        vm_uuid=host_subject(repository.id, state.host),
        vm_name=HOST_NAME,
        host=state.host,
        time=state.time,
        mode=Mode.HOT,
        consistency=Consistency.CRASH,
        consistency_reason=_REASON,
        disks=(),
        left_out=state.left_out,
        files=files,
        xml_inactive="",
        xml_live="",
        checkpoint=None,
        parent=None,
        job=run,
        autostart=False,
        frozen_ms=0,
        started=state.time,
        finished=finished,
        versions={"vmtui": __version__},
        saw=saw,
    )


def _taken(point: PointId, state: HostState, now: datetime, *, new: bool) -> Taken:
    counts: dict[str, int] = {}
    for kind, _ in state.parts:
        counts[kind.value] = counts.get(kind.value, 0) + 1
    return Taken(
        point=point,
        new=new,
        host=state.host,
        time=state.time,
        parts=counts,
        left_out=tuple((item.name, item.reason) for item in state.left_out),
        seconds=round((now - state.time).total_seconds(), 3),
    )


# -- reading -------------------------------------------------------------------------------------


def newest(repository: Repository, host: str) -> RestorePoint | None:
    """The newest point of a host that can be read and has no known damage."""
    for name in reversed(repository.points.of(host_subject(repository.id, host))):
        try:
            if not repository.points.status(name).damaged:
                return repository.points.load(name)
        except DamageError:
            continue  # a verification tells of it; here the host is simply kept anew
    return None


def _same(repository: Repository, point: RestorePoint, state: HostState) -> bool:
    """Whether a point holds the same parts; what cannot be read holds nothing."""
    try:
        entries = load_entries(repository, point)
    except DamageError:
        return False
    return {entry.key: entry for entry in entries} == {part.key: part.entry for part in state.parts.values()}


def load_entries(repository: Repository, point: RestorePoint) -> list[Entry]:
    """The parts of a host point, without their contents.

    Raises:
        DamageError: The list is missing or damaged.
    """
    item = next((item for item in point.files if item.role == INDEX_ROLE), None)
    if item is None:
        raise DamageError("POINT-DAMAGED", f"The point {point.id} has no list of a host's parts.", point=point.id)
    try:
        value = json.loads(read_stream(repository, item.role, item.size, item.root))
        known = list(PartKind)
        return [from_plain(Entry, entry) for entry in value["entries"] if entry["kind"] in known]
    except (ValueError, KeyError, TypeError) as error:
        raise DamageError(
            "POINT-DAMAGED", f"The list of parts of the point {point.id} is not as written: {error}", point=point.id
        ) from error


def load_state(repository: Repository, point: RestorePoint, kinds: Iterable[PartKind] | None = None) -> HostState:
    """A host point with the contents of its parts.

    Args:
        repository: In step (`sync`).
        point: Its manifest.
        kinds: Only these kinds; all when None.

    Raises:
        DamageError: Something is missing or damaged.
    """
    wanted = set(kinds) if kinds is not None else set(PartKind)
    streams = {(item.role, item.path): item for item in point.files}
    parts: dict[Key, Part] = {}
    for entry in load_entries(repository, point):
        if entry.kind not in wanted:
            continue
        content = b""
        if entry.stream:
            item = streams.get((entry.kind.value, entry.name))
            if item is None:
                raise DamageError("POINT-DAMAGED", f"The point {point.id} lacks {entry.kind} {entry.name}.")
            content = read_stream(repository, f"{item.role} {item.path}", item.size, item.root)
        parts[entry.key] = Part(entry, content)
    return HostState(point.host, point.time, parts, point.left_out)
