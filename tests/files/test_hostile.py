"""File systems that are made to mislead: nothing is ever written outside the target, and every answer comes in time."""

from __future__ import annotations

import os
import signal
import struct
from pathlib import Path

import pytest

from tests.support import images
from tests.support.browsing import browsing, everything, taken_into
from vmtui.files.entries import Place
from vmtui.files.target import Rules
from vmtui.model.errors import FailedError, UsageError

PLAIN = ("-O", "^metadata_csum,^dir_index,^has_journal", "-b", "1024")
"""ext4 without checksums, so that names can be changed in the image."""
HOSTILE = {
    b"..\x2fevil-up": b"NAME-01-XX",
    b"\x2fetc\x2fevilx": b"NAME-02-XX",
    b"sub\x2fevil-x": b"NAME-03-XX",
    b"nul\x00evil-x": b"NAME-04-XX",
}
STRANGE = {
    name: f"NAME-{number}-".encode().ljust(len(name), b"X")
    for number, name in enumerate(
        (
            b"esc\x1b[2J-x\n",
            b"rtl\xe2\x80\xaegpj.x",
            b"no-utf8-\xff\xfe\x80",
            b"[b]markup[[@click=x]",
            b"-rf --all $(reboot)",
        )
    )
}


def _ext4(folder: Path, tree: Path, renamed: dict[bytes, bytes]) -> Path:
    """An image in which names were exchanged for others of the same length."""
    image = folder / "vda"
    images.ext4(image, tree, 8 * images.MIB, *PLAIN)
    data = image.read_bytes()
    for name, before in renamed.items():
        assert len(name) == len(before)
        assert data.count(before) == 1
        data = data.replace(before, name)
    image.write_bytes(data)
    return image


def _outside(folder: Path, target: str) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and target not in path.parts and "r" not in path.relative_to(folder).parts
    }


def test_names_that_lead_elsewhere_are_left_out_and_told(tmp_path: Path) -> None:
    names = {name.decode(): b"evil" for name in HOSTILE.values()} | {"good": b"good"}
    image = _ext4(tmp_path, images.write_tree(tmp_path / "tree", names), HOSTILE)
    with browsing(tmp_path / "r", image) as browser:
        before = _outside(tmp_path, "out")
        taken = taken_into(browser, tmp_path / "out", "/vda")
    assert [problem.error_id for problem in taken.problems] == ["NAME-BAD"] * len(HOSTILE)
    assert (tmp_path / "out" / "vda" / "good").read_bytes() == b"good"
    assert _outside(tmp_path, "out") == before
    assert {path.name for path in (tmp_path / "out" / "vda").iterdir()} == {"good", "lost+found"}


def test_strange_names_are_kept_to_the_byte(tmp_path: Path) -> None:
    names = {name.decode(): b"x" for name in STRANGE.values()}
    image = _ext4(tmp_path, images.write_tree(tmp_path / "tree", names), STRANGE)
    with browsing(tmp_path / "r", image) as browser:
        taken = taken_into(browser, tmp_path / "out", "/vda")
    assert not taken.problems
    found = {os.fsencode(path.name) for path in (tmp_path / "out" / "vda").iterdir()}
    assert found - {b"lost+found"} == set(STRANGE)


