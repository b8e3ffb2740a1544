"""Policy: pure functions that say where a VM stands. The clock is an argument."""

from vmtui.policy.protection import DUE_RATIO, Assignment, assign, protection

__all__ = ["DUE_RATIO", "Assignment", "assign", "protection"]
