"""Keys take turns: each is done with, and what it opened is there, before the next one looks for its place.

Textual sends a key to the screen that is seen when the key is read. Of a burst (`2/web`, a paste into a terminal,
a slow line) the later keys would go to the screen that the first one has already left, and mean something else there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from textual import events
from textual.app import App
from textual.dom import DOMNode
from textual.message_pump import MessagePump

_LOOK_S = 0.05
_TURN_S = 5.0
"""A handler that takes longer than this loses its right to be waited for; a key is never lost for it."""


class KeyByKey(App[str], inherit_bindings=False):
    """An application whose keys are handled one after the other, to the end."""

    def __init__(self) -> None:
        super().__init__()
        self._typed: asyncio.Queue[events.Event] = asyncio.Queue()
        self._in_turn = False

    def on_mount(self) -> None:
        """Take keys from now on; what was typed before waits in order."""
        self.run_worker(self._take_turns(), name="keys")

    async def on_event(self, event: events.Event) -> None:
        """Line up what was typed, and what was clicked meanwhile."""
        typed = isinstance(event, events.Key | events.Paste)
        behind = isinstance(event, events.InputEvent) and (self._in_turn or not self._typed.empty())
        if (typed or behind) and not event.is_forwarded:
            self._typed.put_nowait(event)
        else:
            await super().on_event(event)

    async def _take_turns(self) -> None:
        while True:
            event = await self._typed.get()
            self._in_turn = True
            path = (self.focused or self.screen).ancestors_with_self
            await super().on_event(event)
            if isinstance(event, events.Key | events.Paste):
                await self._done_with(path)
            self._in_turn = False

    async def _done_with(self, path: Iterable[DOMNode]) -> None:
        """Wait until a key has gone its way up, and the screen that is seen now has taken its place."""
        deadline = time.monotonic() + _TURN_S
        for pump in path:
            await _passed(pump, deadline)
        while time.monotonic() < deadline:
            screen = self.screen
            await _passed(screen, deadline)
            if screen is self.screen:
                return


async def _passed(pump: MessagePump, deadline: float) -> None:
    """Wait until a pump has handled all that was sent to it before; one that ends meanwhile is not waited for."""
    done = asyncio.Event()
    if not pump.call_later(done.set):
        return
    while not done.is_set() and pump.is_attached and time.monotonic() < deadline:
        try:
            await asyncio.wait_for(done.wait(), _LOOK_S)
        except TimeoutError:
            continue
