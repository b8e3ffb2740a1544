"""Daemon threads with deadlines, so that a hung host is a state and never a hang.

A libvirt or SSH call may block for ever. It runs on a lane; past its deadline the lane is given up:
its thread stays behind as a daemon, and everything that is asked of it later fails at once.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from vmtui.model.errors import UnreachableError

T = TypeVar("T")

_QUEUE_LIMIT = 64


class Lane:
    """One daemon thread that does one call after the other.

    Args:
        name: Names the host in errors and threads.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: queue.Queue[tuple[Callable[[], Any], Future[Any]] | None] = queue.Queue(_QUEUE_LIMIT)
        self._lost = False
        threading.Thread(target=self._work, name=f"lane {name}", daemon=True).start()

    @property
    def lost(self) -> bool:
        """Whether a call overran its deadline; the lane then takes no more."""
        return self._lost

    def call(self, function: Callable[[], T], deadline_s: float) -> T:
        """Run a function on the lane and wait for its answer.

        Raises:
            UnreachableError: It took longer than `deadline_s`, or an earlier call did.
            Exception: Whatever the function raised.
        """
        if self._lost:
            raise self._timeout("an earlier question is still unanswered")
        future: Future[T] = Future()
        try:
            self._queue.put((function, future), timeout=deadline_s)
            return future.result(timeout=deadline_s)
        except (TimeoutError, queue.Full) as error:
            if future.done():
                raise  # the function itself timed out; its error says at what
            self._lost = True
            raise self._timeout(f"no answer within {deadline_s:g} s") from error

    def close(self) -> None:
        """Let the thread end after the call it is in; safe to repeat."""
        self._lost = True
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            pass  # the thread is stuck behind a hung call; it is a daemon

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            function, future = item
            try:
                future.set_result(function())
            except BaseException as error:  # noqa: BLE001  # the edge of the lane: it belongs to the caller
                future.set_exception(error)

    def _timeout(self, reason: str) -> UnreachableError:
        return UnreachableError("HOST-TIMEOUT", f"{self._name}: {reason}.", host=self._name)
