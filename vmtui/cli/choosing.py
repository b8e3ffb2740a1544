"""Which point is meant by a verb that brings something back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtui.cli.shared import Cli
from vmtui.overview.words import printable

if TYPE_CHECKING:
    from vmtui.repository import PointName


def chosen_point(cli: Cli, text: str) -> PointName:
    """The point that is meant; of a VM alone its newest good one. What was passed over is said.

    Raises:
        UsageError: There is none, or several.
        DamageError: It has known damage.
    """
    from vmtui.overview.catalogue import choose_point

    choice = choose_point(cli.repository, text)
    if choice.passed_over:
        cli.output.say(printable(choice.passed_over))
    return choice.name
