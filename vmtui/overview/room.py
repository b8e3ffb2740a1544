"""How fast the repository fills, and when it will be full."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from vmtui.model.errors import DamageError
from vmtui.model.ids import VmId, id_instant
from vmtui.overview.catalogue import of_vms
from vmtui.overview.points import PointView
from vmtui.overview.words import size
from vmtui.policy import Forecast, Stored, forecast
from vmtui.policy.forecast import WINDOW

if TYPE_CHECKING:
    from vmtui.repository import PointName, Repository

_FAR_DAYS = 3650


def look_ahead(repository: Repository, free_bytes: int | None, now: datetime) -> Forecast:
    """The forecast of a repository; reads the manifests of the last 30 days alone.

    Raises:
        UnreachableError: The repository cannot be read.
    """
    first: dict[VmId, PointName] = {}
    stored = []
    for name in of_vms(repository.points.names()):
        if first.setdefault(name.vm, name) is name or now - id_instant(name.id) > WINDOW:
            stored.append(Stored(name.vm, id_instant(name.id), 0))  # neither is counted
            continue
        try:
            disks = repository.points.load(name).disks
        except DamageError:
            continue
        stored.append(Stored(name.vm, id_instant(name.id), sum(disk.stored_bytes for disk in disks)))
    return forecast(stored, free_bytes, now)


def forecast_of(points: Iterable[PointView], free_bytes: int | None, now: datetime) -> Forecast:
    """The same from points that were read already. Pure."""
    return forecast([Stored(point.uuid, point.time, point.stored_bytes) for point in points], free_bytes, now)


def forecast_words(ahead: Forecast) -> str:
    """`41 days, at 2.3 GiB a day`, or why that is not known. Pure."""
    pace = f", at {size(ahead.per_day_bytes)} a day" if ahead.per_day_bytes else ""
    if ahead.days is None:
        return f"not known: {ahead.reason}{pace}"
    if ahead.days > _FAR_DAYS:
        return f"more than ten years{pace}"
    return f"{ahead.days:.0f} days{pace}"
