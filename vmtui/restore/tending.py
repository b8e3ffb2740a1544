"""Standing by a VM that runs from the repository: it is resumed after a failed read, and trouble is told once."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vmtui.hosts.domains import Domain
from vmtui.model.codec import to_plain
from vmtui.model.errors import CancelledError, DamageError, UnreachableError, VmtuiError
from vmtui.model.progress import Check
from vmtui.restore.context import RestoreContext
from vmtui.restore.plan import RestorePlan
from vmtui.serving import Offer
from vmtui.serving.offer import Failure

_RETRY_S = (0.5, 1.0, 2.0, 5.0, 15.0)
"""Waits between tries [s]; the last one for ever."""
_CALM_S = 10.0
"""Without trouble for so long, tries begin anew with the shortest wait [s]."""
_WISH_S = 1.0
_UNREACHABLE_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the operator may ask for meanwhile."""

    cancel: Callable[[], bool]
    """To stop; heeded until the VM runs."""
    discard: Callable[[], bool]
    """To power the VM off and delete it with all that it wrote."""


class Patience:
    """Lets a thing be tried at growing intervals."""

    def __init__(self) -> None:
        self._tries = 0
        self._last = float("-inf")

    def due(self) -> bool:
        """Whether it is time for a try; counts as one if so."""
        now = time.monotonic()
        wait = _RETRY_S[min(self._tries, len(_RETRY_S) - 1)]
        if now - self._last > max(_CALM_S, 2 * wait):
            self._tries, wait = 0, 0.0
        if now - self._last < wait:
            return False
        self._last = now
        self._tries += 1
        return True


class Tending:
    """What one run knows of its VM while it stands by it.

    Args:
        context: The world.
        plan: Of the run.
        wishes: Of the operator.
    """

    def __init__(self, context: RestoreContext, plan: RestorePlan, wishes: Wishes) -> None:
        self._context = context
        self._plan = plan
        self._wishes = wishes
        self._resuming = Patience()
        self._lock = threading.Lock()
        self._told: set[str] = set()
        self._asked = float("-inf")
        self._session = context.repository.session(plan.run)

    def begin(self) -> None:
        """Let garbage collections wait for us, also those of other machines."""
        self._hold(lambda: self._session.begin(self._context.now()))

    def _hold(self, call: Callable[[], None]) -> None:
        """The point is in use by this machine's job anyway, so a store that takes no session is no reason to stop."""
        try:
            call()
        except VmtuiError as error:
            self.tell(
                f"collections of other machines do not know that the point is served: {error.cause}", warning=False
            )

    # -- what the operator reads -----------------------------------------------------------------

    def failed(self, failure: Failure) -> None:
        """A read failed. Called from the server's threads; says which block it was."""
        error = failure.error
        cause = getattr(error, "cause", None) or f"{type(error).__name__}: {error}"
        where = f"{failure.target} at {failure.offset}"
        if isinstance(error, DamageError):
            self.tell(
                f"DAMAGE: {cause} The VM needs it for {where} and is paused there; nothing else was served for it. "
                "`vmtui repo repair` looks for another copy, and the VM goes on by itself when the block is back."
            )
        else:
            self.tell(f"a read of {where} failed: {cause}", warning=False)

    def tell(self, text: str, *, warning: bool = True) -> None:
        """Note something once."""
        with self._lock:
            if text in self._told:
                return
            self._told.add(text)
        self._context.watch.note(text, warning=warning)

    # -- what the operator asks for --------------------------------------------------------------

    def heed(self, *, ran: bool) -> None:
        """Return if nothing was asked for that ends the run.

        Raises:
            CancelledError: Something was.
        """
        now = time.monotonic()
        if now - self._asked < _WISH_S:
            return
        self._asked = now
        if self._wishes.discard():
            raise CancelledError("CANCELLED", f"{self._plan.name} was discarded on request.")
        if not self._wishes.cancel():
            return
        if not ran:
            raise CancelledError("CANCELLED", "It was stopped on request.")
        self.tell(
            f"{self._plan.name} runs from the repository: stopping now would strand it, so it is moved to its end. "
            f"`vmtui job cancel {self._plan.run} --discard` powers it off and deletes it with all that it wrote."
        )

    # -- the VM ----------------------------------------------------------------------------------

    def look(self, offer: Offer) -> Domain | None:
        """See to the VM, and resume it when a read of its repository disks has paused it.

        Returns:
            None while the host or its libvirt cannot be asked.

        Raises:
            CancelledError: The operator wants it gone.
            FailedError: It is not there any more.
        """
        self.heed(ran=True)
        self._hold(lambda: self._session.keep(self._context.now()))
        with self.bearing():
            domain = Domain(self._context.session, self._plan.uuid)
            self._revive(domain, offer)
            return domain
        return None

    @contextlib.contextmanager
    def bearing(self) -> Iterator[None]:
        """A host that does not answer for now is no reason to leave; the body is tried again at the next look."""
        try:
            yield
        except UnreachableError as error:
            self.tell(f"{error.cause} The VM keeps what it wrote; this is tried until it answers.", warning=False)
            time.sleep(_UNREACHABLE_PAUSE_S)

    def _revive(self, domain: Domain, offer: Offer) -> None:
        if not domain.paused_by_io_error() or not offer.standing:
            return
        errors = domain.disk_errors()
        ours = {disk.target for disk in self._plan.disks}
        stopped = sorted(ours & set(errors))
        if not stopped or not self._resuming.due():
            return
        if any(errors[target] for target in stopped):
            self.tell(
                f"{self._plan.name} is paused because the storage of {', '.join(stopped)} on {self._plan.request.host} "
                "is full; it goes on by itself when there is room."
            )
        else:
            self.tell(
                f"a read of {', '.join(stopped)} had failed, and {self._plan.name} was paused; it is resumed",
                warning=False,
            )
        domain.resume()


class Evidence:
    """The checks of a run, kept on this machine so that a successor has them too.

    Args:
        context: The world.
        plan: Of the run.
    """

    _NOTE = "checks"

    def __init__(self, context: RestoreContext, plan: RestorePlan) -> None:
        self._notes = context.notes(plan.run)
        text = self._notes.text(self._NOTE)
        self.checks = [Check(item["name"], item["ok"], item["detail"]) for item in json.loads(text or "[]")]

    def add(self, *checks: Check) -> None:
        """Keep checks, durably; one of the same name and detail stays one."""
        self.checks += [check for check in checks if check not in self.checks]
        self._notes.note(self._NOTE, json.dumps([to_plain(check) for check in self.checks]))

    def has(self, name: str) -> bool:
        """Whether there is a check of that name."""
        return any(check.name == name for check in self.checks)
