"""libvirt checkpoints: our marks in time, and the dirty bitmaps behind them.

Names of ours are `vmtui-<repository>-<time>-<random>`, never used twice; others' are never touched.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from xml.etree.ElementTree import Element, SubElement, tostring

import libvirt

from vmtui.hosts import domain_xml
from vmtui.hosts.domains import Domain
from vmtui.model.errors import FailedError
from vmtui.model.point import Checkpoint

_GONE = libvirt.VIR_ERR_NO_DOMAIN_CHECKPOINT


def own_prefix(repository: str) -> str:
    """What all our names for one repository start with.

    Args:
        repository: The repository's id.
    """
    return f"vmtui-{repository[:8]}-"


def new_name(repository: str, now: datetime) -> str:
    """A name that was never used: 44 characters of `[A-Za-z0-9-]`."""
    return f"{own_prefix(repository)}{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def checkpoint_xml(name: str, tracked: Mapping[str, bool]) -> str:
    """The description of a new checkpoint; disks that cannot be tracked are named as such."""
    root = Element("domaincheckpoint")
    SubElement(root, "name").text = name
    disks = SubElement(root, "disks")
    for target, wanted in tracked.items():
        SubElement(disks, "disk", name=target, checkpoint="bitmap" if wanted else "no")
    return tostring(root, encoding="unicode")


def create(domain: Domain, xml: str) -> None:
    """Begin to record what a running domain writes.

    Raises:
        FailedError: libvirt refused.
    """
    domain.call("create the checkpoint", lambda handle: handle.checkpointCreateXML(xml, 0))


def describe(domain: Domain, name: str) -> Checkpoint | None:
    """A checkpoint as libvirt knows it, fit for redefining; None when it is not there."""

    def read(handle: libvirt.virDomain) -> Checkpoint | None:
        try:
            return Checkpoint(
                name, handle.checkpointLookupByName(name).getXMLDesc(libvirt.VIR_DOMAIN_CHECKPOINT_XML_SECURE)
            )
        except libvirt.libvirtError as error:
            if error.get_error_code() == _GONE:
                return None
            raise

    return domain.call("read the checkpoint", read)


def redefine(domain: Domain, checkpoint: Checkpoint) -> bool:
    """Give a running domain back the metadata of a checkpoint whose bitmaps are still in the images.

    Returns:
        False when libvirt does not find the bitmaps whole.
    """
    flags = libvirt.VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE | libvirt.VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE_VALIDATE
    try:
        domain.call("redefine the checkpoint", lambda handle: handle.checkpointCreateXML(checkpoint.xml, flags))
    except FailedError as error:
        if error.id == "LIBVIRT":
            return False
        raise
    return True


def define_offline(domain: Domain, name: str, targets: Iterable[str], parent: str | None, created: datetime) -> None:
    """Tell libvirt of bitmaps that were added to the images of a stopped domain.

    Raises:
        FailedError: libvirt refused.
    """

    def define(handle: libvirt.virDomain) -> None:
        root = Element("domaincheckpoint")
        SubElement(root, "name").text = name
        if parent is not None:
            SubElement(SubElement(root, "parent"), "name").text = parent
        SubElement(root, "creationTime").text = str(int(created.timestamp()))
        wanted = set(targets)
        definition = domain_xml.parse(handle.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE))
        disks = SubElement(root, "disks")
        for disk in domain_xml.disks(definition):
            if disk.target in wanted:
                SubElement(disks, "disk", name=disk.target, checkpoint="bitmap", bitmap=name)
            else:
                SubElement(disks, "disk", name=disk.target, checkpoint="no")
        root.append(definition)
        handle.checkpointCreateXML(tostring(root, encoding="unicode"), libvirt.VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE)

    domain.call("define the checkpoint", define)


def newest(domain: Domain) -> str | None:
    """Name of the domain's current checkpoint: the parent of the next one."""

    def read(handle: libvirt.virDomain) -> str | None:
        for checkpoint in handle.listAllCheckpoints(libvirt.VIR_DOMAIN_CHECKPOINT_LIST_LEAVES):
            return checkpoint.getName()  # type: ignore[no-any-return]  # untyped binding
        return None

    return domain.call("list the checkpoints", read)


def changed_bytes(domain: Domain, name: str) -> dict[str, int]:
    """How much changed on each disk of a running domain since a checkpoint [bytes]; empty when QEMU cannot tell."""

    def read(handle: libvirt.virDomain) -> str | None:
        try:
            return handle.checkpointLookupByName(name).getXMLDesc(  # type: ignore[no-any-return]  # untyped binding
                libvirt.VIR_DOMAIN_CHECKPOINT_XML_SIZE | libvirt.VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN
            )
        except libvirt.libvirtError:
            return None  # an estimate is worth no failure

    xml = domain.call("estimate the changes", read)
    if xml is None:
        return {}
    disks = domain_xml.parse(xml).findall("./disks/disk")
    return {disk.get("name", ""): int(size) for disk in disks if (size := disk.get("size")) is not None}


def delete(domain: Domain, name: str) -> bool:
    """Delete a checkpoint and, where they exist, its bitmaps. Safe to repeat.

    A bitmap that QEMU lost is no reason to keep the metadata. On a stopped domain libvirt can only
    forget it; the bitmaps then have to be taken out of the images by `qemu-img`.

    Returns:
        Whether the bitmaps are gone as well, as far as libvirt knows.
    """

    def remove(handle: libvirt.virDomain) -> bool:
        try:
            checkpoint = handle.checkpointLookupByName(name)
        except libvirt.libvirtError as error:
            if error.get_error_code() == _GONE:
                return True
            raise
        try:
            checkpoint.delete(0)
            return True
        except libvirt.libvirtError:
            checkpoint.delete(libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)
            return False

    return domain.call("delete the checkpoint", remove, deadline_s=60.0)
