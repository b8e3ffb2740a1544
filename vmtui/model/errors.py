"""Every error that an operator can meet.

    VmtuiError
    ├── UsageError        2  the request or the configuration is wrong
    ├── DamageError       3  stored data is damaged or missing
    ├── UnreachableError  4  a host or the repository does not answer
    ├── RefusedError      5  read-only, preflight or a missing confirmation
    ├── FailedError       1  the operation was tried and failed
    └── CancelledError    6  somebody asked for it to stop

A class tells callers apart that must act differently; an *id* tells operators apart what happened.
Ids are stable and never reused. `CATALOG` holds for each id what it means and what to do next;
`docs/errors.md` is generated from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, Self


class ExitCode(IntEnum):
    """What the process answers to its caller."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    DAMAGE = 3
    UNREACHABLE = 4
    REFUSED = 5
    CANCELLED = 6
    BREACHED = 7


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """One row of the catalogue."""

    id: str
    meaning: str
    """What it means, in words that a junior understands."""
    next_step: str
    """What to do now."""


_ROWS = (
    # usage and configuration
    ("CONFIG-MISSING", "There is no configuration file.", "Copy config.example.toml to the named place and edit it."),
    ("CONFIG-INVALID", "The configuration file has a mistake.", "Correct the named key."),
    ("NAME-UNKNOWN", "No host, VM, point, disk or job has that name.", "Use one of the names shown."),
    ("NAME-AMBIGUOUS", "Several things answer to that name.", "Say which: host/name, or more characters of the id."),
    (
        "NAME-BAD",
        "A name has characters that it must not have.",
        "Choose a name of letters, digits, '.', '_', '-' and '+'.",
    ),
    ("NO-TERMINAL", "The screens were opened where there is no terminal.", "Use the commands: vmtui pulse, vmtui vms."),
    ("REPO-NOT-INITIALISED", "The place is there, but it holds no repository.", "Run: vmtui repo init"),
    ("REPO-FORMAT-NEWER", "The repository was made by a newer vmtui.", "Update vmtui on this machine."),
    (
        "REPO-LOCKED",
        "The repository is encrypted and no passphrase was given.",
        "Set passphrase_file or passphrase_command in the configuration, or run the command where it can ask.",
    ),
    (
        "REPO-PASSPHRASE-WRONG",
        "The passphrase does not open the repository.",
        "Try another one; if all are lost, use the paper key: vmtui key import",
    ),
    ("REPO-NOT-ENCRYPTED", "The repository is not encrypted.", "There is nothing to do."),
    ("PAPER-KEY-BAD", "A paper key was not typed as it was printed.", "Compare the named line with the paper."),
    (
        "REPO-URL-BAD",
        "The repository's address cannot be used.",
        "Write it in one of the forms of config.example.toml.",
    ),
    ("LAB-NOT-READY", "The practice lab lacks something that setup installs.", "Run: script/setup"),
    (
        "LAB-BAD",
        "The practice lab could not be started or found.",
        "Read the named log, then: vmtui lab down, vmtui lab up",
    ),
    (
        "REPO-DOWNGRADED",
        "The repository was encrypted when this machine opened it before, and says that it is not now.",
        "Find out who changed it before anything is backed up to it.",
    ),
    (
        "FILES-EXTRA-MISSING",
        "Browsing the files of a point needs Python packages that are not part of vmtui itself.",
        "Run: pip install 'vmtui[files]'",
    ),
    # damage
    (
        "REPO-OBJECT-MISSING",
        "An object that the repository needs is gone.",
        "Run: vmtui verify --all to see which points it touches.",
    ),
    (
        "REPO-OBJECT-BAD",
        "An object of the repository does not have the bytes that were written.",
        "Run: vmtui verify --all to see which points it touches.",
    ),
    (
        "REPO-BLOCK-BAD",
        "A stored block does not have the bytes that were read from the VM.",
        "Restore an older point; run: vmtui verify --all",
    ),
    (
        "POINT-MISSING",
        "A restore point was committed, and its manifest is gone without a prune.",
        "Restore another point; look for who deleted it.",
    ),
    ("POINT-DAMAGED", "A restore point has known damage.", "Restore another point: vmtui points VM"),
    # unreachable
    ("HOST-UNREACHABLE", "The host does not answer.", "Check that it is up and that SSH reaches it: vmtui hosts"),
    (
        "HOST-KEY-UNKNOWN",
        "The host's SSH key was never accepted here.",
        "Compare the fingerprint, then: vmtui host trust NAME",
    ),
    (
        "HOST-KEY-CHANGED",
        "The host shows another SSH key than the accepted one: a new installation, or somebody in between.",
        "Find out why before anything else. Only then remove the old key and run: vmtui host trust NAME",
    ),
    ("HOST-LOGIN-REFUSED", "The host refused the login.", "Check user, key and password in the configuration."),
    (
        "HOST-FORWARD-REFUSED",
        "The host's sshd allows no way to a unix socket.",
        "Allow AllowStreamLocalForwarding in its sshd_config, or install socat.",
    ),
    ("HOST-LIBVIRT-DOWN", "SSH works, libvirt does not answer.", "Look at the libvirt service on that host."),
    (
        "HOST-TOOL-MISSING",
        "A program that belongs to libvirt or QEMU is missing on the host.",
        "Install the named program there.",
    ),
    ("HOST-TIMEOUT", "The host did not answer in time.", "Try again; if it stays, look at the load of that host."),
    (
        "REPO-UNREACHABLE",
        "The repository cannot be read or written.",
        "Check that its file system is mounted or its service runs, and that this account may use it.",
    ),
    (
        "REPO-LOGIN-REFUSED",
        "The repository's store refused the login.",
        "Check its profile, keys or password: the address, repository_password_command, the environment.",
    ),
    ("REPO-BUSY", "Another program changes the repository at the same time.", "Wait until it ends, then run it again."),
    ("WORKER-DEAD", "No worker runs the jobs.", "Run: vmtui worker"),
    # refused
    (
        "READ-ONLY",
        "This was asked for in read-only mode.",
        "Leave read-only mode on purpose, if that is what you want.",
    ),
    ("CONFIRM-MISSING", "This needs your word.", "Look at the plan (--plan or --dry-run), then say --yes."),
    (
        "PREFLIGHT",
        "Not everything that the restore needs is there; nothing was written.",
        "Mend each failed check, or map it: --map-pool, --map-network, --as, --to.",
    ),
    (
        "PLAN-CHANGED",
        "Between the operator's yes and the job's start, what the plan was made from has changed.",
        "Make the plan again, read it, and agree to it again.",
    ),
    (
        "REPO-DENIED",
        "The repository's store does not allow this account to do that.",
        "Look at its rights there; an append-only store refuses to delete and to overwrite on purpose.",
    ),
    ("TARGET-EXISTS", "Something of that name is already there.", "Choose another name."),
    (
        "VM-BUSY",
        "Another program has a job running on this VM.",
        "Wait until it ends; vmtui never ends a job that is not its own.",
    ),
    ("VM-NOT-BACKED-UP", "This VM cannot be backed up in that mode.", "Read the reason; try another --mode."),
    (
        "VM-FROM-REPOSITORY",
        "The VM runs from the repository, and its own images hold what it has written since.",
        "Let its job go on until the VM is moved. To delete it with all that it wrote: vmtui job cancel ID --discard",
    ),
    (
        "REHEARSAL-UNTRIED",
        "A rehearsal could not be carried out; that says nothing about the point.",
        "Read the reason; try another host (--on) or another sign of life (--wait).",
    ),
    (
        "KEPT-IN-USE",
        "The restore that kept these disks was cut off; they may be the only whole ones.",
        "Bring them back: vmtui revert VM",
    ),
    ("NOTHING-TO-REVERT", "No in-place restore of this VM kept its old disks.", "There is nothing to undo."),
    # failed
    ("VM-GONE", "The VM is not on the host any more.", "Look for it: vmtui vms"),
    (
        "VM-STARTED",
        "The VM was started or saved while it was backed up or restored, so that its parts would not fit each other.",
        "See who started it, then try again.",
    ),
    ("VM-STOPPED", "The VM stopped while it was backed up, and its frozen view went with it.", "Back it up again."),
    (
        "VM-WILL-NOT-STOP",
        "The VM did not shut down in time. It was left running.",
        "Shut it down from inside, then back it up again.",
    ),
    ("VM-WILL-NOT-START", "The VM did not start.", "Read libvirt's reason; the definition and the disks are there."),
    ("DISK-MISSING", "A disk of the VM has no image.", "Restore or detach that disk, then back up again."),
    ("DISK-UNREADABLE", "A disk could not be read to its end.", "Look at the storage of the host."),
    (
        "DISK-CONTEXT-MISSING",
        "QEMU did not offer the list of changed blocks that this run was built on.",
        "Back up again; if it stays: vmtui backup VM --full",
    ),
    ("JOB-LOST", "The backup job on the host is not ours any more, or ended early.", "Back up again."),
    (
        "JOB-INTERRUPTED",
        "The worker died in the middle of something that cannot be taken up again. The VM was put back as it was found.",
        "Run it again.",
    ),
    (
        "SCRATCH-LOW",
        "The space for the frozen view ran low, so the backup was ended before the VM could feel it.",
        "Make room, or set another scratch folder for this host.",
    ),
    ("REPO-FULL", "The repository has no space left.", "Make room; the earlier points are whole."),
    (
        "REPO-NOT-KEPT",
        "The repository's store took an object and does not hold what it was given. Nothing was committed.",
        "Look at that service and its disks; then run it again.",
    ),
    (
        "WRITE-FAILED",
        "A disk could not be written on the target host.",
        "Look at the space and the rights of the target folder.",
    ),
    (
        "READBACK-DIFFERS",
        "The written disk does not read back as the point says. Nothing was defined.",
        "Look at the target's storage; try another pool.",
    ),
    ("DEFINE-REFUSED", "libvirt refused the definition.", "Read its reason; restore to a host of the same kind."),
    (
        "REHEARSAL-FAILED",
        "The point was booted in isolation and did not show that it works.",
        "Look at its screen: vmtui show POINT --screenshot FILE. Its data may be whole: vmtui verify POINT",
    ),
    ("LIBVIRT", "libvirt refused an operation.", "Read its reason."),
    ("REMOTE-COMMAND", "A command on the host failed.", "Read its output."),
    ("NBD-LOST", "The connection to a disk's export broke.", "Check the network to the host, then run it again."),
    ("NBD-PROTOCOL", "The NBD server broke its protocol.", "Report it with the host's QEMU version."),
    (
        "FILES-UNREADABLE",
        "A file system on a point's disks, or something in it, cannot be read.",
        "Read the reason. The disk itself is whole: vmtui export POINT DISK FILE gives all of it.",
    ),
    (
        "FILES-PARTIAL",
        "Some of the files that were asked for could not be taken; the others were.",
        "Read the list. What was written is right.",
    ),
    (
        "GUEST-AGENT",
        "The guest agent refused, or does not answer.",
        "Check that the VM runs and that qemu-guest-agent is started in it.",
    ),
    (
        "GUEST-FILE-DIFFERS",
        "A file that was written into the guest does not have the bytes of the point.",
        "Look at the guest's disk and memory; put it again.",
    ),
    ("INTERNAL", "A fault in vmtui itself.", "Report it with the log."),
    # cancelled
    ("CANCELLED", "It was stopped on request.", "Nothing is left behind; run it again when you want."),
)

