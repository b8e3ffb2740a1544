from __future__ import annotations

from pathlib import Path

from vmtui.backup.journal import LeafJournal

LEAVES = {number * 3: bytes([number + 1]) * 32 for number in range(4)}
RECORD = 40


def written(path: Path) -> bytes:
    journal = LeafJournal(path)
    for leaf, node in LEAVES.items():
        journal.add(leaf, node)
    journal.write_down()
    return path.read_bytes()


def first(count: int) -> dict[int, bytes]:
    return dict(list(LEAVES.items())[:count])


def test_leaves_that_were_written_down_are_read_back(tmp_path: Path) -> None:
    written(tmp_path / "j")
    assert LeafJournal(tmp_path / "j").done == LEAVES


def test_leaves_that_were_not_written_down_are_not(tmp_path: Path) -> None:
    LeafJournal(tmp_path / "j").add(1, b"x" * 32)
    assert LeafJournal(tmp_path / "j").done == {}


def test_a_tail_torn_anywhere_costs_that_record_alone(tmp_path: Path) -> None:
    data = written(tmp_path / "j")
    for length in range(len(data) + 1):
        (tmp_path / "j").write_bytes(data[:length])
        assert LeafJournal(tmp_path / "j").done == first(length // RECORD)


def test_a_record_with_a_flipped_byte_and_all_after_it_are_not_believed(tmp_path: Path) -> None:
    data = written(tmp_path / "j")
    for place in range(len(data)):
        bad = bytearray(data)
        bad[place] ^= 0x20
        (tmp_path / "j").write_bytes(bad)
        assert LeafJournal(tmp_path / "j").done == first(place // RECORD)


def test_what_is_added_after_a_torn_tail_is_read_back(tmp_path: Path) -> None:
    data = written(tmp_path / "j")
    (tmp_path / "j").write_bytes(data[:-7])
    journal = LeafJournal(tmp_path / "j")
    journal.add(77, b"n" * 32)
    journal.write_down()
    assert LeafJournal(tmp_path / "j").done == first(3) | {77: b"n" * 32}


def test_a_forgotten_journal_is_empty_for_the_next_run_as_well(tmp_path: Path) -> None:
    written(tmp_path / "j")
    journal = LeafJournal(tmp_path / "j")
    journal.forget()
    assert journal.done == LeafJournal(tmp_path / "j").done == {}
