"""Restores that were begun and left: their choices wait for an hour."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from vmtui.model.ids import VmId

if TYPE_CHECKING:
    from vmtui.tui.wizard.draft import Draft

_KEPT = timedelta(hours=1)


class Drafts:
    """The last draft of each VM, in memory alone."""

    def __init__(self) -> None:
        self._drafts: dict[VmId, tuple[datetime, Draft]] = {}

    def keep(self, draft: Draft, now: datetime) -> None:
        """Keep the choices of a wizard that was left."""
        self._drafts[draft.uuid] = (now, draft)

    def drop(self, vm: VmId) -> None:
        """Forget them: the restore was begun."""
        self._drafts.pop(vm, None)

    def find(self, vm: VmId, good: Collection[str], hosts: Collection[str], now: datetime) -> Draft | None:
        """The choices, unless they are too old, or their point or host is no longer there.

        Args:
            vm: The VM.
            good: Points that can be restored.
            hosts: Hosts that can be restored to.
            now: The time.
        """
        since, draft = self._drafts.get(vm, (now, None))
        if draft is None or now - since > _KEPT or draft.host not in hosts:
            return None
        return draft if draft.point is not None and draft.point.id in good else None
