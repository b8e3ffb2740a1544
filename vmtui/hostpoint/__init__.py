"""Host points: what a host itself is made of, kept, compared and brought back."""

from vmtui.hostpoint.capture import capture, capture_objects
from vmtui.hostpoint.diff import Change, compare
from vmtui.hostpoint.plan import Action, HostPlan, HostRestoreRequest, PlannedPart, make_plan
from vmtui.hostpoint.store import HostPointRequest, HostPointWork, Taken, load_entries, load_state, take

__all__ = [
    "Action",
    "Change",
    "HostPlan",
    "HostPointRequest",
    "HostPointWork",
    "HostRestoreRequest",
    "PlannedPart",
    "Taken",
    "capture",
    "capture_objects",
    "compare",
    "load_entries",
    "load_state",
    "make_plan",
    "take",
]
