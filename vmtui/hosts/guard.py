"""A guard on the host that puts the VM back as it was when we are gone.

Between freezing a file system and thawing it, or stopping a VM and starting it again, our process may
die or the network may break. The guard is a shell process whose standard input is its life line: `k`
says that we are still there, `d` that all is done. At the end of its input, or after too long a
silence, it acts by itself through virsh.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from vmtui.hosts.session import HostSession
from vmtui.hosts.shell import LifeLine
from vmtui.model.errors import UnreachableError
from vmtui.model.ids import VmId

_SCRIPT = r"""
uri=$1 uuid=$2 action=$3 silence=$4 patience=$5
command -v virsh >/dev/null || { echo "virsh is missing" >&2; exit 127; }
trap '' HUP PIPE INT TERM
was=$(virsh -q -c "$uri" domid "$uuid") || exit 1
echo ready
exec >/dev/null 2>&1
while :; do
    word=$(timeout "$silence" dd bs=1 count=1)
    case $word in
        k) ;;
        d) exit 0 ;;
        *) break ;;
    esac
done
while [ "$patience" -gt 0 ]; do
    case $action in
        thaw) virsh -q -c "$uri" domfsthaw "$uuid" && exit 0 ;;
        resume) virsh -q -c "$uri" resume "$uuid" && exit 0 ;;
        start) # each start gives a VM another id, and none is "-"
            case $(virsh -q -c "$uri" domid "$uuid") in
                -) virsh -q -c "$uri" start "$uuid" && exit 0 ;;
                "$was" | '') ;; # it has not shut down yet, or libvirt does not answer
                *) exit 0 ;; # somebody has started it: whoever stops it from now on means it
            esac ;;
    esac
    sleep 1
    patience=$((patience - 1))
done
exit 1
"""


class Duty(StrEnum):
    """What the guard does when we are gone."""

    THAW = "thaw"
    RESUME = "resume"
    START = "start"


class Guard:
    """A running guard; use it as a context manager around the dangerous stretch.

    Leaving the context tells the guard that all is done, so leave it only when it is. After an error
    that left the VM changed, let the guard act: call `abandon`.

    Args:
        session: The host.
        uuid: The VM.
        duty: What to do when we are gone.
        silence_s: The guard acts after this long without a beat [s].
        patience_s: How long it goes on trying [s].
        beating: Send beats until the end; without them the guard acts after `silence_s` even if we live.

    Raises:
        FailedError: virsh is missing on the host.
        UnreachableError: The login ended.
    """

    def __init__(
        self,
        session: HostSession,
        uuid: VmId,
        duty: Duty,
        *,
        silence_s: int,
        patience_s: int,
        beating: bool = False,
    ) -> None:
        arguments = [session.remote_uri(), uuid, duty.value, str(silence_s), str(patience_s)]
        self._line: LifeLine = session.lifeline(_SCRIPT, arguments)
        self._abandoned = False
        if beating:
            self._line.beat()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._abandoned:
            return
        if kind is None:
            self.dismiss()
        else:
            self.abandon()

    def dismiss(self) -> None:
        """All is done: the guard ends without acting."""
        try:
            self._line.send(b"d")
        except UnreachableError:
            return  # it will act, which does no harm to a VM that is as it was
        self._line.end(2.0)

    def abandon(self) -> None:
        """Let the guard act now."""
        self._abandoned = True
        self._line.end(0.0)
