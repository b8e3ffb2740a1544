"""The views by name: the modes of the application."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from textual.screen import Screen

from vmtui.tui.screens.hosts import HostsView
from vmtui.tui.screens.jobs import JobsView
from vmtui.tui.screens.log import LogView
from vmtui.tui.screens.points import PointsView
from vmtui.tui.screens.pulse import PulseView
from vmtui.tui.screens.repo import RepoView
from vmtui.tui.screens.vms import VmsView

VIEWS: Mapping[str, Callable[[], Screen[Any]]] = {
    "pulse": PulseView,
    "vms": VmsView,
    "points": PointsView,
    "jobs": JobsView,
    "hosts": HostsView,
    "repo": RepoView,
    "log": LogView,
}
