"""What a rehearsal needs of a point to boot."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vmtui.hosts import domain_xml
from vmtui.rehearsal.preflight import _boot_files

DOMAIN = domain_xml.parse(
    "<domain><os><loader type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader><kernel>/boot/k</kernel></os></domain>"
)


@pytest.mark.parametrize(("held", "lost"), [(["kernel"], False), (["loader"], True), (["kernel", "loader"], False)])
def test_the_loader_is_the_hosts_own(held: list[str], lost: bool) -> None:
    """Points that were taken before loaders were kept are rehearsed as well."""
    point: Any = SimpleNamespace(files=[SimpleNamespace(role=role) for role in held])
    assert bool(_boot_files(point, DOMAIN)) is lost
