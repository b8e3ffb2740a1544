"""The format document is enough: a script that knows nothing of vmtui reads its repositories."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repositories import BLOCK, PASSPHRASE, backup, create, noise
from vmtui.repository import PointName, Repository
from vmtui.repository.store import PACKS

SCRIPT = Path(__file__).with_name("read_point.py")
SECOND = noise(1, 300) + bytes(40 * BLOCK) + b"some text, again and again. " * 20_000 + b"odd"


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "sealed"])
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Repository, Path, PointName]:
    folder = tmp_path_factory.mktemp("independent")
    repository = create(folder, sealed=request.param)
    backup(repository, noise(1, 300), 0)
    name = backup(repository, SECOND, 1)
    (folder / "phrase").write_text(PASSPHRASE + "\n")
    return repository, folder, name


def read(folder: Path, name: PointName, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    arguments = [str(folder / "repository"), name.key, "vda", str(out), *options]
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=120)


def test_it_is_short_and_imports_nothing_of_vmtui() -> None:
    text = SCRIPT.read_text()
    assert len(text.splitlines()) < 200
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imports for alias in node.names}
    names |= {node.module or "" for node in imports if isinstance(node, ast.ImportFrom)}
    assert not [name for name in names if name.split(".")[0] in ("vmtui", "tests")]


def test_it_reads_what_was_written(built: tuple[Repository, Path, PointName], tmp_path: Path) -> None:
    _, folder, name = built
    result = read(folder, name, tmp_path / "out", "--passphrase-file", str(folder / "phrase"))
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out").read_bytes() == SECOND


def test_it_reads_without_the_index(built: tuple[Repository, Path, PointName], tmp_path: Path) -> None:
    _, folder, name = built
    shutil.copytree(folder / "repository", tmp_path / "repository")
    shutil.rmtree(tmp_path / "repository" / "index")
    result = read(tmp_path, name, tmp_path / "out", "--passphrase-file", str(folder / "phrase"))
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out").read_bytes() == SECOND


def test_it_opens_by_the_paper_key_and_by_nothing_wrong(tmp_path: Path) -> None:
    repository = create(tmp_path, sealed=True)
    name = backup(repository, noise(5, 10), 0)
    (tmp_path / "paper").write_text(repository.paper_key())
    (tmp_path / "wrong").write_text("wrong\n")
    assert read(tmp_path, name, tmp_path / "out", "--paper-key", str(tmp_path / "paper")).returncode == 0
    assert (tmp_path / "out").read_bytes() == noise(5, 10)
    result = read(tmp_path, name, tmp_path / "not", "--passphrase-file", str(tmp_path / "wrong"))
    assert "opens no slot" in result.stderr


def test_it_finds_a_flipped_byte(built: tuple[Repository, Path, PointName], tmp_path: Path) -> None:
    _, folder, name = built
    shutil.copytree(folder / "repository", tmp_path / "repository")
    for path in (path for path in (tmp_path / "repository" / PACKS).rglob("*") if path.is_file()):
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 1
        path.write_bytes(data)
    result = read(tmp_path, name, tmp_path / "out", "--passphrase-file", str(folder / "phrase"))
    assert result.returncode != 0
    assert "damaged" in result.stderr or "not as written" in result.stderr
