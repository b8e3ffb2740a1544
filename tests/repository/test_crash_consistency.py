"""A run that stops at any step leaves the earlier points readable, and the next run succeeds."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.support.repositories import START, commit_disk, create, noise, read_disk, reopen
from vmtui.model.progress import SilentWatch
from vmtui.repository import Repository
from vmtui.repository.scrub import verify_all
from vmtui.repository.store import ObjectStore

FIRST = noise(1, 20) + bytes(4096 * 300) + noise(2, 5)
SECOND = noise(3, 20) + bytes(4096 * 300) + noise(2, 5)


class PowerCutError(Exception):
    """The program ended here."""


class Dying:
    """Ends the program before, or right after, its n-th put or flush."""

    def __init__(self, store: ObjectStore, step: int, *, after: bool) -> None:
        self._put, self._flush = store.put, store.flush
        self._left, self._after = step, after

    def put(self, namespace: str, name: str, data: bytes | memoryview) -> None:
        self._step(lambda: self._put(namespace, name, data))

    def flush(self) -> None:
        self._step(self._flush)

    def _step(self, action: object) -> None:
        self._left -= 1
        if self._left < 0 or (self._left == 0 and not self._after):
            raise PowerCutError
        action()  # type: ignore[operator]
        if self._left == 0:
            raise PowerCutError


def run(repository: Repository) -> None:
    commit_disk(repository, FIRST)
    commit_disk(repository, SECOND, 1)


def steps(folder: Path) -> int:
    """Puts and flushes of the whole run."""
    repository = create(folder)
    taken = itertools.count()
    real_put, real_flush = repository.store.put, repository.store.flush
    repository.store.put = lambda *arguments: (next(taken), real_put(*arguments))[1]  # type: ignore[method-assign]
    repository.store.flush = lambda: (next(taken), real_flush())[1]  # type: ignore[method-assign]
    run(repository)
    return next(taken)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_stop_at_any_step_costs_no_earlier_point(tmp_path: Path, after: bool) -> None:
    count = steps(tmp_path / "whole")
    assert count >= 16
    for step in range(1, count + 1):
        folder = tmp_path / f"{step}"
        repository = create(folder)
        dying = Dying(repository.store, step, after=after)
        repository.store.put = dying.put  # type: ignore[method-assign]
        repository.store.flush = dying.flush  # type: ignore[method-assign]
        with pytest.raises(PowerCutError):
            run(repository)
        later = reopen(folder)
        assert verify_all(later, SilentWatch(), START).damage == [], f"step {step}"
        for name, data in zip(later.points.names(), (FIRST, SECOND), strict=False):
            assert read_disk(later, later.points.load(name).disks[0].root, len(data)) == data, f"step {step}"
        again = commit_disk(Repository(later.store.url, folder / "cache"), SECOND, 2)
        seen = reopen(folder, "third cache")
        assert read_disk(seen, seen.points.load(again).disks[0].root, len(SECOND)) == SECOND, f"step {step}"
        assert verify_all(seen, SilentWatch(), START).damage == [], f"step {step}"