CATALOG: Mapping[str, ErrorKind] = {row[0]: ErrorKind(*row) for row in _ROWS}
"""All error ids with their meaning and next step."""


class VmtuiError(Exception):
    """Base of all errors that reach an operator.

    Args:
        error_id: A key of `CATALOG`.
        cause: One sentence with the facts: what happened to what.
        next_step: Overrides the catalogue's advice where the place knows better.
        facts: Names and numbers for programs, JSON-able.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED

    def __init__(self, error_id: str, cause: str, *, next_step: str | None = None, **facts: Any) -> None:
        super().__init__(cause)
        self.id = error_id
        self.cause = cause
        self.next_step = next_step or CATALOG[error_id].next_step
        self.facts: dict[str, Any] = facts

    def __str__(self) -> str:
        return f"{self.cause} ({self.id})"

    def to_json(self) -> dict[str, Any]:
        """The error as plain data; the inverse of `error_from_json`."""
        return {
            "id": self.id,
            "cause": self.cause,
            "next_step": self.next_step,
            "exit_code": int(self.exit_code),
            "facts": self.facts,
        }

    def about(self, **facts: Any) -> Self:
        """The same error with more facts; what is already known stays."""
        self.facts = facts | self.facts
        return self


class UsageError(VmtuiError):
    """The request or the configuration is wrong; nothing was tried."""

    exit_code = ExitCode.USAGE


class DamageError(VmtuiError):
    """Stored data is damaged or missing; nothing was defined from it."""

    exit_code = ExitCode.DAMAGE


class UnreachableError(VmtuiError):
    """A host or the repository does not answer; trying later may help."""

    exit_code = ExitCode.UNREACHABLE


class RefusedError(VmtuiError):
    """It was not done on purpose; nothing was changed."""

    exit_code = ExitCode.REFUSED


class FailedError(VmtuiError):
    """It was tried and failed; what stands now is said in the cause."""

    exit_code = ExitCode.FAILED


class CancelledError(VmtuiError):
    """Somebody asked for it to stop."""

    exit_code = ExitCode.CANCELLED


_BY_EXIT_CODE: Mapping[int, type[VmtuiError]] = {
    int(cls.exit_code): cls
    for cls in (UsageError, DamageError, UnreachableError, RefusedError, FailedError, CancelledError)
}


def error_from_json(data: Mapping[str, Any]) -> VmtuiError:
    """Rebuild an error that crossed a process border as plain data."""
    cls = _BY_EXIT_CODE.get(int(data["exit_code"]), FailedError)
    error_id = data["id"] if data["id"] in CATALOG else "INTERNAL"
    return cls(error_id, data["cause"], next_step=data["next_step"], **data.get("facts", {}))


@contextmanager
def concerning(**facts: Any) -> Iterator[None]:
    """Attach facts (host, vm, disk, …) to any error of ours that passes through."""
    try:
        yield
    except VmtuiError as error:
        error.about(**facts)
        raise
