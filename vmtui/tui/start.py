"""Opening the screens from a command line."""

from __future__ import annotations

import locale
import os
import sys

from vmtui.model.errors import UsageError
from vmtui.model.settings import Settings
from vmtui.tui.app import Look, VmtuiApp


def open_screens(settings: Settings, *, ascii_only: bool, slow: bool, mouse: bool) -> str:
    """Run the screens until they are left.

    Args:
        settings: The configuration.
        ascii_only: Draw with ASCII alone; also chosen where the locale is not UTF-8.
        slow: Update once a second and let dialogs wait longer, for slow links.
        mouse: Whether the program takes the mouse; without it the terminal's own selection works.

    Returns:
        What is to be said afterwards.

    Raises:
        UsageError: There is no terminal to draw on.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") == "dumb":
        raise UsageError(
            "NO-TERMINAL",
            "The screens need a terminal.",
            next_step="The same in text: vmtui pulse, vmtui vms, vmtui jobs.",
        )
    utf8 = "utf" in (locale.getpreferredencoding(do_setlocale=False) or "").lower()
    look = Look(ascii=ascii_only or not utf8, slow=slow, guard_s=1.0 if slow else 0.3)
    return VmtuiApp(settings, look).run(mouse=mouse) or ""
