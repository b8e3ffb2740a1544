"""The screens' clock; one place, so that a picture of them can be made the same each time."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """This instant [UTC]."""
    return datetime.now(UTC)
