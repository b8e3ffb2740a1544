"""Watching a VM in rehearsal: until it shows its marker, or what it died of."""

from __future__ import annotations

import posixpath
import re
import time
from dataclasses import dataclass

from vmtui.hosts import guest_commands, throwaway
from vmtui.hosts.domains import Domain
from vmtui.hosts.guest_commands import Ran
from vmtui.model.errors import FailedError, UnreachableError
from vmtui.model.vm import DomainState
from vmtui.rehearsal.context import RehearsalContext
from vmtui.rehearsal.markers import MarkerKind, parse_marker
from vmtui.rehearsal.plan import RehearsalPlan
from vmtui.rehearsal.preflight import untried
from vmtui.rehearsal.reach import answers
from vmtui.rehearsal.serving import overlay_path
from vmtui.rehearsal.stage import Live
from vmtui.rehearsal.wire import WIRE, forwarded_ports

_POLL_S = 0.25
_STOPS = 60
_LAST_WORDS_S = 1.0
"""A dying system is given so long to say the rest."""
_PANIC_LINE = re.compile(r"Kernel panic - not syncing[^\n]*")
_PANIC_END = "end Kernel panic"
_ENDED = re.compile(r"shutting down, reason=(\w+)")
_LOG_LIMIT = 1 << 20
_LOG_S = 5.0


