"""Rehearsals: a point is booted in isolation, from a throw-away overlay, and what it does is kept as evidence."""

from vmtui.rehearsal.context import RehearsalContext
from vmtui.rehearsal.plan import RehearsalPlan, RehearsalRequest

__all__ = ["RehearsalContext", "RehearsalPlan", "RehearsalRequest"]
