"""Policy: pure functions that say where a VM stands, and which points are kept. The clock is an argument."""

from vmtui.policy.forecast import Forecast, Stored, forecast
from vmtui.policy.protection import DUE_RATIO, Assignment, assign, protection
from vmtui.policy.retention import Candidate, Decision, decide

__all__ = [
    "DUE_RATIO",
    "Assignment",
    "Candidate",
    "Decision",
    "Forecast",
    "Stored",
    "assign",
    "decide",
    "forecast",
    "protection",
]
