"""A place that was encrypted does not become a plain one unseen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.repositories import create, phrase
from vmtui.model.errors import RefusedError
from vmtui.repository import Repository
from vmtui.repository.store import CONFIG


def test_a_plain_configuration_in_place_of_a_sealed_one_is_refused(tmp_path: Path) -> None:
    """Else the next backup would be written for everybody to read."""
    ours = create(tmp_path / "ours", sealed=True)
    other = create(tmp_path / "other")
    ours.store.put(CONFIG, "main", other.store.get(CONFIG, "main"))
    with pytest.raises(RefusedError) as caught:
        Repository(ours.store.url, tmp_path / "ours" / "cache", phrase)
    assert caught.value.id == "REPO-DOWNGRADED"
    Path(caught.value.next_step.rpartition(" ")[2]).unlink()
    assert not Repository(ours.store.url, tmp_path / "ours" / "cache", phrase).identity.encrypted


def test_a_new_repository_at_an_old_place_may_be_plain(tmp_path: Path) -> None:
    ours = create(tmp_path, sealed=True)
    (tmp_path / "repository").rename(tmp_path / "old")
    again = create(tmp_path)
    assert not again.identity.encrypted
    assert ours.id != Repository(again.store.url, tmp_path / "cache").id
