"""Every state and every error has words."""

from __future__ import annotations

import pytest

from vmtui.model.errors import CATALOG
from vmtui.model.host import HostState
from vmtui.model.job import JobState
from vmtui.model.point import Consistency
from vmtui.model.policy import Status
from vmtui.overview.explain import STATES, explanation

ALL = [
    *(f"vm.{status}" for status in Status),
    "vm.gone",
    "vm.unreachable",
    "vm.twin",
    *(f"host.{state}" for state in HostState),
    *(f"job.{state}" for state in JobState),
    *(f"consistency.{item}" for item in Consistency),
    "point.verified",
    "point.unverified",
    "point.damaged",
    "point.bootable",
    "point.not bootable",
    "repo.ok",
    "repo.away",
    *CATALOG,
]


@pytest.mark.parametrize("id_", ALL)
def test_words(id_: str) -> None:
    words = explanation(id_)
    assert words is not None
    assert words.means
    assert words.tries


@pytest.mark.parametrize("id_", STATES)
def test_a_state_says_what_follows_and_three_things_to_try(id_: str) -> None:
    assert STATES[id_].otherwise
    assert len(STATES[id_].tries) == 3
