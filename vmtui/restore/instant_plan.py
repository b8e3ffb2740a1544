"""What is different in the plan of an instant restore: the VM runs at once, its disks follow."""

from __future__ import annotations

from vmtui.hosts import reverse
from vmtui.model.errors import VmtuiError
from vmtui.restore.plan import RestorePlan, Step
from vmtui.restore.preflight import Preflight
from vmtui.serving import new_folder

UNCHECKED = (
    "what the VM has written by itself: that is its own, and no part of the point",
    "what runs inside the VM beyond its guest agent's answer",
)


def check(flight: Preflight) -> str:
    """Look whether the host can read disks from us.

    Returns:
        The folder for the socket; nothing of it is there.

    Raises:
        UnreachableError: The host does not answer.
    """
    if flight.request.in_place:
        flight.failed("instant", "a VM that is brought back in place cannot run before its disks are there")
    folder = new_folder(flight.session)
    try:
        _try_listening(flight, folder)
    except VmtuiError as error:
        if not flight.session.alive:
            raise
        flight.failed("instant", error.cause)
    else:
        flight.passed("instant", f"sshd on {flight.session.host.name} hands connections to us")
    return folder


def _try_listening(flight: Preflight, folder: str) -> None:
    with flight.session.sibling() as login:
        try:
            reverse.listen(login, folder, lambda stream: stream.close())
        finally:
            reverse.remove(login, folder)


def steps(plan: RestorePlan) -> list[Step]:
    """The plan, line by line. Pure."""
    host = plan.request.host
    texts: list[tuple[str, int | None]] = [
        (
            f"offer the disks of {plan.request.point} to {host} through the SSH login, each block checked as it is read",
            None,
        )
    ]
    texts += [
        (f"{host}: create {disk.path} (qcow2) on top of it; what the VM writes goes there", None) for disk in plan.disks
    ]
    texts += [(f"{host}: write {item.role} to {item.path}", item.size) for item in plan.files if item.needed]
    texts.append((f"{host}: define {plan.name} (uuid {plan.uuid}), and read the definition back", None))
    texts += [(f"   {change}", None) for change in plan.changes]
    texts.append((f"{host}: start {plan.name}: it runs from the repository; wait for its guest agent", None))
    texts += [
        (f"{host}: move {disk.target} into {disk.path} while the VM runs", disk.data_bytes) for disk in plan.disks
    ]
    texts += [
        (f"{host}: read {disk.target} back and compare every block that the VM has not written", disk.data_bytes)
        for disk in plan.disks
    ]
    texts.append(
        (f"if we or the network fail before it is moved, {plan.name} pauses where it reads, and goes on with us", None)
    )
    return [Step(number, text, size) for number, (text, size) in enumerate(texts, 1)]
