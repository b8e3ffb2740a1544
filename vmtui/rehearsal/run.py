"""The steps of a rehearsal. Each may be run again after the process that ran it died: it starts over.

The verdict is about the point alone: what the host, the network or vmtui could not do is an error of the job, and is never
written on the point.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vmtui.failpoint import failpoint
from vmtui.hosts import throwaway
from vmtui.hosts.guest_commands import Ran
from vmtui.model.codec import to_plain
from vmtui.model.errors import FailedError
from vmtui.model.ids import new_id
from vmtui.model.progress import Check
from vmtui.model.rehearsal import Evidence, Network, Rehearsal, Verdict
from vmtui.rehearsal.capture import Traffic, read_capture
from vmtui.rehearsal.context import RehearsalContext
from vmtui.rehearsal.markers import parse_marker
from vmtui.rehearsal.picture import LIMIT, as_png, png_size
from vmtui.rehearsal.plan import RehearsalPlan
from vmtui.rehearsal.stage import Cleared, Live, staged
from vmtui.rehearsal.watching import Seen, Watcher
from vmtui.repository import PointName

_CONSOLE_KEPT = 32 << 10
_LINES_SHOWN = 30
_CAPTURE_LIMIT = 8 << 20
_ATTEMPT = "rehearsing"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A rehearsal that was carried out."""

    rehearsal: Rehearsal
    evidence: Evidence
    result: Mapping[str, Any]
    """For programs and people: all that was measured and checked."""


def rehearse(context: RehearsalContext, plan: RehearsalPlan) -> Outcome:
    """Boot the point in isolation, watch it, and clear everything away. Safe to repeat: starts over.

    Raises:
        RefusedError: It could not be carried out, which is no verdict.
        DamageError: A block of the point could not be read.
        UnreachableError: Host or repository do not answer.
        CancelledError: Somebody asked for it to stop.
    """
    again = context.notes(plan.run).noted(_ATTEMPT)
    context.notes(plan.run).note(_ATTEMPT)
    context.watch.phase("serve")
    began = time.monotonic()
    cleared = Cleared()
    with staged(context, plan, cleared) as live:
        watcher = Watcher(context, plan, live)
        context.watch.phase("boot")
        failpoint("rehearsal.running")
        seen = watcher.run()
        rto_s = (context.now() - context.asked).total_seconds()
        failpoint("rehearsal.marked")
        ran, fault = _check(context, plan, watcher, seen)
        context.watch.phase("picture")
        picture, no_picture = _picture(live)
        failpoint("rehearsal.pictured")
        console = live.console.text()
        capture = _capture(live) if plan.request.capture and live.wire is not None else b""
        untested = live.untested
        times = {
            "set_up": began,
            "define": live.define_s,
            "first_output": watcher.first_output_s,
            "marker": seen.seconds,
        }
        mac = live.wire.mac if live.wire is not None else ""
        context.watch.phase("clear away")
    times["set_up"] = time.monotonic() - began
    if ran is not None:
        times["check"] = ran.seconds
    rehearsal = Rehearsal(
        verdict=Verdict.FAILED if fault else Verdict.BOOTABLE,
        time=context.now(),
        host=plan.request.host,
        job=plan.run,
        network=plan.request.network,
        marker=seen.marker or parse_marker(plan.request.wait).words,
        reason=fault,
        boot_s=_rounded(seen.seconds),
        rto_s=None if again or seen.seconds is None else _rounded(rto_s),
        untested=untested,
        evidence=new_id(context.now()),
        picture=hashlib.sha256(picture).hexdigest() if picture else "",
    )
    checks = [
        *plan.checks,
        *_boot_checks(seen, ran, plan, fault),
        Check("picture", True if picture else None, _picture_words(picture) if picture else no_picture),
        *_wire_checks(plan, capture, mac),
        _cleared_check(cleared),
        *(Check("not tested", None, item) for item in untested),
    ]
    result = _result(plan, rehearsal, {key: _rounded(value) for key, value in times.items()}, checks, ran, console)
    if again:
        result["rto_note"] = "the time to recover was not measured: the worker died on the way, and it began anew"
    evidence = Evidence(
        picture=base64.b64encode(picture).decode(),
        console=console[-_CONSOLE_KEPT:],
        result=json.dumps(result),
        capture=base64.b64encode(capture).decode(),
    )
    return Outcome(rehearsal, evidence, result)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _check(context: RehearsalContext, plan: RehearsalPlan, watcher: Watcher, seen: Seen) -> tuple[Ran | None, str]:
    """(what became of the check command, why the point failed)."""
    if seen.fault or not plan.request.check:
        return None, seen.fault
    context.watch.phase("check")
    ran = watcher.check()
    if fault := watcher.fault():
        return ran, fault
    if ran.status == 0:
        return ran, ""
    how = f"ended with {ran.status}" if ran.status is not None else f"did not end by itself in {ran.seconds:.0f} s"
    return ran, f"the check command {how}"


