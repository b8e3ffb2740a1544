"""Repositories that an earlier version wrote stay readable, and can be gone on with."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.repositories import START, backup, noise, phrase, read_disk
from vmtui.model.ids import JobId, PointId, VmId
from vmtui.model.progress import SilentWatch
from vmtui.repository import PointName, Repository
from vmtui.repository.collect import collect
from vmtui.repository.scrub import verify_all

FIXTURES = Path(__file__).parent.parent / "fixtures" / "format-1"
READER = Path(__file__).parent.parent / "independent" / "read_point.py"


@pytest.fixture(params=["plain", "sealed"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A copy of what was kept, and what must be in it."""
    shutil.copytree(FIXTURES / request.param / "repository", tmp_path / "repository")
    for name in ("sessions", "quarantine", "keys", "garbage"):  # empty folders are not kept
        (tmp_path / "repository" / name).mkdir(exist_ok=True)
    return tmp_path, json.loads((FIXTURES / request.param / "expected.json").read_text())


def check(repository: Repository, expected: dict[str, Any]) -> None:
    assert {name.key for name in repository.points.names()} >= set(expected["points"])
    for key, disk in expected["points"].items():
        vm, _, point = key.partition(".")
        name = PointName(VmId(vm), PointId(point))
        data = read_disk(repository, repository.points.load(name).disks[0].root, disk["size"])
        assert hashlib.sha256(data).hexdigest() == disk["sha256"]
        assert (repository.points.status(name).held is not None) == (key == expected["held"])


def test_format_1_is_read_and_gone_on_with(kept: tuple[Path, dict[str, Any]]) -> None:
    folder, expected = kept
    repository = Repository(f"file://{folder / 'repository'}", folder / "cache", phrase)
    assert repository.sync() == []
    check(repository, expected)
    assert repository.points.lost() == []
    assert verify_all(repository, SilentWatch(), START).damage == []
    backup(repository, noise(1, 6) + noise(7, 10), 40)
    assert collect(repository, JobId("01kdye0yr800run1"), SilentWatch(), lambda: START).deleted > 0
    check(repository, expected)


def test_format_1_is_read_by_its_document(kept: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, expected = kept
    (tmp_path / "phrase").write_text(expected["passphrase"] or "")
    for key, disk in expected["points"].items():
        arguments = [str(folder / "repository"), key, "vda", str(tmp_path / "out")]
        arguments += ["--passphrase-file", str(tmp_path / "phrase")]
        subprocess.run([sys.executable, str(READER), *arguments], check=True, timeout=120)
        assert hashlib.sha256((tmp_path / "out").read_bytes()).hexdigest() == disk["sha256"]
