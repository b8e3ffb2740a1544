"""Changing which packs the index segments name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from vmtui.failpoint import failpoint
from vmtui.model.progress import Watch
from vmtui.repository import segments
from vmtui.repository.packs import PackInfo
from vmtui.repository.repository import Repository
from vmtui.repository.store import INDEX

SEGMENT_PACKS = 64
"""Packs that a rewritten segment names."""


def put_segments(repository: Repository, packs: Sequence[PackInfo]) -> None:
    """Name packs in new index segments, durably."""
    for start in range(0, len(packs), SEGMENT_PACKS):
        name, data = segments.build(packs[start : start + SEGMENT_PACKS], repository.keys)
        repository.store.put(INDEX, name, data)
    repository.store.flush()


def drop_packs(repository: Repository, doomed: Iterable[str], watch: Watch, keep: Callable[[], None]) -> None:
    """Let no index segment name these packs: new segments first, durably, then away with the old ones.

    Args:
        repository: Open.
        doomed: Names of packs.
        watch: Cancelling.
        keep: Keeps the session of the run, or raises: who slept for a day must not go on, as others ended this work.

    Raises:
        DamageError: A segment is damaged; then none was deleted.
        FailedError: The session ended, or no space is left.
        UnreachableError: The store cannot be read or written.
    """
    gone = set(doomed)
    old: list[str] = []
    kept: list[PackInfo] = []
    for item in repository.store.list(INDEX):
        watch.check()
        packs = segments.read(repository.store, item.name, repository.keys)
        if any(pack.name in gone for pack in packs):
            old.append(item.name)
            kept += [pack for pack in packs if pack.name not in gone]
            if len(kept) >= SEGMENT_PACKS:
                put_segments(repository, kept)
                kept = []
    put_segments(repository, kept)
    failpoint("gc.indexed")
    for name in old:
        keep()
        repository.store.delete(INDEX, name)
    repository.store.flush()
    failpoint("gc.unindexed")
