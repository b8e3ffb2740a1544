"""Pruning: which restore points go by rule, and their deletion. Their blocks are left to garbage collection."""

from vmtui.retention.plan import ChosenPoint, PlannedPoint, PrunePlan, PruneRequest, make_plan

__all__ = ["ChosenPoint", "PlannedPoint", "PrunePlan", "PruneRequest", "make_plan"]
