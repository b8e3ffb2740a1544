"""The filter language."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmtui.overview.filters import KEYS, BadFilterError, Fields, parse_filter

TEXT = "kvm3/Web1 running gold breached"
FIELDS: Fields = {
    "vm": "Web1",
    "host": "kvm3",
    "rpo": 2.7,
    "rpo:word": "breached",
    "age": 7200.0,
    "size": float(600 << 30),
    "tier": None,
}


@pytest.mark.parametrize(
    "words",
    ["", "web", "Web", "run gold", "~kvb1", "host:kvm3", "host:kvm1,kvm3", "host:kv*", "rpo:>1.5", "rpo:breached", "age:>1h", "age:<=2h",
     "size:>500G", "!db", "!host:kvm6", "tier:none", '"Web1 running"', "vm:WEB1"],
)  # fmt: skip
def test_passes(words: str) -> None:
    assert parse_filter(words).matches(TEXT, FIELDS)


@pytest.mark.parametrize(
    "words",
    [
        "WEB",
        "db",
        "web db",
        "~1bw",
        "host:kvm1",
        "rpo:>3",
        "rpo:never",
        "age:>26h",
        "size:<1T host:x",
        "!web",
        "tier:>1",
    ],
)
def test_does_not_pass(words: str) -> None:
    assert not parse_filter(words).matches(TEXT, FIELDS)


@pytest.mark.parametrize(
    ("words", "bad"), [("color:red", "color"), ("age:>soon", "age:>soon"), ("host:", "host:"), ("web !", "!")]
)
def test_a_bad_word_is_named(words: str, bad: str) -> None:
    with pytest.raises(BadFilterError, match=bad):
        parse_filter(words)


@given(st.text(max_size=30), st.sampled_from(KEYS))
def test_nothing_typed_ever_crashes(text: str, key: str) -> None:
    for words in (text, f"{key}:{text}", f"!{text}", f"~{text}"):
        try:
            parse_filter(words).matches(TEXT, FIELDS)
        except BadFilterError:
            continue