def test_a_link_in_the_way_is_never_followed(tmp_path: Path) -> None:
    """A link and a folder of the same name: the second `get` would write through what the first one made."""
    victim = tmp_path / "victim"
    victim.mkdir()
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    (first / "way").symlink_to(victim)
    (first / "file").symlink_to(victim / "file")
    images.write_tree(second, {"way/evil": b"evil", "file": b"evil"})
    images.ext4(tmp_path / "vda", first, 8 * images.MIB)
    images.ext4(tmp_path / "vdb", second, 8 * images.MIB)
    with browsing(tmp_path / "r", tmp_path / "vda", tmp_path / "vdb") as browser:
        out = tmp_path / "out"
        assert not taken_into(browser, out, "/vda/way", "/vda/file").problems
        assert (out / "way").is_symlink()
        for overwrite in (False, True):
            taken = taken_into(browser, out, "/vdb/way", "/vdb/file", rules=Rules(overwrite=overwrite))
            assert [problem.error_id for problem in taken.problems] == ["TARGET-EXISTS"] * (1 if overwrite else 2)
            assert not list(victim.iterdir())
        assert (out / "file").read_bytes() == b"evil"
        assert not (out / "file").is_symlink()
        assert browser.look(Place.parse("/vdb/../vda/way"), follow=False)[1].target == str(victim)
        with pytest.raises(UsageError):
            browser.look(Place.parse("/vda/way/evil"), follow=False)  # an absolute link begins at the volume's top


def test_what_is_there_is_not_replaced_unless_asked(tmp_path: Path) -> None:
    images.ext4(tmp_path / "vda", images.write_tree(tmp_path / "tree", {"a": b"new", "b": b"new"}), 8 * images.MIB)
    out = images.write_tree(tmp_path / "out", {"a": b"old"})
    with browsing(tmp_path / "r", tmp_path / "vda") as browser:
        taken = taken_into(browser, out, "/vda/a", "/vda/b")
        assert [problem.error_id for problem in taken.problems] == ["TARGET-EXISTS"]
        assert ((out / "a").read_bytes(), (out / "b").read_bytes()) == (b"old", b"new")
        assert not taken_into(browser, out, "/vda/a", rules=Rules(overwrite=True)).problems
    assert (out / "a").read_bytes() == b"new"
    assert sorted(path.name for path in out.iterdir()) == ["a", "b"]


def test_devices_are_never_made(tmp_path: Path) -> None:
    images.ext4(tmp_path / "vda", images.write_tree(tmp_path / "tree", {"a": b"a"}), 8 * images.MIB)
    images.run("debugfs", "-w", "-R", "mknod null c 1 3", tmp_path / "vda")
    images.run("debugfs", "-w", "-R", "mknod pipe p", tmp_path / "vda")
    with browsing(tmp_path / "r", tmp_path / "vda") as browser:
        taken = taken_into(browser, tmp_path / "out", "/vda")
    assert sorted(taken.left_out) == ["/vda/null: device", "/vda/pipe: pipe"]
    assert not taken.problems
    assert not (tmp_path / "out" / "vda" / "null").exists()


def test_programs_do_not_keep_the_rights_of_their_owner(tmp_path: Path) -> None:
    tree = images.write_tree(tmp_path / "tree", {"su": b"#!"})
    (tree / "su").chmod(0o6755)
    images.ext4(tmp_path / "vda", tree, 8 * images.MIB)
    with browsing(tmp_path / "r", tmp_path / "vda") as browser:
        assert browser.look(Place.parse("/vda/su"), follow=False)[1].mode == 0o6755
        taken_into(browser, tmp_path / "out", "/vda/su")
    assert (tmp_path / "out" / "su").stat().st_mode & 0o7777 == 0o755


# -- damaged structures --------------------------------------------------------------------------


def test_a_folder_that_holds_itself_ends_in_an_error(tmp_path: Path) -> None:
    images.ext4(tmp_path / "vda", images.write_tree(tmp_path / "tree", {"a/b/file": b"1"}), 8 * images.MIB, *PLAIN)
    images.run("debugfs", "-w", "-R", "link /a /a/b/again", tmp_path / "vda")
    with browsing(tmp_path / "r", tmp_path / "vda") as browser:
        found, problems = everything(browser, "vda")
        assert "/vda/a/b/again" in found
        assert len(found) < 20
        assert [problem.error_id for problem in problems] == ["FILES-UNREADABLE"]
        taken = taken_into(browser, tmp_path / "out", "/vda/a")
    assert [problem.path for problem in taken.problems] == ["/vda/a/b/again"]


