"""Name and secret for a store that asks for them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence

from vmtui.model.address import Address
from vmtui.model.errors import UnreachableError

_PATIENCE_S = 60.0


def login_of(address: Address, command: Sequence[str]) -> Callable[[], tuple[str, str]]:
    """What gives name and secret of a store: from its address, else from a command that prints `name:secret`.

    Both are empty when neither gives them. The command is run when it is needed.
    """

    def ask() -> tuple[str, str]:
        if address.password:
            return address.user, address.password
        if not command:
            return "", ""
        name, colon, secret = _answer(command).partition(":")
        if not colon or not secret:
            raise _failed("did not print NAME:SECRET")
        return name, secret

    return ask


def _answer(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE_S, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise _failed(f"failed: {type(error).__name__}") from error
    return done.stdout.partition("\n")[0].rstrip("\r")


def _failed(how: str) -> UnreachableError:
    return UnreachableError("REPO-LOGIN-REFUSED", f"The repository_password_command {how}.")
