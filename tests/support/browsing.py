"""Points made of disk images, open for browsing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support import repositories
from vmtui.files import Browser
from vmtui.files.entries import Place
from vmtui.files.take import Taken, take
from vmtui.files.target import Rules
from vmtui.files.walk import Problem, walk
from vmtui.model.progress import SilentWatch
from vmtui.repository import PointName, Repository

BLOCK = 64 << 10
_PART = 8 << 20


def store(folder: Path, disks: Sequence[Path], *, sealed: bool = False) -> tuple[Repository, PointName]:
    """A repository with one point of these disks, each named as its file is."""
    repository = repositories.create(folder, BLOCK, sealed=sealed)
    repository.sync()
    writer = repository.writer(1)
    roots = {}
    try:
        for disk in disks:
            data = disk.read_bytes()
            roots[disk.stem] = (repositories.store_disk(writer, data, BLOCK), len(data))
        writer.settle()
    finally:
        writer.close()
    point = repositories.make_point(repository, roots)
    repository.points.commit(point)
    return repository, PointName(point.vm_uuid, point.id)


@contextmanager
def browsing(folder: Path, *disks: Path) -> Iterator[Browser]:
    """These disks as a point, open."""
    repository, name = store(folder, disks)
    with Browser(repository, repository.points.load(name)) as browser:
        yield browser


def everything(browser: Browser, volume: str, *, brief: bool = False) -> tuple[dict[str, str], list[Problem]]:
    """Kind by path of all that is on a volume, and what could not be read."""
    problems: list[Problem] = []
    found = {
        str(place): entry.kind.value
        for place, entry in walk(browser, Place(volume), SilentWatch(), problems.append, brief=brief)
    }
    return found, problems


def taken_into(browser: Browser, target: Path, *paths: str, rules: Rules | None = None) -> Taken:
    """Take things out."""
    return take(browser, [Place.parse(path) for path in paths], str(target), rules or Rules(), SilentWatch())
