"""libvirt's errors, translated once. They are judged by their code, never by their text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import libvirt

from vmtui.model.errors import FailedError, UnreachableError, VmtuiError

_CONNECTION_CODES = frozenset(
    {libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_INVALID_CONN, libvirt.VIR_ERR_RPC, libvirt.VIR_ERR_AUTH_FAILED}
)
_GONE_CODES = frozenset({libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_INVALID_DOMAIN})

libvirt.registerErrorHandler(lambda _context, _error: None, None)  # it would print on standard error


@contextmanager
def translated(host: str, connection: libvirt.virConnect | None, doing: str) -> Iterator[None]:
    """Turn a libvirt error into ours; `facts["code"]` keeps libvirt's number.

    Args:
        host: Names the host.
        connection: To see whether the daemon went away.
        doing: What was tried, as in "could not …".
    """
    try:
        yield
    except libvirt.libvirtError as error:
        raise translate(error, host, connection, doing) from error


def translate(error: libvirt.libvirtError, host: str, connection: libvirt.virConnect | None, doing: str) -> VmtuiError:
    """The most specific error of ours."""
    code = error.get_error_code()
    text = (error.get_error_message() or "no reason given").strip()
    if code in _CONNECTION_CODES or not _alive(connection):
        return UnreachableError("HOST-LIBVIRT-DOWN", f"libvirt on {host} does not answer: {text}", host=host, code=code)
    if code in _GONE_CODES:
        return FailedError("VM-GONE", f"{host}: {text}", host=host, code=code)
    return FailedError("LIBVIRT", f"{host}: could not {doing}: {text}", host=host, code=code)


def _alive(connection: libvirt.virConnect | None) -> bool:
    if connection is None:
        return False
    try:
        return bool(connection.isAlive())
    except libvirt.libvirtError:
        return False
