"""What counts of a part: its content without spaces, without the order of attributes, without what changes by itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape, quoteattr

from vmtui.hosts import domain_xml
from vmtui.model.errors import FailedError
from vmtui.model.hostpoint import PartKind

EPHEMERAL = ("vnet", "tap", "macvtap", "veth")
"""Links that come and go with VMs."""
_DROPPED: dict[PartKind, tuple[str, ...]] = {
    PartKind.POOL: ("./capacity", "./allocation", "./available"),
    PartKind.INTERFACE: (".//link",),
    PartKind.NODE_DEVICE: ("./driver",),
    PartKind.RECORD: ("./host/cpu/counter", "./host/topology/cells/cell/memory", "./host/topology/cells/cell/pages"),
}
"""Elements that change by themselves: fill levels, link states, the driver that a running VM binds, free pages."""


def canonical(kind: PartKind, content: bytes, *, without_uuid: bool = False) -> str:
    """The content in a form that is equal when nothing that counts has changed; XML comes indented. Pure.

    Args:
        kind: Of the part.
        content: XML is recognised by its first character; what is no XML comes as it is.
        without_uuid: Leave the object's own UUID out.
    """
    text = content.decode("utf-8", "replace")
    if not (kind.xml or (kind is PartKind.RECORD and text.lstrip().startswith("<"))):
        return text
    try:
        root = domain_xml.parse(text)
    except FailedError:
        return text  # compared as text; whoever defines it meets the error
    _drop(root, kind)
    if without_uuid:
        for element in root.findall("./uuid"):
            root.remove(element)
    return "\n".join(_lines(root, "")) + "\n"


def digest(kind: PartKind, content: bytes) -> str:
    """SHA-256 [hex] of what counts."""
    counted = content if kind is PartKind.FILE else canonical(kind, content).encode("utf-8", "surrogatepass")
    return hashlib.sha256(counted).hexdigest()


def _drop(root: Element, kind: PartKind) -> None:
    if kind is PartKind.NETWORK:
        root.attrib.pop("connections", None)
    parents = {child: parent for parent in root.iter() for child in parent}
    doomed = [element for path in _DROPPED.get(kind, ()) for element in root.findall(path)]
    if kind is PartKind.INTERFACE:
        doomed += [item for item in root.findall(".//interface") if item.get("name", "").startswith(EPHEMERAL)]
    for element in doomed:
        parents[element].remove(element)


def _lines(element: Element, indent: str) -> Iterator[str]:
    attributes = "".join(f" {name}={quoteattr(value)}" for name, value in sorted(element.attrib.items()))
    text = escape((element.text or "").strip())
    if len(element) == 0:
        yield (
            f"{indent}<{element.tag}{attributes}>{text}</{element.tag}>"
            if text
            else f"{indent}<{element.tag}{attributes}/>"
        )
        return
    yield f"{indent}<{element.tag}{attributes}>{text}"
    for child in element:
        yield from _lines(child, indent + "  ")
        if child.tail and child.tail.strip():
            yield f"{indent}  {escape(child.tail.strip())}"
    yield f"{indent}</{element.tag}>"
