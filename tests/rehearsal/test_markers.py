from __future__ import annotations

import pytest

from vmtui.model.errors import UsageError
from vmtui.rehearsal.markers import Marker, MarkerKind, parse_marker


@pytest.mark.parametrize(
    ("text", "marker"),
    [
        ("agent", Marker(MarkerKind.AGENT)),
        ("serial:login: $", Marker(MarkerKind.SERIAL, pattern="login: $")),
        ("ssh", Marker(MarkerKind.SSH, port=22)),
        ("ssh:2222", Marker(MarkerKind.SSH, port=2222)),
        ("http:", Marker(MarkerKind.HTTP, port=80, path="/")),
        ("http:8080/health=204", Marker(MarkerKind.HTTP, port=8080, path="/health", status=204)),
    ],
)
def test_what_is_written_is_understood(text: str, marker: Marker) -> None:
    assert parse_marker(text) == marker
    assert marker.words


@pytest.mark.parametrize(
    "text",
    [
        "",
        "serial:",
        "serial:(",
        "ssh:0",
        "ssh:99999",
        "http:80:",
        "telnet",
        "http:/a b",
        "http:/\r\nX",
        "serial:.*",
        "serial:(login|)",
    ],
)
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_marker(text)
