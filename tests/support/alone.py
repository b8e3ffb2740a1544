"""An operator's machine without hosts: a repository, a worker, and points that no VM was needed for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support.client import Client
from tests.support.repositories import make_point
from vmtui.lab import LabInfo
from vmtui.model.ids import PointId, VmId, new_id
from vmtui.repository import ZERO_ID, PointName, Repository


class LonelyClient(Client):
    """A client that knows no host.

    Args:
        folder: For configuration, state and repository.
        tiers: Keep rules by tier; the first is the default.
        rules: As in the configuration.
    """

    def __init__(
        self, folder: Path, tiers: dict[str, dict[str, Any]], rules: Sequence[dict[str, str]] = (), **changes: Any
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        nowhere = folder / "lab.toml"
        nowhere.write_text("")
        super().__init__(
            folder,
            LabInfo(str(nowhere), "", "", "", []),
            default_tier=next(iter(tiers)),
            tiers={name: {"rpo": "1d", "keep": keep} for name, keep in tiers.items()},
            rules=list(rules),
            **changes,
        )
        self.init()

    def open(self) -> Repository:
        """The repository."""
        return Repository(f"file://{self.repository}", self.state / "cache")

    def add(self, at: datetime, vm: str = "web1", *, host: str = "kvm1", number: int = 1, **changes: Any) -> PointName:
        """Commit a point of some VM; its disk is all zeroes."""
        repository = self.open()
        point = replace(
            make_point(repository, {"vda": (ZERO_ID, 1 << 16)}),
            id=PointId(new_id(at)),
            vm_uuid=VmId(f"00000000-0000-4000-8000-{number:012x}"),
            vm_name=vm,
            host=host,
            time=at,
            started=at,
            finished=at,
            **changes,
        )
        repository.points.commit(point)
        return PointName(point.vm_uuid, point.id)
