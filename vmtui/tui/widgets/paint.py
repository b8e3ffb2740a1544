"""Text for the screen: safe, cut to its room, and in ASCII where the terminal knows nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from vmtui.overview.words import printable

_ASCII = {
    "✓": "ok",
    "✗": "x",
    "–": "-",  # a dash is meant
    "—": "-",
    "×": "x",  # the sign is meant
    "►": ">",
    "▼": "v",
    "▲": "^",
    "█": "#",
    "░": ".",
    "·": "-",
    "…": "~",
    "│": "|",
    "─": "-",
    "●": "o",
    "◆": "o",
    "→": "->",
    "┄": "-",
}
_TABLE = str.maketrans(_ASCII)
_FOREIGN = re.compile(r"[^\x20-\x7e]")


@dataclass(slots=True)
class Paint:
    """How text is written on this terminal."""

    ascii: bool = False

    def text(self, text: str) -> str:
        """Text from anywhere, fit for the terminal: nothing in it is obeyed."""
        safe = printable(text)
        if not self.ascii:
            return safe
        folded = safe.translate(_TABLE)
        return _FOREIGN.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), folded)

    def sign(self, character: str) -> str:
        """One character as one sign."""
        safe = self.text(character)
        if safe == character or len(safe) == 1:
            return safe
        return "?" if self.ascii else "�"

    def fit(self, text: str, columns: int, *, right: bool = False) -> str:
        """Text in exactly so many columns; what is cut ends in an ellipsis."""
        text = self.text(text)
        length = cell_len(text)
        if length > columns:
            return set_cell_size(text, columns - 1) + ("~" if self.ascii else "…") if columns > 0 else ""
        blanks = " " * (columns - length)
        return blanks + text if right else text + blanks


PAINT = Paint()
"""The one of this process; set once, before the first screen."""
