"""What `VM@latest` and `VM@good` mean when the newest point is damaged."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.repositories import START, backup, create, noise
from vmtui.model.errors import DamageError, UsageError
from vmtui.model.point import EventKind, PointEvent
from vmtui.overview.catalogue import choose_point, find_point
from vmtui.repository import PointName, Repository


def damage(repository: Repository, name: PointName) -> None:
    at = START + timedelta(days=1)
    repository.points.record(name, PointEvent(EventKind.DAMAGED, at, "a block is not as written"))


def test_good_is_older_than_the_newest_damage(tmp_path: Path) -> None:
    repository = create(tmp_path)
    first, second, third = (backup(repository, noise(number, 4), number) for number in range(3))
    vm = repository.points.load(first).vm_name
    assert find_point(repository, f"{vm}@latest") == find_point(repository, f"{vm}@good") == third
    damage(repository, third)
    with pytest.raises(DamageError, match="known damage") as caught:
        find_point(repository, f"{vm}@latest")
    assert f"{vm}@good" in (caught.value.next_step or "")
    assert find_point(repository, f"{vm}@good") == second
    damage(repository, second)
    damage(repository, first)
    with pytest.raises(DamageError, match="Every point"):
        find_point(repository, f"{vm}@good")


def test_other_words_after_the_sign_are_refused(tmp_path: Path) -> None:
    repository = create(tmp_path)
    vm = repository.points.load(backup(repository, noise(1, 4), 0)).vm_name
    with pytest.raises(UsageError, match="VM@good"):
        find_point(repository, f"{vm}@newest")


def test_a_name_alone_is_the_newest_good_point_and_says_what_it_passed_over(tmp_path: Path) -> None:
    repository = create(tmp_path)
    first, second, third = (backup(repository, noise(number, 4), number) for number in range(3))
    vm = repository.points.load(first).vm_name
    for text in (vm, f"{vm}@good"):
        assert choose_point(repository, text).name == third
        assert choose_point(repository, text).passed_over == ""
    damage(repository, third)
    for text in (vm, f"{vm}@good"):
        chosen = choose_point(repository, text)
        assert chosen.name == second
        assert third.id in chosen.passed_over
        assert "a block is not as written" in chosen.passed_over
    by_id = choose_point(repository, first.id)
    assert (by_id.name, by_id.passed_over) == (first, ""), "the operator chose it"
    with pytest.raises(UsageError, match="no-such"):
        choose_point(repository, "no-such")
