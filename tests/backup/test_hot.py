"""What a hot backup makes of a bad network and of a guest that was let go too early; without a host."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vmtui.backup import hot
from vmtui.hosts.quiesce import Thawed
from vmtui.model.errors import UnreachableError
from vmtui.model.progress import SilentWatch

CUT = UnreachableError("NBD-LOST", "the connection broke")


class Work:
    """A disk that is read with a connection that breaks.

    Args:
        clock: Goes on by `pause` whenever the connection breaks.
        pause: Time between two breaks [s].
        reads: What was read in all when it breaks, each time [bytes].
        error: What is raised then.
    """

    def __init__(self, clock: list[float], pause: float, reads: list[int], error: UnreachableError = CUT) -> None:
        self._clock, self._pause, self._reads, self._error = clock, pause, reads, error
        self.read_bytes = 0
        self.tries = 0

    def run(self, _source: object) -> str:
        self.tries += 1
        if not self._reads:
            return "read"
        self._clock[0] += self._pause
        self.read_bytes = self._reads.pop(0)
        raise self._error


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(hot, "_source", lambda *_: None)
    monkeypatch.setattr(hot, "_check_standing_if_reachable", lambda *_: None)
    monkeypatch.setattr(hot, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=lambda _: None))
    return now


def read(work: Work) -> Any:
    context: Any = SimpleNamespace(watch=SilentWatch())
    any_: Any = None
    as_work: Any = work
    return hot._read_patiently(context, any_, any_, as_work)


def test_a_connection_that_breaks_each_hour_is_made_again_each_time(clock: list[float]) -> None:
    assert read(Work(clock, 3600, [1, 2, 3, 4])) == "read"


def test_a_connection_that_brings_nothing_more_is_given_up(clock: list[float]) -> None:
    with pytest.raises(UnreachableError):
        read(work := Work(clock, 100, [1] * 9))
    assert work.tries == 5


def test_a_repository_that_is_away_is_no_broken_connection(clock: list[float]) -> None:
    with pytest.raises(UnreachableError):
        read(work := Work(clock, 1, [1, 2], UnreachableError("REPO-UNREACHABLE", "no")))
    assert work.tries == 1


@pytest.mark.parametrize(
    ("thawed", "late", "words"),
    [
        (Thawed(2, ""), False, ""),
        (Thawed(2, ""), True, "took longer than"),
        (Thawed(0, "not answering"), False, "not answering"),
        (Thawed(0, ""), False, "somebody else"),
    ],
)
def test_a_frozen_view_is_only_called_so_when_the_guest_was_frozen_to_its_end(
    thawed: Thawed, late: bool, words: str
) -> None:
    broken = hot._broken(thawed, late=late)
    assert words in broken
    assert bool(broken) == bool(words)
