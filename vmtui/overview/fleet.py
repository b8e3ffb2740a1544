"""All hosts asked at once, each with its own deadline; and VMs found by name."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from vmtui.model.errors import UnreachableError, UsageError, VmtuiError
from vmtui.model.settings import Settings
from vmtui.model.vm import Vm
from vmtui.overview.words import unknown

if TYPE_CHECKING:
    from vmtui.hosts import HostSession

T = TypeVar("T")

_GRACE_S = 2.0
"""Added to the slowest host's deadline before an answer is given without it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one host said, or why it did not."""

    host: str
    value: object | None
    error: VmtuiError | None
    seconds: float


def ask_all(settings: Settings, names: Sequence[str], question: Callable[[HostSession], object]) -> list[Answer]:
    """Ask hosts at the same time; one that hangs delays nobody beyond its own deadline.

    Args:
        settings: The configuration.
        names: Hosts.
        question: Runs with each host's login.

    Returns:
        One answer for each host, in the order of `names`.
    """
    answers: dict[str, Answer] = {}
    done = threading.Condition()

    def ask(name: str) -> None:
        answer = _ask(settings, name, question)
        with done:
            answers[name] = answer
            done.notify_all()

    for name in names:
        threading.Thread(target=ask, args=(name,), name=f"ask {name}", daemon=True).start()
    limit = max((settings.hosts[name].deadline_s for name in names), default=0.0) + _GRACE_S
    with done:
        done.wait_for(lambda: len(answers) == len(names), timeout=limit)
        found = dict(answers)
    return [found.get(name) or Answer(name, None, _silent(name, limit), limit) for name in names]


def _ask(settings: Settings, name: str, question: Callable[[HostSession], object]) -> Answer:
    from vmtui.hosts import connect

    started = time.monotonic()
    try:
        with connect(settings, name) as session:
            value = question(session)
    except VmtuiError as error:
        return Answer(name, None, error, time.monotonic() - started)
    return Answer(name, value, None, time.monotonic() - started)


def _silent(name: str, limit: float) -> VmtuiError:
    return UnreachableError("HOST-TIMEOUT", f"{name} did not answer within {limit:g} s.", host=name)


@dataclass(frozen=True, slots=True)
class Inventory:
    """VMs of all hosts that answered, and the errors of those that did not."""

    vms: tuple[Vm, ...]
    away: Mapping[str, VmtuiError]


def inventory(settings: Settings) -> Inventory:
    """All VMs of all configured hosts that run VMs."""
    from vmtui.hosts.inventory import list_vms

    with_metadata = any(rule.metadata is not None for rule in settings.rules)
    answers = ask_all(
        settings, list(settings.hypervisors), lambda session: list_vms(session, with_metadata=with_metadata)
    )
    vms: list[Vm] = []
    for answer in answers:
        if isinstance(answer.value, list):
            vms += answer.value
    return Inventory(tuple(vms), {answer.host: answer.error for answer in answers if answer.error is not None})


def find_vms(settings: Settings, names: Sequence[str]) -> list[Vm]:
    """VMs by `name` or `host/name`.

    Raises:
        UsageError: There is no such host or VM, or several VMs of that name.
        UnreachableError: The VM was not found, and a host that might have it does not answer.
    """
    hosts = {name.partition("/")[0] for name in names if "/" in name}
    for host in hosts:
        if host not in settings.hypervisors:
            raise unknown("host", host, settings.hypervisors)
    wanted = list(settings.hypervisors) if any("/" not in name for name in names) else sorted(hosts)
    from vmtui.hosts.inventory import list_vms

    answers = {answer.host: answer for answer in ask_all(settings, wanted, list_vms)}
    return [_find(name, answers) for name in names]


def _find(name: str, answers: Mapping[str, Answer]) -> Vm:
    host, slash, short = name.partition("/")
    if not slash:
        host, short = "", name
    elif (error := answers[host].error) is not None:
        raise error
    known: list[Vm] = [vm for answer in answers.values() if isinstance(answer.value, list) for vm in answer.value]
    found = [vm for vm in known if vm.name == short and host in ("", vm.host)]
    if len(found) == 1:
        return found[0]
    if found:
        places = ", ".join(f"{vm.host}/{vm.name}" for vm in found)
        raise UsageError("NAME-AMBIGUOUS", f"Several hosts have a VM {short!r}: {places}.")
    for answer in answers.values():
        if answer.error is not None:
            raise answer.error
    raise unknown("VM", name, [f"{vm.host}/{vm.name}" if slash else vm.name for vm in known])
