"""One owner for each stream: stdout is data, stderr is narration."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from vmtui.model.codec import to_plain
from vmtui.model.errors import VmtuiError
from vmtui.overview.words import pad, printable, width

_LONE = re.compile("[\ud800-\udfff]")


def _json(value: Any, indent: int | None = None) -> str:
    """A document; bytes of names in no encoding are escaped, as not every stream takes them."""
    text = json.dumps(to_plain(value), ensure_ascii=False, indent=indent)
    return _LONE.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"


class Output:
    """How a command speaks.

    Args:
        as_json: One JSON document (or JSON lines while watching) on stdout.
        quiet: No narration.
    """

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self._live = ""

    def document(self, value: Any) -> None:
        """Print the JSON document of a command."""
        sys.stdout.write(_json(value, indent=2))
        sys.stdout.flush()

    def line(self, value: Any) -> None:
        """Print one JSON line while watching."""
        sys.stdout.write(_json(value))
        sys.stdout.flush()

    def text(self, text: str = "") -> None:
        """Print a line of data for people."""
        self.clear_live()
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> None:
        """Print a table for people; an empty one says why it is empty."""
        if not rows:
            self.text(empty)
            return
        cells = [[printable(cell) for cell in row] for row in rows]
        widths = [max(width(row[column]) for row in [headings, *cells]) for column in range(len(headings))]
        for row in [headings, *cells]:
            self.text("  ".join(pad(cell, size) for cell, size in zip(row, widths, strict=True)).rstrip())

    def say(self, text: str) -> None:
        """Narrate on stderr."""
        if not self.quiet:
            self.clear_live()
            sys.stderr.write(printable(text) + "\n")
            sys.stderr.flush()

    def live(self, text: str) -> None:
        """Replace the progress line of a terminal; elsewhere nothing is printed."""
        if self.quiet or not sys.stderr.isatty():
            return
        columns = shutil.get_terminal_size().columns - 1
        text = printable(text)
        while width(text) > columns:
            text = text[:-1]
        if text != self._live:
            sys.stderr.write("\r" + pad(text, width(self._live)))
            sys.stderr.flush()
            self._live = text

    def clear_live(self) -> None:
        """Remove the progress line."""
        if self._live:
            sys.stderr.write("\r" + " " * width(self._live) + "\r")
            sys.stderr.flush()
            self._live = ""

    def error(self, error: VmtuiError) -> None:
        """Tell of an error: cause, next step, id."""
        self.clear_live()
        if self.as_json:
            self.document({"error": error.to_json()})
        sys.stderr.write(f"vmtui: {printable(error.cause)}\n  {printable(error.next_step)}  [{error.id}]\n")
        sys.stderr.flush()


def pick(value: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Some fields of a mapping, in the order of the names."""
    return {name: value.get(name) for name in names}
