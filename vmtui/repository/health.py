"""Which packs may be relied on.

A pack is avoided when a garbage collection has named it, as it may be deleted, or when a part of it was
found damaged. A writer stores the blobs of an avoided pack anew, so nothing depends on it any longer and
the points that need a damaged one heal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from vmtui.model.codec import format_instant, parse_instant
from vmtui.model.errors import DamageError
from vmtui.repository.index import PackRecord
from vmtui.repository.records import Records
from vmtui.repository.store import GARBAGE, PACKS, QUARANTINE, ObjectStore


@dataclass(frozen=True, slots=True)
class Named:
    """Packs that a garbage collection has named."""

    id: str
    at: datetime
    packs: frozenset[str]
    points: frozenset[str]
    """Names of the points that were there and need none of these packs."""


def named_garbage(records: Records) -> Iterator[Named]:
    """What collections have named and not yet deleted. A record that cannot be read is never acted on by anybody."""
    for item in records.list(GARBAGE):
        try:
            value = records.get(GARBAGE, item.name)
            yield Named(item.name, parse_instant(value["named"]), frozenset(value["packs"]), frozenset(value["points"]))
        except DamageError:
            continue


def name_garbage(records: Records, named: Named) -> None:
    """Announce, durably, that these packs may be deleted."""
    value = {"named": format_instant(named.at), "packs": sorted(named.packs), "points": sorted(named.points)}
    records.put(GARBAGE, named.id, value)


def quarantine(records: Records, pack: str, now: datetime, why: str) -> None:
    """Take a pack out of use, durably; what it holds is not deleted."""
    records.put(QUARANTINE, pack, {"found": format_instant(now), "why": why})


def quarantined(records: Records) -> set[str]:
    """Packs in which damage was found."""
    return {item.name for item in records.list(QUARANTINE)}


class Health:
    """The packs that one run relies on; each is looked at once. Safe from any thread.

    Args:
        store: The repository's objects.
        avoided: Packs that it must not rely on.
        sizes: Of all packs [bytes], when they were listed already.
    """

    def __init__(self, store: ObjectStore, avoided: frozenset[str], sizes: Mapping[str, int] | None = None) -> None:
        self._store = store
        self._avoided = avoided
        self._sizes = sizes
        self._known: dict[str, bool] = {}

    def reliable(self, pack: PackRecord) -> bool:
        """Whether a pack is there with its full size and not avoided."""
        known = self._known.get(pack.name)
        if known is None:
            known = self._known[pack.name] = pack.name not in self._avoided and self._size(pack.name) == pack.size
        return known

    def _size(self, pack: str) -> int | None:
        return self._store.size(PACKS, pack) if self._sizes is None else self._sizes.get(pack)