def _clock() -> float:
    """Goes on while a machine sleeps, where the system has such a clock [s]."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True, slots=True)
class Seen:
    """What came first."""

    marker: str = ""
    """What was seen, in words; empty when it was not."""
    fault: str = ""
    """What it died of; empty when it did not."""
    seconds: float | None = None
    """From the start of its processors to the marker."""


class Watcher:
    """Watches one VM.

    Args:
        context: The world.
        plan: What was planned.
        live: The VM; its processors are started by `run`.
    """

    def __init__(self, context: RehearsalContext, plan: RehearsalPlan, live: Live) -> None:
        self._context = context
        self._plan = plan
        self._live = live
        self._marker = parse_marker(plan.request.wait)
        self._domain = Domain(live.session, live.uuid)
        self._port = 0
        self._began = 0.0
        self._stops = 0

    @property
    def first_output_s(self) -> float | None:
        """From the start of its processors to the first byte on its console [s]."""
        first = self._live.console.first_at
        return None if first is None else first - self._began

    def run(self) -> Seen:
        """Start the processors and wait.

        Raises:
            DamageError: A block of the point could not be read.
            RefusedError: The host, not the VM, is why it cannot go on.
            UnreachableError: The host does not answer.
            CancelledError: Somebody asked for it to stop.
        """
        if self._marker.needs_network:
            self._port = self._find_port()
        self._began = time.monotonic()
        self._domain.resume()
        deadline = self._began + self._plan.request.timeout_s
        waiting = False
        looked = _clock()
        while time.monotonic() < deadline:
            self._context.watch.check()
            looked = self._refuse_sleep(looked)
            if fault := self.fault():
                return Seen(fault=fault)
            if words := self._sign():
                return Seen(marker=words, seconds=time.monotonic() - self._began)
            if not waiting and self._live.console.first_at is not None:
                waiting = True
                self._context.watch.phase("wait for the marker")
            time.sleep(_POLL_S)
        return Seen(fault=f"{self._marker.words} did not come within {self._plan.request.timeout_s:g} s")

    def _refuse_sleep(self, looked: float) -> float:
        """Return now if we have not been away for so long that the caretaker took us for dead."""
        now = _clock()
        if now - looked > 2 * throwaway.SILENCE_S:
            raise untried(self._plan, f"this machine stood still for {now - looked:.0f} s")
        return now

    def check(self) -> Ran:
        """Run the check command.

        Raises:
            RefusedError: The guest agent does not run programs.
        """
        try:
            return guest_commands.run(
                self._domain, self._plan.request.check, self._plan.request.timeout_s, self._context.watch.check
            )
        except FailedError as error:
            raise untried(self._plan, f"the guest agent did not run the check command: {error.cause}") from error

    # -- signs of life ---------------------------------------------------------------------------

    def _sign(self) -> str:
        kind = self._marker.kind
        if kind is MarkerKind.SERIAL:
            found = re.search(self._marker.pattern, self._live.console.text(), re.MULTILINE)
            return f"serial console: {found[0]!r}" if found is not None else ""
        if kind is MarkerKind.AGENT:
            connected = throwaway.agent_state(self._live.session, self._live.uuid) == "connected"
            return "the guest agent answered" if connected and guest_commands.ping(self._domain) else ""
        return answers(self._live.session, self._port, self._marker)

    def _find_port(self) -> int:
        ports = forwarded_ports(guest_commands.monitor(self._domain, "info usernet"))
        if self._marker.port not in ports:
            raise untried(self._plan, f"QEMU does not say where port {self._marker.port} of {WIRE} is")
        return ports[self._marker.port]

    # -- what it died of -------------------------------------------------------------------------

    def fault(self) -> str:
        """What it died of; empty while it lives.

        Raises:
            DamageError: A block of the point could not be read.
            RefusedError: The host, not the VM, is why it cannot go on.
            UnreachableError: The host does not answer.
        """
        live = self._live
        live.served.refuse_trouble()
        standing = throwaway.standing(live.session, live.uuid)
        if live.session.links != live.links:
            raise UnreachableError(
                "HOST-LIBVIRT-DOWN",
                f"the connection to libvirt on {live.session.host.name} broke, and the VM ended with it.",
                host=live.session.host.name,
            )
        if standing.panicked or live.console.panicked:
            return self._last_words()
        if standing.state in (None, DomainState.SHUTDOWN, DomainState.SHUT_OFF):  # the last two for a moment
            self._refuse_ended_by_host()
            return "it powered itself off"
        if standing.state is DomainState.CRASHED:
            return "it crashed"
        self._stay_in_room()
        if standing.io_error:
            self._go_on()
        return ""

    def _refuse_ended_by_host(self) -> None:
        """Return if the VM went by itself, as far as libvirt's own log of it tells.

        Raises:
            RefusedError: Its QEMU was killed, crashed, or was destroyed by somebody.
        """
        session = self._live.session
        log = throwaway.log_path(session, posixpath.basename(self._live.folder))
        reasons: list[str] = []
        deadline = time.monotonic() + _LOG_S
        while not reasons and time.monotonic() < deadline:
            try:
                text = session.files.read(log, _LOG_LIMIT).decode("utf-8", "replace")
            except FailedError:
                return  # this account may not read it
            reasons = _ENDED.findall(text)
            time.sleep(0 if reasons else _POLL_S)  # it is written after the VM is gone from the list
        if reasons and reasons[-1] != "shutdown":
            raise untried(self._plan, f"its QEMU did not end by itself there: {reasons[-1]}")

    def _go_on(self) -> None:
        """A read may have met a gap between two logins of the offer; it is tried again, for a while."""
        self._stops += 1
        if self._stops > _STOPS:
            raise untried(self._plan, "its disks could not be read or written there, again and again")
        self._domain.resume()

    def _last_words(self) -> str:
        deadline = time.monotonic() + _LAST_WORDS_S
        while _PANIC_END not in self._live.console.text() and time.monotonic() < deadline:
            time.sleep(_POLL_S / 5)
        found = _PANIC_LINE.search(self._live.console.text())
        return f"its kernel panicked: {found[0].strip()}" if found is not None else "its kernel panicked"

    def _stay_in_room(self) -> None:
        """What it writes must not take the space of others."""
        files, size = self._live.session.files, 0
        for disk in self._plan.disks:
            info = files.info(overlay_path(self._live.folder, disk.target))
            size += info.size if info is not None else 0
        if size > self._plan.room:
            raise untried(self._plan, f"it wrote more than the {self._plan.room >> 20} MiB that it may")
