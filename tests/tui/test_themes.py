"""Every theme can be read: states, words and the lit line against what is behind them."""

from __future__ import annotations

import pytest
from textual.color import Color
from textual.theme import Theme

from vmtui.tui.styles.themes import THEMES

LEAST = 4.5
"""Contrast of text, as WCAG 2 asks of level AA."""


def luminance(colour: Color) -> float:
    """How bright it looks, 0 to 1."""
    parts = (value / 255 for value in (colour.r, colour.g, colour.b))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """From 1, the same, to 21, black on white."""
    low, high = sorted(luminance(Color.parse(text)) for text in (one, other))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_black_and_white() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
@pytest.mark.parametrize("role", ["foreground", "primary", "secondary", "accent", "success", "warning", "error"])
def test_words_can_be_read(theme: Theme, role: str) -> None:
    for behind in (theme.background, theme.surface, theme.panel):
        assert behind is not None
        assert contrast(getattr(theme, role), behind) >= LEAST, (role, behind)
