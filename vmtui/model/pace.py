"""Keeping to a rate."""

from __future__ import annotations

import threading
import time


class Pace:
    """Lets no more than so many bytes a second through. Safe from any thread.

    Args:
        rate: Bytes a second; None for no limit.
    """

    def __init__(self, rate: int | None) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free_at = time.monotonic()

    def spend(self, size: int) -> None:
        """Blocks until the bytes that went before have had their time."""
        if self._rate is None:
            return
        with self._lock:
            wait = self._free_at - time.monotonic()
            self._free_at = max(self._free_at, time.monotonic()) + size / self._rate
        if wait > 0:
            time.sleep(wait)