def test_links_in_circles_end_in_an_error(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "one").symlink_to("two")
    (tree / "two").symlink_to("one")
    images.ext4(tmp_path / "vda", tree, 8 * images.MIB)
    with browsing(tmp_path / "r", tmp_path / "vda") as browser, pytest.raises(UsageError, match="circles"):
        browser.look(Place.parse("/vda/one/file"), follow=True)


def test_a_chain_of_clusters_in_a_circle_ends_in_an_error(tmp_path: Path) -> None:
    image = tmp_path / "vda"
    images.fat(image, images.write_tree(tmp_path / "tree", {"LOOP": bytes(40_000), "GOOD": b"good"}), 40 * images.MIB)
    data = bytearray(image.read_bytes())
    entry = data.index(b"LOOP       ")
    cluster = struct.unpack_from("<H", data, entry + 26)[0]
    reserved = struct.unpack_from("<H", data, 14)[0]
    struct.pack_into("<I", data, reserved * 512 + (cluster + 1) * 4, cluster)
    struct.pack_into("<I", data, entry + 28, 0xFFFFFFF0)
    image.write_bytes(data)
    with browsing(tmp_path / "r", image) as browser:
        taken = taken_into(browser, tmp_path / "out", "/vda")
    assert [(problem.path, problem.error_id) for problem in taken.problems] == [("/vda/LOOP", "FILES-UNREADABLE")]
    assert (tmp_path / "out" / "vda" / "GOOD").read_bytes() == b"good"
    assert not (tmp_path / "out" / "vda" / "LOOP").exists()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", ["ext4", "ntfs", "btrfs", "fat", "xfs"])
def test_random_damage_ends_in_answers_or_errors(
    kind: str, seed: int, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever bytes a file system is made of, browsing it ends; and no file comes out longer or shorter than told."""
    import random

    image = tmp_path / "vda"
    image.write_bytes(_small(kind, tmp_path_factory).read_bytes())
    source = random.Random(seed)
    with image.open("r+b") as file:
        for _ in range(200):
            file.seek(source.randrange(min(image.stat().st_size, 4 * images.MIB)))
            file.write(source.randbytes(source.choice((1, 2, 4, 64))))
    with browsing(tmp_path / "r", image) as browser:
        for volume in browser.volumes:
            if not volume.reason:
                everything(browser, volume.name)
                taken_into(browser, tmp_path / "out", f"/{volume.name}")


_MADE: dict[str, Path] = {}


def _small(kind: str, factory: pytest.TempPathFactory) -> Path:
    if kind not in _MADE:
        folder = factory.mktemp(kind)
        files = images.tree(60)
        tree = images.write_tree(folder / "tree", files)
        image = folder / "image"
        if kind == "ntfs":
            images.ntfs_of(image, files, 8 * images.MIB)
        else:
            size = {"ext4": 8, "btrfs": 110, "fat": 40, "xfs": 310}[kind] * images.MIB
            {"ext4": images.ext4, "btrfs": images.btrfs, "fat": images.fat, "xfs": images.xfs}[kind](image, tree, size)
        _MADE[kind] = image
    return _MADE[kind]


def test_an_endless_parser_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images.ext4(tmp_path / "vda", images.write_tree(tmp_path / "tree", {"a": b"a"}), 8 * images.MIB)
    with browsing(tmp_path / "r", tmp_path / "vda") as browser:
        helper = browser._process
        assert helper is not None
        os.kill(helper.pid, signal.SIGSTOP)
        monkeypatch.setattr("vmtui.files.browser._THINKS_S", 0.3)
        with pytest.raises(FailedError, match="too long"):
            browser.folder(Place("vda"))
        assert helper.poll() is not None
        monkeypatch.undo()
        assert {entry.name for entry in browser.folder(Place("vda"))} == {"a", "lost+found"}
