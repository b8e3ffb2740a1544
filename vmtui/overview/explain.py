"""What states mean, why it matters, and what to do: for the key `e` and for `vmtui explain`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vmtui.model.errors import CATALOG


@dataclass(frozen=True, slots=True)
class Try:
    """Something to do about it."""

    text: str
    key: str
    """In the screens; empty when there is none."""
    command: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """One state in words."""

    id: str
    means: str
    otherwise: str
    """What follows if nothing is done."""
    tries: tuple[Try, ...]


_BACK_UP = Try("back it up now", "b", "vmtui backup HOST/VM")
_POINTS = Try("look at its points", "3", "vmtui points VM")
_VERIFY = Try("verify its newest point", "v", "vmtui verify VM@latest")
_HOSTS = Try("look at the hosts", "5", "vmtui hosts")
_JOBS = Try("look at the jobs", "4", "vmtui jobs")
_LOG = Try("read the log", "8", "vmtui log")
_REFRESH = Try("ask the host now", "ctrl+r", "vmtui hosts")
_SHOW = Try("look at the whole of it", "d", "vmtui show POINT")
_WATCH = Try("watch the job", "enter", "vmtui job watch JOB")
_AGAIN = Try("run it again", "a", "vmtui job again JOB")
_CANCEL = Try("cancel it; it cleans up first", "c", "vmtui job cancel JOB")
_RESTORE = Try("bring it back as a new VM", "r", "vmtui restore VM@good")
_REHEARSE = Try("boot it in isolation again", "w", "vmtui rehearse POINT")
_TRUST = Try("compare the fingerprint, then accept it", "T", "vmtui host trust HOST")
_TIER = Try("give it another tier, or exempt it with a reason, in [[rules]]", "", "vmtui vms")

_ROWS: tuple[tuple[str, str, str, tuple[Try, ...]], ...] = (
    (
        "vm.never",
        "There is no good restore point of this VM in the repository.",
        "If its disks are lost, everything in them is lost.",
        (_BACK_UP, _POINTS, _TIER),
    ),
    (
        "vm.breached",
        "The newest good point is older than the tier's RPO allows.",
        "A loss now costs more data than was agreed; the ratio grows until a backup succeeds.",
        (_BACK_UP, _POINTS, _JOBS),
    ),
    (
        "vm.unknown",
        "Where this VM stands cannot be known: its host or the repository does not answer, or a clock is wrong.",
        "The last known age goes on growing; a VM that is gone would not be noticed.",
        (_REFRESH, _HOSTS, _LOG),
    ),
    (
        "vm.due",
        "The newest good point has reached 80 % of the RPO.",
        "It will be breached when the ratio passes 1.",
        (_BACK_UP, _POINTS, _JOBS),
    ),
    (
        "vm.ok",
        "The newest good point is younger than 80 % of the RPO.",
        "Nothing; the age goes on, and the next backup brings it back to zero.",
        (_VERIFY, _POINTS, _RESTORE),
    ),
    (
        "vm.exempt",
        "A rule takes this VM out of policy, for the reason that it gives.",
        "It is not backed up by policy, and no alarm is raised for it.",
        (_BACK_UP, _TIER, _POINTS),
    ),
    (
        "vm.gone",
        "The repository has points of this VM, and no configured host has the VM.",
        "Its points stay as they are; they can be restored at any time.",
        (_RESTORE, _POINTS, _HOSTS),
    ),
    (
        "vm.unreachable",
        "The VM's host does not answer; what is shown is the last that was heard.",
        "No backup can run, and changes there are not seen.",
        (_REFRESH, _HOSTS, _RESTORE),
    ),
    (
        "vm.twin",
        "Two hosts have a VM with this UUID; points of both would count as one VM's.",
        "A point may be of the other machine; an increment is still compared with samples of the disk.",
        (_POINTS, _HOSTS, Try("give the copy an own UUID with virt-clone", "", "vmtui vms")),
    ),
    (
        "consistency.offline",
        "The VM was shut down cleanly when its disks were read.",
        "Nothing; it is the best there is.",
        (_RESTORE, _VERIFY, _SHOW),
    ),
    (
        "consistency.application",
        "The guest's own hooks ran and its file systems were frozen at the instant of the point.",
        "Nothing; programs find their data as after a clean stop.",
        (_RESTORE, _VERIFY, _SHOW),
    ),
    (
        "consistency.filesystem",
        "The guest agent froze the file systems at the instant of the point.",
        "File systems are clean; a database recovers as after a crash.",
        (_RESTORE, _VERIFY, _SHOW),
    ),
    (
        "consistency.crash",
        "The disks are as after pulling the plug: no guest agent froze the file systems; the point says why.",
        "Journals are replayed on the first boot; programs must cope with a crash.",
        (
            Try("install qemu-guest-agent in the guest, and its channel in the VM", "", "vmtui show POINT"),
            Try("take a cold backup when it must be clean", "o", "vmtui backup HOST/VM --mode cold"),
            _SHOW,
        ),
    ),
    (
        "point.verified",
        "Every byte of this point was read and found right at the time shown.",
        "Storage may rot later; verify again from time to time.",
        (_VERIFY, _RESTORE, _SHOW),
    ),
    (
        "point.unverified",
        "This point was written and its blocks were hashed, but nobody has read it since.",
        "Damage in storage would only show when it is needed.",
        (_VERIFY, _RESTORE, _SHOW),
    ),
    (
        "point.host",
        "This point holds what a host itself is made of: networks, pools, filters, secrets, files, packages. No VM's disk is in it.",
        "VMs alone do not make a host; without it networks and pools are made again by heart.",
        (
            Try("see what has changed on the host since", "c", "vmtui host diff HOST@latest"),
            Try("bring back what is missing", "r", "vmtui host restore HOST@good --plan"),
            Try("write it to a folder, with the steps to rebuild the host", "", "vmtui host export HOST@good DIR"),
        ),
    ),
    (
        "point.bootable",
        "The point was booted in isolation and showed that it works; the line tells when, where and how long that took.",
        "It speaks of that day and that host; what was not tested, such as the network, is listed with the point.",
        (_REHEARSE, _SHOW, _RESTORE),
    ),
    (
        "point.not bootable",
        "The point was booted in isolation and did not show that it works. Its data is whole: it still counts for the RPO.",
        "A restore of it would probably not start either; an older point may, and files can be taken out of this one.",
        (
            Try("look at what its screen showed", "d", "vmtui show POINT --screenshot FILE"),
            Try("rehearse an older point", "w", "vmtui rehearse POINT"),
            Try("give it more time, or wait for another sign of life", "", "vmtui rehearse POINT --timeout 10m"),
        ),
    ),
    (
        "point.damaged",
        "Something that this point needs is missing or not as written; a restore is refused.",
        "Use another point. The next full backup stores what is missing again.",
        (
            Try("verify everything to know what else is concerned", "V", "vmtui verify --all"),
            _BACK_UP,
            Try("restore an older point", "r", "vmtui restore POINT"),
        ),
    ),
    (
        "point.held",
        "Somebody holds this point, for the reason shown: no keep rule lets it go.",
        "It stays, and its blocks take room, until it is released.",
        (
            Try("release it", "h", "vmtui hold POINT --release"),
            _SHOW,
            Try("see what goes", "f", "vmtui prune --dry-run"),
        ),
    ),
    (
        "job.queued",
        "The job waits for the worker, or for a free place on its host.",
        "It starts by itself.",
        (_WATCH, _CANCEL, _JOBS),
    ),
    (
        "job.running",
        "A worker is at it; this terminal may be closed without harm.",
        "It goes on to its end.",
        (_WATCH, _CANCEL, _JOBS),
    ),
    (
        "job.cancelling",
        "Somebody asked the job to stop; it leaves the VM as it was found before it ends.",
        "If it was about to commit, it ends as ok: finished anyway.",
        (_WATCH, _JOBS, _LOG),
    ),
    (
        "job.silent",
        "The worker has given no sign for half a minute. That is not a failure.",
        "A new worker takes the job up where it stands; what was stored is kept.",
        (Try("start a worker", "W", "vmtui worker"), _WATCH, _LOG),
    ),
    (
        "job.ok",
        "The job did all that it was asked to, and proved it.",
        "Nothing.",
        (_WATCH, _VERIFY, _RESTORE),
    ),
    (
        "job.ok with warnings",
        "The job did its work; something besides needs a look: read its notes.",
        "See the notes.",
        (_WATCH, _LOG, _AGAIN),
    ),
    (
        "job.failed",
        "The job ended without its result; nothing half done is left, or the notes say what is.",
        "For a backup: the VM has no new point. For a restore: nothing was defined.",
        (Try("read cause and next step", "enter", "vmtui job show JOB"), _AGAIN, _LOG),
    ),
    (
        "job.cancelled",
        "Somebody cancelled the job; it cleaned up.",
        "Nothing; run it again when it suits.",
        (_AGAIN, _WATCH, _LOG),
    ),
    (
        "host.connected",
        "The host answers.",
        "Nothing.",
        (_REFRESH, Try("look at its VMs", "enter", "vmtui vms"), _LOG),
    ),
    (
        "host.connecting",
        "The first login is under way.",
        "It is given up at the host's deadline and tried again.",
        (_REFRESH, _LOG, _HOSTS),
    ),
    (
        "host.unreachable",
        "The host does not answer over SSH within its deadline.",
        "Its VMs cannot be backed up; their RPO goes on counting.",
        (_REFRESH, Try("try ssh by hand", "", "ssh HOST"), _LOG),
    ),
    (
        "host.key unknown",
        "The host's SSH key was never accepted on this machine.",
        "Nothing is sent to the host until it is.",
        (_TRUST, _REFRESH, _LOG),
    ),
    (
        "host.key changed",
        "The host shows another SSH key than the accepted one: it was installed anew, or somebody stands in between.",
        "vmtui does not log in, and cannot be talked into it.",
        (
            Try("find out why, on the host's own console", "", "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub"),
            Try("only then remove the old key from known_hosts", "", "ssh-keygen -R ADDRESS -f KNOWN_HOSTS"),
            _LOG,
        ),
    ),
    (
        "host.login refused",
        "The host is there and refuses our user or key.",
        "Its VMs cannot be backed up.",
        (Try("add the key to the agent", "", "ssh-add"), _REFRESH, _LOG),
    ),
    (
        "host.libvirt down",
        "SSH works, libvirt does not answer.",
        "Running VMs go on; they cannot be backed up until it is back.",
        (Try("start libvirt there", "", "systemctl start libvirtd"), _REFRESH, _LOG),
    ),
    (
        "repo.ok",
        "The repository can be read and written.",
        "Nothing; verify it from time to time.",
        (Try("verify everything", "V", "vmtui verify --all"), _POINTS, Try("sizes", "6", "vmtui repo stats")),
    ),
    (
        "repo.away",
        "The repository cannot be read, so no age is known and nothing can be restored.",
        "Backups fail until it is back.",
        (
            Try("mount or repair its storage, then ask again", "ctrl+r", "vmtui repo stats"),
            _LOG,
            Try("make it, if it never was", "", "vmtui repo init"),
        ),
    ),
)

STATES: Mapping[str, Explanation] = {row[0]: Explanation(*row) for row in _ROWS}
"""All states by id: `vm.breached`, `job.failed`, …"""


def explanation(id_: str) -> Explanation | None:
    """The words for a state or an error id; None when it is neither."""
    if id_ in STATES:
        return STATES[id_]
    kind = CATALOG.get(id_.upper())
    if kind is None:
        return None
    return Explanation(kind.id, kind.meaning, "", (Try(kind.next_step, "", ""),))
