"""Themes: the same states in other colours; glyph and word say it without any."""

from __future__ import annotations

import os

from textual.theme import Theme

THEMES = (
    Theme(
        name="vmtui",
        primary="#4aa8ff",
        secondary="#7aa2c8",
        accent="#c792ea",
        success="#5fd787",
        warning="#ffcb6b",
        error="#ff6b6b",
        foreground="#e6e6e6",
        background="#10151c",
        surface="#161d26",
        panel="#1d2733",
        dark=True,
    ),
    Theme(
        name="vmtui-light",
        primary="#005a9c",
        secondary="#35607f",
        accent="#7b2fa0",
        success="#006b2d",
        warning="#8a5200",
        error="#b00020",
        foreground="#1a1a1a",
        background="#fbfbf8",
        surface="#f1f1ec",
        panel="#e4e4dc",
        dark=False,
    ),
    Theme(
        name="high-contrast",
        primary="#ffffff",
        secondary="#ffffff",
        accent="#ff80ff",
        success="#00ff00",
        warning="#ffff00",
        error="#ff5050",
        foreground="#ffffff",
        background="#000000",
        surface="#000000",
        panel="#202020",
        dark=True,
    ),
    Theme(
        name="deuteranopia",
        primary="#56b4e9",
        secondary="#9ecae9",
        accent="#cc79a7",
        success="#56b4e9",
        warning="#f0e442",
        error="#e69f00",
        foreground="#e6e6e6",
        background="#10151c",
        surface="#161d26",
        panel="#1d2733",
        dark=True,
    ),
)
"""Those of our own; `ansi-dark` and `ansi-light` come with Textual."""

NAMES = (*(theme.name for theme in THEMES), "ansi-dark", "ansi-light")


def default_theme() -> str:
    """The theme for this terminal: the console of Linux has sixteen colours."""
    return "ansi-dark" if os.environ.get("TERM") == "linux" else "vmtui"
