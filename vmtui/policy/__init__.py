"""Rules as pure functions: no I/O, the clock is an argument."""

from vmtui.policy.protection import assign, protection

__all__ = ["assign", "protection"]
