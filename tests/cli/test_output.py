"""Text that comes from elsewhere, and options that may stand anywhere."""

from __future__ import annotations

import io
import json
import os
import sys
import unicodedata
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmtui.cli.main import hoist
from vmtui.cli.output import Output
from vmtui.overview.words import age, pad, printable, ratio_text, width

HIDDEN: tuple[Literal["Cc", "Cf", "Cs", "Co", "Zl", "Zp"], ...] = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


@given(st.text())
def test_no_control_or_direction_character_gets_through(text: str) -> None:
    assert not [character for character in printable(text) if unicodedata.category(character) in HIDDEN]


@given(st.text(st.characters(exclude_categories=HIDDEN)))
def test_everything_else_is_untouched(text: str) -> None:
    assert printable(text) == text


@given(st.text(st.characters(exclude_categories=HIDDEN)), st.integers(0, 20))
def test_padded_text_has_the_width(text: str, more: int) -> None:
    assert width(pad(text, width(text) + more)) == width(text) + more


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (["vms", "--json"], ["--json", "vms"]),
        (["backup", "a", "--config", "x", "--full"], ["--config", "x", "backup", "a", "--full"]),
        (["vms", "--config=x"], ["--config=x", "vms"]),
        (["backup", "--", "--json"], ["backup", "--", "--json"]),
        (["vms", "--config"], ["vms", "--config"]),
    ],
)
def test_global_options_may_stand_anywhere(given_: list[str], expected: list[str]) -> None:
    assert hoist(given_) == expected


@given(
    st.lists(st.sampled_from(["vms", "--json", "--quiet", "--config", "x", "--", "--read-only", "--full"]), max_size=8)
)
def test_hoisting_loses_no_word(words: list[str]) -> None:
    assert sorted(hoist(words)) == sorted(words)


@pytest.mark.parametrize(
    ("seconds", "words"), [(None, "–"), (0, "0s"), (59.9, "59s"), (61, "1m01s"), (3 * 3600, "3h00m"), (90000, "1d01h"), (-5, "0s")]
)  # fmt: skip
def test_age(seconds: float | None, words: str) -> None:
    assert age(seconds) == words


@pytest.mark.parametrize(
    ("ratio", "words"), [(None, ""), (0.916, "×0.92"), (2.71, "×2.7"), (14.2, "×14"), (250.0, "×250")]
)
def test_ratio(ratio: float | None, words: str) -> None:
    assert ratio_text(ratio) == words


def test_a_name_in_no_encoding_is_valid_json_on_every_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    name = os.fsdecode(b"caf\xe9")
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="utf-8", errors="strict"))
    Output(as_json=True, quiet=False).document({"name": name, "other": "café"})
    assert json.loads(raw.getvalue().decode()) == {"name": name, "other": "café"}
