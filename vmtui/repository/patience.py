"""Trying again what may go well the next time, for a bounded time."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 30.0
"""No try begins later than this after the first; with the last one's own deadline a minute bounds the whole."""
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 8.0


def patiently(
    action: Callable[[], T],
    errors: tuple[type[Exception], ...],
    passes: Callable[[Exception], bool],
    patience_s: float = PATIENCE_S,
) -> T:
    """Run an action, again after a pause when it fails in a way that passes.

    Args:
        action: Safe to run again.
        errors: What it raises.
        passes: Whether such an error may be gone the next time.
        patience_s: How long to begin anew.

    Raises:
        Exception: The last error.
    """
    end = monotonic() + patience_s
    longest = _FIRST_PAUSE_S
    while True:
        try:
            return action()
        except errors as error:
            # Jitter, so that many writers do not come back at the same instant.
            pause = longest * random.uniform(0.5, 1.0)  # noqa: S311
            if not passes(error) or monotonic() + pause > end:
                raise
        sleep(pause)
        longest = min(2 * longest, _LONGEST_PAUSE_S)
