"""Instant restore: the VM runs from the repository at once, and its disks move to the host while it runs.

Its images are overlays from the first moment, so everything that the VM was told is written is on the
host's own storage. What it has not written comes from the repository until it has been moved. When we or
the network fail, a read fails (or a write of part of a cluster, which needs the rest of it), QEMU pauses
the VM (`error_policy='stop'`) and repeats the request when it is resumed: the system inside notices nothing. Once it has run, nothing here ever takes
it away, save at the operator's explicit word.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from xml.etree.ElementTree import tostring

from vmtui.failpoint import failpoint
from vmtui.hosts import block_jobs, checkpoints, domain_xml, quiesce, reverse, storage
from vmtui.hosts.domains import Domain
from vmtui.model.errors import FailedError, RefusedError, VmtuiError
from vmtui.model.progress import Check
from vmtui.restore import run as steps
from vmtui.restore.context import RestoreContext
from vmtui.restore.definition import Fitted
from vmtui.restore.placing import check_untouched, set_aside
from vmtui.restore.plan import RestorePlan
from vmtui.restore.tending import Evidence, Patience, Tending, Wishes
from vmtui.serving import Offer, back_by_offer, create_overlay

_LOOK_S = 0.25
"""How often the VM is looked at [s]."""
_AGENT = "guest agent"
_AGENT_S = 180.0
"""How long the guest agent is asked [s]."""
_OFF = "waiting: the VM is off, and starts from the repository only while this job runs"

RAN = "ran"
"""Note of a run: the VM has run, so its images hold what nobody else has."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A VM that stands on its own disks."""

    bytes: int
    """Data that was moved."""


def has_run(context: RestoreContext, plan: RestorePlan) -> bool:
    """Whether the VM has run, so that it must not be taken away."""
    return context.notes(plan.run).noted(RAN)


def checkpoint_name(context: RestoreContext, plan: RestorePlan) -> str:
    """The mark in time from which the VM's own writes are told from the point's blocks."""
    return f"{checkpoints.own_prefix(context.repository.id)}{plan.run}"


def restore(context: RestoreContext, plan: RestorePlan, asked: datetime, wishes: Wishes) -> Moved:
    """Bring the VM up from the repository and move its disks. Safe to repeat: goes on where it stopped.

    Args:
        context: The world.
        plan: What to do.
        asked: When the operator asked for it [UTC]; what is measured begins there.
        wishes: Of the operator.

    Raises:
        CancelledError: The operator's word: before the VM ran, or to discard it.
        FailedError: It does not start, or it was taken away by somebody else.
        DamageError: The point cannot be read.
        UnreachableError: Host or repository do not answer; once the VM has run, repeat it.
    """
    tending = Tending(context, plan, wishes)
    with _offered(context, plan, tending) as offer:
        failpoint("instant.serving")
        if not has_run(context, plan):
            context.watch.phase("serving")
            tending.heed(ran=False)
            _set_up(context, plan, offer)
            _start(context, plan)
        _go(context, plan, asked)
        context.watch.phase("running from the repository")
        _move(context, plan, tending, offer, _AgentWatch(context, plan, asked))
    failpoint("instant.moved")
    return Moved(sum(disk.data_bytes for disk in plan.disks))


@contextlib.contextmanager
def _offered(context: RestoreContext, plan: RestorePlan, tending: Tending) -> Iterator[Offer]:
    """The point's disks on the host, and a session that keeps collections of other machines waiting."""
    disks = {disk.target: disk for disk in plan.disks}  # the manifest is not needed: another machine may prune it
    session = context.session
    tending.begin()
    with Offer(session.sibling, plan.folder, context.repository, disks, keep=True, failed=tending.failed) as offer:
        yield offer


# -- up --------------------------------------------------------------------------------------------