# -- what is kept --------------------------------------------------------------------------------


def _picture(live: Live) -> tuple[bytes, str]:
    """(PNG, why there is none)."""
    try:
        data = as_png(throwaway.screenshot(live.session, live.uuid)[1])
    except (FailedError, ValueError) as error:
        return b"", f"no picture could be taken: {error}"
    return (data, "") if len(data) <= LIMIT else (b"", f"the picture has {len(data)} bytes, more than are kept")


def _picture_words(picture: bytes) -> str:
    width, height = png_size(picture)
    return f"{width}x{height}, {len(picture)} bytes, SHA-256 {hashlib.sha256(picture).hexdigest()[:16]}…"


def _capture(live: Live) -> bytes:
    """The record of the network; QEMU writes each frame at once."""
    return live.session.files.read(live.capture, _CAPTURE_LIMIT)


def _boot_checks(seen: Seen, ran: Ran | None, plan: RehearsalPlan, fault: str) -> list[Check]:
    checks = []
    if seen.seconds is not None:
        checks.append(Check("boot", True, f"{seen.marker} after {seen.seconds:.1f} s"))
    else:
        checks.append(Check("boot", False, seen.fault))
    if plan.request.check:
        words = " ".join(plan.request.check)
        if ran is None:
            checks.append(Check("check command", None, f"{words}: not run"))
        else:
            checks.append(Check("check command", not fault, f"{words}: exit status {ran.status}, {ran.seconds:.1f} s"))
    return checks


def _wire_checks(plan: RehearsalPlan, capture: bytes, mac: str) -> list[Check]:
    if plan.request.network is Network.NONE:
        return [Check("isolation", True, "it had no network interface")]
    if not mac:
        return [Check("isolation", True, "it has no network interface")]
    if not capture:
        return [Check("isolation", True, "its interface ended in QEMU, which lets nothing out (restrict=on)")]
    return [_traffic_check(read_capture(capture, mac))]


def _traffic_check(traffic: Traffic) -> Check:
    detail = (
        f"{traffic.sent} frames from the guest, {traffic.tries} of them to {len(traffic.outside)} addresses outside; "
    )
    detail += f"{traffic.refused} refused by QEMU itself, {traffic.answered} answers from outside"
    return Check("isolation", traffic.answered == 0, detail)


def _cleared_check(cleared: Cleared) -> Check:
    swept = f"; leftovers of earlier runs went as well: {', '.join(cleared.swept)}" if cleared.swept else ""
    if cleared.left:
        return Check("cleared away", False, f"still there: {', '.join(cleared.left)}{swept}")
    return Check("cleared away", True, f"VM, overlays and sockets are gone{swept}")


def _result(
    plan: RehearsalPlan,
    rehearsal: Rehearsal,
    seconds: Mapping[str, float | None],
    checks: list[Check],
    ran: Ran | None,
    console: str,
) -> dict[str, Any]:
    return {
        "point": plan.request.point,
        "vm": plan.origin.partition("/")[2],
        "host": plan.request.host,
        "verdict": rehearsal.verdict.value,
        "reason": rehearsal.reason,
        "marker": rehearsal.marker,
        "network": rehearsal.network.value,
        "rto_s": rehearsal.rto_s,
        "seconds": dict(seconds),
        "memory_bytes": plan.memory_kib << 10,
        "check": None if ran is None else {"status": ran.status, "output": ran.output},
        "picture": rehearsal.picture,
        "console": console.splitlines()[-_LINES_SHOWN:],
        "untested": list(rehearsal.untested),
        "checks": [to_plain(check) for check in checks],
    }


def record(context: RehearsalContext, plan: RehearsalPlan, rehearsal: Rehearsal, evidence: Evidence) -> bool:
    """Write it on the point, durably.

    Returns:
        Whether the point still stands.
    """
    kept = context.repository.points.rehearsed(PointName(plan.request.vm, plan.request.point), rehearsal, evidence)
    failpoint("rehearsal.recorded")
    return kept


def abandon(context: RehearsalContext, plan: RehearsalPlan) -> None:
    """It did not come to its end: nothing of it is left on the host. Safe to repeat.

    Raises:
        UnreachableError: The host does not answer; the caretaker there clears it away, or the next run does.
    """
    throwaway.sweep(context.session, plan.parent, plan.run)
