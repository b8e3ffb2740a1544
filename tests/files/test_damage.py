"""Damage in the repository: the file concerned is named, nothing of it is written, the others are right."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import images
from tests.support.browsing import BLOCK, store, taken_into
from vmtui.files import Browser
from vmtui.files.entries import Place
from vmtui.files.pieces import PointPieces
from vmtui.files.protocol import PIECE
from vmtui.model.errors import DamageError, UsageError
from vmtui.repository import PointName, Repository

MARK = b"this block will be damaged "


@pytest.fixture
def damaged(tmp_path: Path) -> tuple[Repository, PointName]:
    """A point of whose files one, and nothing else, has a damaged block."""
    bad = os.urandom(700_000)
    tree = images.write_tree(tmp_path / "tree", {"dir/good": b"good" * 50_000, "dir/bad": bad, "other": b"other"})
    images.ext4(tmp_path / "vda", tree, 16 * images.MIB)
    repository, name = store(tmp_path / "r", [tmp_path / "vda"])
    place = (tmp_path / "vda").read_bytes().index(bad[:4096]) + 350_000
    (location,) = repository.index.find([repository.reader().map(_root(repository, name), 256).block(place // BLOCK)])
    assert location is not None
    pack = next((tmp_path / "r" / "repository").rglob(f"*{location.pack.name}*"))
    pack.chmod(0o600)
    with pack.open("r+b") as file:
        file.seek(location.entry.offset + location.entry.length // 2)
        file.write(b"\xff\x00\xff\x00")
    return repository, name


def _root(repository: Repository, name: PointName) -> bytes:
    return bytes.fromhex(repository.points.load(name).disks[0].root)


def test_a_damaged_file_is_named_and_the_others_are_taken(
    damaged: tuple[Repository, PointName], tmp_path: Path
) -> None:
    repository, name = damaged
    with Browser(repository, repository.points.load(name)) as browser:
        taken = taken_into(browser, tmp_path / "out", "/vda")
        assert [(problem.path, problem.error_id) for problem in taken.problems] == [("/vda/dir/bad", "REPO-BLOCK-BAD")]
        assert taken.damage
        with pytest.raises(DamageError, match="/vda/dir/bad"):
            list(browser.contents(Place.parse("/vda/dir/bad")))
        assert b"".join(part.data for part in browser.contents(Place.parse("/vda/other"))) == b"other"
    out = tmp_path / "out" / "vda"
    assert (out / "dir" / "good").read_bytes() == b"good" * 50_000
    assert sorted(path.name for path in (out / "dir").iterdir()) == ["good"]


def test_the_command_line_answers_3(damaged: tuple[Repository, PointName], tmp_path: Path) -> None:
    _, name = damaged
    config = tmp_path / "config.toml"
    config.write_text(f'repository = "file://{tmp_path}/r/repository"\nstate = "{tmp_path}/state"\n')
    listed = _vmtui(config, "files", "ls", name.id, "/vda/dir", "--json")
    assert {item["path"]: item["size"] for item in json.loads(listed.stdout)} == {
        "/vda/dir/good": 200_000,
        "/vda/dir/bad": 700_000,
    }
    answer = _vmtui(config, "files", "get", name.id, "/vda/dir", str(tmp_path / "out"), "--json")
    assert answer.returncode == 3, answer
    document = json.loads(answer.stdout)
    assert document["files"] == 1
    assert [problem["path"] for problem in document["problems"]] == ["/vda/dir/bad"]
    assert _vmtui(config, "files", "ls", name.id, "/vda/nothing").returncode == 2
    assert _vmtui(config, "files", "ls", name.id, "/vdx").returncode == 2


def test_without_the_extra_packages_the_way_to_get_them_is_told(
    damaged: tuple[Repository, PointName], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    repository, name = damaged
    bare = tmp_path / "python"
    bare.write_text(
        f'#!/bin/sh\nexec {sys.executable} -I -X utf8 -c \'import sys; sys.modules["dissect.extfs.c_ext"] = None\n'
        "from vmtui.files.helper.__main__ import main; main()'\n"
    )
    bare.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(bare))
    with pytest.raises(UsageError) as caught:
        Browser(repository, repository.points.load(name))
    assert caught.value.id == "FILES-EXTRA-MISSING"
    assert "pip install" in caught.value.next_step


def test_only_the_blocks_that_are_needed_are_read(tmp_path: Path) -> None:
    """A small file on a big disk costs a few pieces."""
    tree = images.write_tree(tmp_path / "tree", {f"big{number}": os.urandom(2 << 20) for number in range(10)})
    (tree / "small").write_bytes(b"small")
    images.ext4(tmp_path / "vda", tree, 64 * images.MIB)
    repository, name = store(tmp_path / "r", [tmp_path / "vda"])
    with Browser(repository, repository.points.load(name)) as browser:
        assert b"".join(part.data for part in browser.contents(Place.parse("/vda/small"))) == b"small"
        assert browser.pieces.read_bytes <= 6 * PIECE


def test_pieces_are_the_disk(tmp_path: Path) -> None:
    """In any order, at the end of a disk whose size is no multiple of anything, and with holes."""
    import random

    data = bytearray(5 * PIECE + 777 * 512)
    source = random.Random(2)
    for _ in range(20):
        start = source.randrange(len(data) - 5000)
        data[start : start + 5000] = source.randbytes(5000)
    (tmp_path / "vda").write_bytes(data)
    repository, name = store(tmp_path / "r", [tmp_path / "vda"])
    pieces = PointPieces(repository, repository.points.load(name))
    for number in [0, 1, 2, 3, 4, 5, *source.choices(range(6), k=30)]:
        found = pieces.get("vda", number).data
        assert found == data[number * PIECE : number * PIECE + len(found)]
        assert len(found) >= min(PIECE, len(data) - number * PIECE)
    for wrong in (6, -1):
        with pytest.raises(KeyError):
            pieces.get("vda", wrong)


def _vmtui(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vmtui", "--config", str(config), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
