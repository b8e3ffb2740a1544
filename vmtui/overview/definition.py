"""A VM's definition as it may be shown: without its secrets."""

from __future__ import annotations

from vmtui.model.ids import PointId, VmId
from vmtui.model.settings import Settings

_SECRET_ATTRIBUTES = ("passwd", "password")
_HIDDEN = "(hidden)"


def shown_definition(settings: Settings, vm: VmId, point: PointId) -> str:
    """The definition in a point, indented, with passwords hidden.

    Raises:
        DamageError: The point cannot be read.
        FailedError: The definition is not XML.
    """
    from vmtui.opening import open_repository
    from vmtui.repository import PointName

    repository = open_repository(settings)
    manifest = repository.points.load(PointName(vm, point))
    return without_secrets(manifest.xml_inactive or manifest.xml_live)


def without_secrets(xml: str) -> str:
    """A definition with its passwords hidden. Pure.

    Raises:
        FailedError: It is not XML.
    """
    from xml.etree.ElementTree import indent, tostring

    from vmtui.hosts import domain_xml

    root = domain_xml.parse(xml)
    for element in root.iter():
        for name in _SECRET_ATTRIBUTES:
            if name in element.attrib:
                element.set(name, _HIDDEN)
    indent(root)
    return tostring(root, encoding="unicode")
