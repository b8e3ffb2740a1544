"""Trying again: at once the first time, then ever more seldom, and anew after a calm."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmtui.model.errors import CancelledError, DamageError
from vmtui.model.ids import JobId
from vmtui.model.progress import Check, SilentWatch
from vmtui.restore import tending
from vmtui.restore.tending import Evidence, Patience, Tending, Wishes
from vmtui.runs import RunNotes
from vmtui.serving.offer import Failure


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that a test sets."""
    now = [1000.0]
    monkeypatch.setattr(tending, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=lambda _: None))
    return now


def test_tries_become_seldom_and_begin_anew_after_a_calm(clock: list[float]) -> None:
    patience = Patience()
    tries = []
    for _ in range(6000):
        if patience.due():
            tries.append(clock[0])
        clock[0] += 0.01
    gaps = [round(after - before, 1) for before, after in itertools.pairwise(tries)]
    assert gaps[:4] == [1.0, 2.0, 5.0, 15.0]
    assert set(gaps[4:]) <= {15.0}
    clock[0] += 100
    assert patience.due()
    clock[0] += 1.1
    assert patience.due()


class Notes(SilentWatch):
    """Keeps what the operator reads."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, bool]] = []

    def note(self, text: str, *, warning: bool = True) -> None:
        self.texts.append((text, warning))


def tended(watch: Notes, **wishes: bool) -> Tending:
    context: Any = SimpleNamespace(watch=watch, repository=SimpleNamespace(session=lambda _: None))
    plan: Any = SimpleNamespace(name="web9", run="0" * 16)
    asked = {"cancel": False, "discard": False} | wishes
    return Tending(context, plan, Wishes(lambda: asked["cancel"], lambda: asked["discard"]))


def test_damage_is_told_once_with_its_block_and_pack(clock: list[float]) -> None:
    watch = Notes()
    tending_it = tended(watch)
    error = DamageError("REPO-BLOCK-BAD", "The block 00ff in packs/abcd… does not have the bytes that were stored.")
    for _ in range(3):
        tending_it.failed(Failure("vda", 4096, 512, error))
    ((text, warning),) = watch.texts
    assert warning
    assert "00ff in packs/abcd" in text
    assert "vda at 4096" in text


def test_a_wish_to_stop_is_heeded_until_the_vm_runs(clock: list[float]) -> None:
    with pytest.raises(CancelledError):
        tended(Notes(), cancel=True).heed(ran=False)
    watch = Notes()
    tended(watch, cancel=True).heed(ran=True)
    assert "--discard" in watch.texts[0][0]
    with pytest.raises(CancelledError):
        tended(Notes(), discard=True).heed(ran=True)


def test_evidence_outlives_its_process(tmp_path: Path) -> None:
    run = JobId("0" * 16)
    context: Any = SimpleNamespace(notes=lambda _: RunNotes(tmp_path, run))
    plan: Any = SimpleNamespace(run=run)
    check = Check("boot", True, "runs")
    Evidence(context, plan).add(check)
    again = Evidence(context, plan)
    again.add(check, Check("compared", None, "not compared"))
    assert [item.name for item in Evidence(context, plan).checks] == ["boot", "compared"]
    assert again.has("compared")
