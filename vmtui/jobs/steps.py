"""Turning what a step does into plain data: its result, or the error that ended it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

from dbos import DBOS

from vmtui.jobs.board import EVENT, Board
from vmtui.jobs.world import Logins, World
from vmtui.model.codec import from_plain, to_plain
from vmtui.model.errors import CancelledError, FailedError, RefusedError, VmtuiError
from vmtui.model.job import JobSpec
from vmtui.model.progress import Watch
from vmtui.model.settings import Settings

LOG = logging.getLogger("vmtui.jobs")

CANCEL = "cancel"
"""Attribute of a workflow that asks it to stop."""
DISCARD = "discard"
"""Attribute of an instant restore: the VM may be powered off and deleted with all that it wrote."""


class Work:
    """One execution of one step.

    Args:
        world: Of the worker.
        spec: Of the job.
        logins: Of the job.
        settings: The configuration.
        board: Is told what the work does.
    """

    def __init__(self, world: World, spec: JobSpec, logins: Logins, settings: Settings, board: Watch) -> None:
        self.world = world
        self.spec = spec
        self.logins = logins
        self.settings = settings
        self.board = board


def perform(
    world: World, spec_data: Mapping[str, Any], body: Callable[[Work], Any], *, cancellable: bool
) -> dict[str, Any]:
    """Run a step's body. Must be called inside a DBOS step.

    Args:
        world: Of the worker.
        spec_data: The job's spec.
        body: Does the work.
        cancellable: False for steps that clean up or finish. A cancelled job needs them most, and so does one
            whose configuration was set to read-only, or broken, while it ran.

    Returns:
        `{"value": …}`, or `{"error": …}` when the body ended with an error of ours or any other.
    """
    spec = from_plain(JobSpec, dict(spec_data))
    workflow = str(DBOS.workflow_id)
    board = Board(
        publish=lambda event: DBOS.set_event(EVENT, event),
        cancelled=lambda: cancellable and is_cancelled(workflow),
        before=DBOS.get_event(workflow, EVENT, timeout_seconds=0),
    )
    ended_well = False
    try:
        settings = world.settings(or_last=not cancellable)
        if cancellable:
            refuse_read_only(settings, spec)
        logins = world.logins(settings, workflow)
        with world.slot(settings, spec) if spec.kind.takes_turns else nullcontext():
            if cancellable:
                refuse_cancelled()
            value = to_plain(body(Work(world, spec, logins, settings, board)))
        ended_well = True
        return {"value": value}
    except VmtuiError as error:
        LOG.warning("job %s: %s", workflow, error)
        return {"error": error.to_json()}
    except Exception as error:  # the edge of a step: a fault of ours must reach the operator, too
        LOG.exception("job %s: a fault in vmtui", workflow)
        last = traceback.extract_tb(error.__traceback__)[-1]
        cause = f"{type(error).__name__}: {error} (at {last.name}, line {last.lineno})"
        return {"error": FailedError("INTERNAL", cause).to_json()}
    finally:
        if not ended_well:
            world.leave(workflow)  # whoever cleans up begins with logins that have seen no trouble
        board.close()


def refuse_cancelled() -> None:
    """Return if nobody asked for the job of this step to stop.

    Raises:
        CancelledError: Somebody did.
    """
    if is_cancelled(str(DBOS.workflow_id)):
        raise CancelledError("CANCELLED", "It was stopped on request.")


def is_cancelled(workflow: str) -> bool:
    """Whether somebody asked for a job to stop."""
    return _attribute(workflow, CANCEL)


def is_discarded(workflow: str) -> bool:
    """Whether somebody gave the explicit word that a VM may go with all that it wrote."""
    return _attribute(workflow, DISCARD)


def _attribute(workflow: str, name: str) -> bool:
    status = DBOS.get_workflow_status(workflow)
    return status is not None and bool((status.attributes or {}).get(name))


def refuse_read_only(settings: Settings, spec: JobSpec) -> None:
    """Return if the configuration allows a job.

    Raises:
        RefusedError: Read-only mode, for everything or for the job's host.
    """
    host = settings.hosts.get(spec.host)
    if spec.kind.changes and (settings.read_only or (host is not None and host.read_only)):
        what = f"the host {spec.host} is" if not settings.read_only else "vmtui is"
        raise RefusedError("READ-ONLY", f"A {spec.kind} was refused: {what} set to read-only in {settings.path}.")