def _set_up(context: RestoreContext, plan: RestorePlan, offer: Offer) -> None:
    """Overlays, files and the definition. Nothing runs yet."""
    session, notes = context.session, context.notes(plan.run)
    evidence = Evidence(context, plan)
    if not notes.noted("installing"):
        steps.remove_new(session, plan)
        for disk in plan.disks:
            create_overlay(session, disk.new_path(plan.run), offer.disks[disk.target])
        for item in plan.files:
            if item.needed:
                steps.write_file(context, plan, item)
                evidence.add(Check(f"file {item.role}", True, f"{item.size} bytes written and read back"))
        failpoint("instant.created")
        notes.note("installing")
    for place in steps.places(plan):
        steps.swap_in(session, place, plan.run)
    for pool in sorted({disk.pool for disk in plan.disks if disk.pool is not None}):
        storage.refresh_pool(session, pool)
    fitted = steps.fitted_definition(context, plan)
    evidence.add(*steps.define(context, plan, Domain(session, plan.uuid), _on_offer(fitted, plan, offer)))
    failpoint("instant.defined")


def _on_offer(fitted: Fitted, plan: RestorePlan, offer: Offer) -> Fitted:
    """The definition with its disks on overlays."""
    domain = domain_xml.parse(fitted.xml)
    paths = {disk.target: disk.path for disk in plan.disks}
    for disk in domain.findall("./devices/disk"):
        place = disk.find("target")
        name = place.get("dev", "") if place is not None else ""
        if name in paths:
            back_by_offer(disk, paths[name], offer.disks[name])
    return Fitted(tostring(domain, encoding="unicode"), fitted.changes)


def _start(context: RestoreContext, plan: RestorePlan) -> None:
    """Start it paused and mark the instant, so that all that it will write is known."""
    domain = Domain(context.session, plan.uuid)
    if not domain.state().active:
        set_aside(context, plan)
        Evidence(context, plan).add(*check_untouched(context, plan))
        domain.start(paused=True)
    failpoint("instant.started")
    name = checkpoint_name(context, plan)
    wanted = {disk.target for disk in plan.disks}
    xml = checkpoints.checkpoint_xml(name, {target: target in wanted for target in domain.targets()})
    if wanted and checkpoints.describe(domain, name) is None:
        try:
            checkpoints.create(domain, xml)
        except FailedError as error:
            context.watch.note(f"what the VM writes cannot be told from the point's blocks: {error.cause}")
    context.notes(plan.run).note(RAN)


def _go(context: RestoreContext, plan: RestorePlan, asked: datetime) -> None:
    """Let it run, once; an operator's pause of later is left alone."""
    notes = context.notes(plan.run)
    if notes.noted("resumed"):
        return
    domain = Domain(context.session, plan.uuid)
    if domain.state().active:
        domain.resume()
    else:
        domain.start()
    seconds = (context.now() - asked).total_seconds()
    Evidence(context, plan).add(
        Check("boot", True, f"{plan.name} runs from the repository, {seconds:.1f} s after it was asked for")
    )
    notes.note("resumed")
    failpoint("instant.running")


class _AgentWatch:
    """Asks the guest agent, beside the move, until it answers or its time is over.

    Args:
        context: The world.
        plan: Of the run.
        asked: When the operator asked for the VM [UTC].
    """

    def __init__(self, context: RestoreContext, plan: RestorePlan, asked: datetime) -> None:
        self._context = context
        self._asked = asked
        self._evidence = Evidence(context, plan)
        self._deadline = time.monotonic() + _AGENT_S

    @property
    def decided(self) -> bool:
        """Whether the evidence says what is known of it."""
        return self._evidence.has(_AGENT)

    def look(self, domain: Domain) -> None:
        """Ask once, if that is still to be known."""
        if self.decided:
            return
        if domain_xml.agent_channel(domain_xml.parse(domain.definition().best)) == "absent":
            self._evidence.add(Check(_AGENT, None, "the VM has no channel for it"))
        elif quiesce.answers(domain):
            seconds = (self._context.now() - self._asked).total_seconds()
            self._evidence.add(Check(_AGENT, True, f"answered {seconds:.1f} s after it was asked for"))
        elif time.monotonic() > self._deadline:
            self._evidence.add(Check(_AGENT, None, f"no answer within {_AGENT_S:g} s; look at the VM's console"))


