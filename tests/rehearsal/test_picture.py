from __future__ import annotations

import zlib

import pytest

from vmtui.rehearsal.picture import as_png, png_size


def test_an_old_libvirts_picture_becomes_a_png() -> None:
    pixels = bytes(range(2 * 3 * 3))
    png = as_png(b"P6\n2 3\n255\n" + pixels)
    assert png_size(png) == (2, 3)
    assert as_png(png) == png
    start = png.index(b"IDAT") + 4
    rows = zlib.decompressobj().decompress(png[start:])
    assert b"".join(rows[row * 7 + 1 : row * 7 + 7] for row in range(3)) == pixels


@pytest.mark.parametrize(
    "data", [b"", b"P6\n9 9\n255\nshort", b"P6 0 0 255 ", b"GIF89a", b"P6\n99999999 99999999\n255\nx"]
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="is"):
        as_png(data)
