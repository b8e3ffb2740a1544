"""What every workflow is made of: durable steps, and patience while cleaning up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from dbos import DBOS

from vmtui.jobs.steps import Work, perform
from vmtui.jobs.world import World
from vmtui.model.errors import UnreachableError, VmtuiError
from vmtui.model.ids import JobId

ABANDON_S = 90.0
_ABANDON_PAUSE_S = 3.0
INSISTING_S = 600.0
"""A VM whose disks are half exchanged is worth waiting for its host [s]."""

T = TypeVar("T")

Data = dict[str, Any]
"""Plain data that passes between steps."""


def step(world: World, name: str, body: Callable[..., Any], *, cancellable: bool = True) -> Callable[..., Data]:
    """A DBOS step around `body(work, *arguments)`."""

    @DBOS.step(name=name)
    def run(spec: Data, *arguments: Any) -> Data:
        return perform(world, spec, lambda work: body(work, *arguments), cancellable=cancellable)

    return run


def workflow(world: World, name: str, body: Callable[[Data], Data]) -> None:
    """Register a workflow; logins are kept from one of its steps to the next."""

    @DBOS.workflow(name=name)
    def run(spec: Data) -> Data:
        with world.job(str(DBOS.workflow_id)):
            return body(spec)


def insisting(work: Work, do: Callable[[], T]) -> T:
    """Do what must not be left in the middle: while the host does not answer, try again for ten minutes.

    Raises:
        UnreachableError: It did not come back.
        VmtuiError: Anything else.
    """
    deadline = time.monotonic() + INSISTING_S
    while True:
        try:
            return do()
        except UnreachableError as error:
            if time.monotonic() > deadline:
                raise
            work.board.note(f"trying again: {error.cause}", warning=False)
            time.sleep(_ABANDON_PAUSE_S)


def patiently(work: Work, undo: Callable[[], None], limit_s: float = ABANDON_S) -> bool:
    """Try to clean up until the host answers, for a while; what is left is the next run's to clear.

    Args:
        work: Is told what could not be done.
        undo: Cleans up; safe to repeat.
        limit_s: How long a host may be away [s].

    Returns:
        Whether nothing is left.
    """
    deadline = time.monotonic() + limit_s
    while True:
        try:
            undo()
        except UnreachableError as error:
            if time.monotonic() > deadline:
                work.board.note(f"could not clean up, the next run will: {error.cause}")
                return False
            time.sleep(_ABANDON_PAUSE_S)
            continue
        except VmtuiError as error:
            if error.id != "VM-GONE":
                work.board.note(f"could not clean up: {error.cause}")
                return False
        return True


def run_id() -> JobId:
    """The job that the calling step belongs to."""
    return JobId(str(DBOS.workflow_id))
