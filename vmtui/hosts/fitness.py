"""Whether a host can be the machine that a definition asks for: machine type, processor, firmware."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from vmtui.hosts import capabilities, domain_xml
from vmtui.hosts.session import HostSession
from vmtui.model.progress import Check

_CPU_MODES = ("custom", "host-model", "host-passthrough", "maximum")


def machine_checks(session: HostSession, domain: Element, *, brings_loader: bool = False) -> list[Check]:
    """Ask the host; everything that is wrong is told at once.

    Args:
        session: The host.
        domain: A definition.
        brings_loader: Its loader comes along, should the host lack it.

    Raises:
        UnreachableError: It does not answer.
    """
    return [*_machine(session, domain), *_loader(session, domain, brings=brings_loader)]


def _machine(session: HostSession, domain: Element) -> list[Check]:
    answer = capabilities.domain_capabilities(session, domain)
    kind = domain.find("./os/type")
    machine = kind.get("machine", "") if kind is not None else ""
    if isinstance(answer, str):
        detail = f"{session.host.name} cannot run {machine or 'this machine'}: {answer}"
        # The processor is a question of its own, and the operator wants all answers at once.
        answer = capabilities.domain_capabilities(session, domain, any_machine=True)
        cpu = [] if isinstance(answer, str) else [_cpu(session, domain, answer)]
        return [Check("machine", False, detail), *cpu]
    passed = Check("machine", True, f"{machine or 'default'} ({domain.get('type', 'qemu')})")
    return [passed, _cpu(session, domain, answer), *_firmware_choice(session, domain, answer)]


def _cpu(session: HostSession, domain: Element, offered: Element) -> Check:
    cpu = domain.find("cpu")
    mode = "custom" if cpu is None else cpu.get("mode", "custom")
    model = None if cpu is None else cpu.find("model")
    element = offered.find(f"./cpu/mode[@name='{mode}']") if mode in _CPU_MODES else None
    if cpu is None or (mode == "custom" and model is None):
        return Check("cpu", True, "default")
    if element is None or element.get("supported") != "yes":
        return Check("cpu", False, f"{session.host.name} does not support the CPU mode {mode}")
    if mode != "custom" or model is None:
        return Check("cpu", True, mode)
    return _cpu_model(session, element, (model.text or "").strip())


def _cpu_model(session: HostSession, element: Element, model: str) -> Check:
    usable = {(item.text or "").strip(): item.get("usable") for item in element.findall("model")}
    if model not in usable:
        return Check("cpu", False, f"{session.host.name} does not know the CPU model {model}")
    if usable[model] == "no":
        return Check("cpu", False, f"the processors of {session.host.name} cannot be a {model}")
    return Check("cpu", True, model)


def _firmware_choice(session: HostSession, domain: Element, offered: Element) -> list[Check]:
    system = domain.find("os")
    wanted = system.get("firmware") if system is not None else None
    if wanted is None:
        return []
    if wanted in [value.text for value in offered.findall("./os/enum[@name='firmware']/value")]:
        return [Check("firmware", True, f"{wanted}, chosen by the host")]
    return [Check("firmware", False, f"{session.host.name} has no {wanted} firmware")]


def _loader(session: HostSession, domain: Element, *, brings: bool) -> list[Check]:
    loader = domain_xml.text_of(domain, "./os/loader")
    if not loader:
        return []
    if not brings and session.files.info(loader) is None:
        return [Check("firmware", False, f"{loader} is not on {session.host.name}")]
    return [Check("firmware", True, loader)]
