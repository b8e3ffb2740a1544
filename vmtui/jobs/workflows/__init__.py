"""The durable workflows: which steps a job has, and what happens when one fails.

A workflow function may run again from its start after its worker died; finished steps are then not run
again, their results are read. So it does nothing by itself but call steps, and what passes between
them is plain data without secrets.
"""

from __future__ import annotations

from vmtui.jobs.workflows import backing_up, host_points, instant, rehearsing, restoring, restoring_several, upkeep
from vmtui.jobs.world import World


def register(world: World) -> None:
    """Register all workflows and steps with DBOS. Call it once, before launch."""
    for subject in (backing_up, host_points, restoring, restoring_several, instant, rehearsing, upkeep):
        subject.register(world)
