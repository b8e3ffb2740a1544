"""A field to type in that shows what is in it, and obeys none of it."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import Input

from vmtui.tui.widgets.paint import PAINT


class Field(Input):
    """Textual's field, with a sign for each character that a terminal would act on.

    A name from elsewhere may be put into it, and then holds whatever it holds. Each character keeps its place, so
    that the cursor stands where it is.
    """

    @property
    def _value(self) -> Text:
        shown = super()._value
        if not self.password:
            shown.plain = "".join(PAINT.sign(character) for character in self.value)
        return shown
