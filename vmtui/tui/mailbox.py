"""Between threads and screens: threads leave what they know, the screens' loop takes it four times a second.

Nothing ever waits: a thread overwrites its own last letter, and the loop takes what is there.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from vmtui.model.errors import FailedError, VmtuiError

T = TypeVar("T")


class Mailbox:
    """The newest letter of each sender, and answers to questions."""

    def __init__(self) -> None:
        self._letters: dict[str, Any] = {}
        self._answers: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def put(self, sender: str, letter: Any) -> None:
        """Leave a letter; an older one of the same sender is dropped. From any thread."""
        with self._lock:
            self._letters[sender] = letter

    def answer(self, callback: Callable[[], None]) -> None:
        """Leave something to be called on the screens' loop. From any thread."""
        with self._lock:
            self._answers.append(callback)

    def drain(self) -> tuple[dict[str, Any], list[Callable[[], None]]]:
        """Take everything."""
        with self._lock:
            if not self._letters and not self._answers:
                return {}, []
            letters, answers = self._letters, self._answers
            self._letters, self._answers = {}, []
        return letters, answers


class Errands:
    """A daemon thread that runs blocking work for the screens, one piece after the other.

    Args:
        name: Names the thread.
        mailbox: Where answers go.
    """

    def __init__(self, name: str, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._queue: queue.SimpleQueue[tuple[Callable[[], Any], Callable[[Any], None], Callable[[VmtuiError], None]]]
        self._queue = queue.SimpleQueue()
        self._name = name
        self._thread: threading.Thread | None = None

    def run(self, work: Callable[[], T], done: Callable[[T], None], failed: Callable[[VmtuiError], None]) -> None:
        """Run `work` on the thread; `done` or `failed` is called on the screens' loop."""
        self._queue.put((work, done, failed))
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name=self._name, daemon=True)
            self._thread.start()

    def _loop(self) -> None:
        while True:
            work, done, failed = self._queue.get()
            self._mailbox.answer(outcome_of(work, done, failed))


def outcome_of(
    work: Callable[[], T], done: Callable[[T], None], failed: Callable[[VmtuiError], None]
) -> Callable[[], None]:
    """Run something and give the call that tells of its outcome."""
    try:
        result = work()
    except VmtuiError as error:
        caught = error
        return lambda: failed(caught)
    except Exception as error:  # noqa: BLE001  # the edge of the thread: a fault is shown, never lost with its thread
        fault = FailedError("INTERNAL", f"a fault in vmtui itself: {type(error).__name__}: {error}")
        return lambda: failed(fault)
    return lambda: done(result)
