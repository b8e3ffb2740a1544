"""A sentry on the host beside a hot backup: it watches the scratch space, also when we are gone.

While the frozen view stands, each write of the guest costs space in the scratch folder, and when that is
full it is the guest that stops, not the backup. The sentry ends the job before that, resumes a guest
that a write error paused, and ends a job that nobody has cared for in a long time. It leaves by itself
when the job ends, as its socket then vanishes.
"""

from __future__ import annotations

from dataclasses import dataclass

from vmtui.hosts.session import HostSession
from vmtui.model.errors import UnreachableError, VmtuiError
from vmtui.model.ids import VmId

ORPHAN_S = 3600
"""A job without a living worker is ended after this long [s]."""
SILENCE_S = 60
"""A worker that sends no beat for this long is taken for dead [s]."""

_SCRIPT = r"""
uri=$1 uuid=$2 socket=$3 mark=$4 reserve=$5 orphan=$6 silence=$7
command -v virsh >/dev/null || { echo "virsh is missing" >&2; exit 127; }
trap '' HUP PIPE INT TERM
touch "$mark.beat" && echo $$ >"$mark.owner" || exit 1
echo ready
exec >/dev/null 2>&1
finish() {
    printf '%s\n' "$1" >"$mark.end"
    virsh -q -c "$uri" domjobabort "$uuid"
    sleep 1
    case $(virsh -q -c "$uri" domstate --reason "$uuid") in
        *'I/O error'*) virsh -q -c "$uri" resume "$uuid" ;;
    esac
    rm -f "$mark.beat" "$mark.owner"
    exit 0
}
heard=$(date +%s)
turn=0
ticks=0
while [ -S "$socket" ] || [ "$turn" -lt 60 ]; do
    [ "$(cat "$mark.owner")" = $$ ] || exit 0 # a later sentry has taken over
    word=$(timeout 1 dd bs=1 count=1)
    status=$?
    clock=$(date +%s)
    if [ "$word" = q ]; then
        break
    elif [ -n "$word" ]; then
        heard=$clock
    elif [ "$status" -ne 124 ]; then
        heard=$((clock - silence)) # the end of the life line
        sleep 1
    fi
    [ $((clock - heard)) -lt "$silence" ] && touch "$mark.beat"
    turn=$((turn + 1))
    [ -S "$socket" ] || continue # a job that runs now is not ours to end
    turn=60
    set -- $(stat -f -c '%a %S' "$(dirname "$mark")")
    [ $(($1 * $2)) -ge "$reserve" ] || finish low
    beat=$(stat -c %Y "$mark.beat") || beat=$clock
    [ $((clock - beat)) -lt "$orphan" ] || finish orphan
    if [ $(((ticks += 1) % 4)) -eq 0 ]; then
        case $(virsh -q -c "$uri" domstate --reason "$uuid") in
            *'I/O error'*) finish stopped ;;
        esac
    fi
done
rm -f "$mark.beat" "$mark.owner"
"""


@dataclass(frozen=True, slots=True)
class Post:
    """Where a sentry stands."""

    uuid: VmId
    socket: str
    """Of the backup job."""
    mark: str
    """Path in the scratch folder; `.beat` and `.end` are added."""
    reserve_bytes: int


class Sentry:
    """A running sentry.

    Args:
        session: The host.
        post: Where it stands.

    Raises:
        FailedError: It cannot run there: no virsh, or the scratch folder cannot be written.
        UnreachableError: The login ended.
    """

    def __init__(self, session: HostSession, post: Post) -> None:
        arguments = [
            session.remote_uri(),
            post.uuid,
            post.socket,
            post.mark,
            str(post.reserve_bytes),
            str(ORPHAN_S),
            str(SILENCE_S),
        ]
        self._line = session.lifeline(_SCRIPT, arguments)
        self._line.beat()

    def dismiss(self) -> None:
        """There is no job to watch: the sentry leaves."""
        try:
            self._line.send(b"q")
        except UnreachableError:
            return  # it leaves by itself when no socket appears
        self._line.end(3.0)

    def leave(self) -> None:
        """We go; the sentry stays as long as the job does. Safe to repeat."""
        self._line.end(0.0)


def ended_because(session: HostSession, mark: str) -> str:
    """Why a sentry ended the job: `low`, `stopped`, `orphan`, or nothing."""
    try:
        return session.files.read(f"{mark}.end", 64).decode("ascii", "replace").strip()
    except VmtuiError:
        return ""


def tended(session: HostSession, mark: str) -> bool:
    """Whether a living worker stands behind the sentry of that mark."""
    answer = session.run(["sh", "-c", 'echo $(($(date +%s) - $(stat -c %Y "$1")))', "age", f"{mark}.beat"])
    return answer.status == 0 and answer.output.strip().lstrip("-").isdigit() and int(answer.output) < SILENCE_S


def sweep(session: HostSession, mark: str) -> None:
    """Remove what a sentry left."""
    for ending in (".beat", ".end", ".owner"):
        session.files.remove(mark + ending)