# -- to local storage ------------------------------------------------------------------------------


def _move(context: RestoreContext, plan: RestorePlan, tending: Tending, offer: Offer, agent: _AgentWatch) -> None:
    """Pull one disk after the other into its image, however often that breaks off.

    It begins at once: what a system reads while it boots comes faster in large pieces than read by read.
    """
    mover = _Mover(context, plan, tending)
    moved = False
    while not (moved and agent.decided):
        domain = tending.look(offer)
        with tending.bearing():
            if domain is not None and not moved and mover.step(domain):
                moved = True
                context.watch.phase("moved: asking the guest agent")
            if domain is not None:
                agent.look(domain)
        time.sleep(_LOOK_S)


class _Mover:
    """The move of one run's disks, look by look."""

    def __init__(self, context: RestoreContext, plan: RestorePlan, tending: Tending) -> None:
        self._context = context
        self._plan = plan
        self._tending = tending
        self._socket = reverse.socket_in(plan.folder)
        self._starting = {disk.target: Patience() for disk in plan.disks}
        self._target = ""
        self._done = 0
        self._waiting = False

    def step(self, domain: Domain) -> bool:
        """See how far it is, and start what must be started; True when every disk stands alone."""
        definition = domain.definition()
        left = block_jobs.backed_disks(definition.live or definition.inactive, self._socket)
        if not left and not block_jobs.backed_disks(definition.inactive, self._socket):
            self._advance_to_end()
            return True
        if not definition.live:
            self._wait_for_start()
            return False
        self._waiting = False
        if left:
            self._tend(domain, self._target if self._target in left else left[0])
        return False

    def _tend(self, domain: Domain, target: str) -> None:
        try:
            stand = block_jobs.pull(domain, target)
            if stand is None:
                if self._starting[target].due():
                    self._context.watch.phase("moving", disk=target)
                    block_jobs.start_pull(domain, target)
                    failpoint("instant.moving")
                return
        except FailedError as error:
            if error.id == "VM-GONE":
                raise
            self._tending.tell(f"{target} cannot be moved yet: {error.cause}", warning=False)
            return
        if target != self._target or stand.done < self._done:
            self._target, self._done = target, 0
            self._context.watch.phase("moving", disk=target, total=stand.total)
        self._context.watch.advance(stand.done - self._done)
        self._done = stand.done

    def _advance_to_end(self) -> None:
        sizes = {disk.target: disk.virtual_size for disk in self._plan.disks}
        if self._target:
            self._context.watch.advance(max(0, sizes[self._target] - self._done))

    def _wait_for_start(self) -> None:
        if not self._waiting:
            self._waiting = True
            self._context.watch.phase(_OFF)
            self._tending.tell(
                f"{self._plan.name} is off before all of it was moved. It can be started while this job runs, and is "
                "then moved on; without this job it does not start.",
            )


def end_session(context: RestoreContext, plan: RestorePlan) -> None:
    """Collections need not wait any longer. Safe to repeat."""
    with contextlib.suppress(VmtuiError):  # it expires by itself
        context.repository.session(plan.run).close(context.now())


# -- the way back ----------------------------------------------------------------------------------


def abandon(context: RestoreContext, plan: RestorePlan, *, discard: bool) -> None:
    """Take away what there is of it: all before the VM ran, nothing afterwards. Safe to repeat.

    Args:
        context: The world.
        plan: Of the run.
        discard: The operator's explicit word that what the VM wrote may go.

    Raises:
        RefusedError: It has run, and nobody said that.
        UnreachableError: The host does not answer; repeat it.
    """
    if has_run(context, plan) and not discard:
        raise RefusedError("VM-FROM-REPOSITORY", f"{plan.name} has run: its images hold what it wrote.")
    session = context.session
    if steps.is_ours(context, plan):
        Domain(session, plan.uuid).power_off()
    steps.abandon(context, plan)
    reverse.remove(session, plan.folder)
    end_session(context, plan)
    for pool in sorted({disk.pool for disk in plan.disks if disk.pool is not None}):
        storage.refresh_pool(session, pool)
