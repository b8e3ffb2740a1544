"""The client's side: put a job into the queue, look at jobs, ask one to stop."""

from __future__ import annotations

import getpass
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

from vmtui.jobs import handover, worker
from vmtui.jobs.database import APPLICATION, AT_ONCE, JOB_FORMAT, QUEUE, database_url, partition
from vmtui.model.codec import from_plain, parse_instant, to_plain
from vmtui.model.errors import RefusedError, UsageError
from vmtui.model.ids import JobId, new_id
from vmtui.model.job import JobKind, JobRecord, JobSpec, JobState
from vmtui.model.settings import Settings

if TYPE_CHECKING:
    from vmtui.repository import PointName

_EVENT = "progress"
_CANCEL = "cancel"
_DISCARD = "discard"
_WATCH_S = 0.25
"""A job is looked at this often; a young one more often, so that a short one is not waited for in vain."""
_WATCH_YOUNG_S = 0.05
_WATCH_SHARE = 0.05
"""Part of a job's age that may pass until it is looked at again."""
_WORKER_LOOK_S = 2.0


class JobClient:
    """Talks to the job database; starts a worker where one is needed.

    Args:
        settings: The configuration.
        read_only: Refuse everything that changes something, whatever the configuration says.
    """

    def __init__(self, settings: Settings, *, read_only: bool = False) -> None:
        self._settings = replace(settings, read_only=settings.read_only or read_only)
        self._dbos: Any = None
        self._ended: dict[str, JobRecord] = {}

    @staticmethod
    def warm_up() -> None:
        """Load what talking to the database needs, beside whatever the caller does."""
        threading.Thread(target=lambda: import_module("dbos"), name="warm up").start()

    # -- asking for work -------------------------------------------------------------------------

    def enqueue(self, kind: JobKind, host: str, vm: str, request: Any) -> JobId:
        """Put a job into the queue and see to it that a worker is there.

        Raises:
            RefusedError: Read-only mode.
            UnreachableError: No worker can be started.
        """
        self._refuse_read_only(kind, host)
        worker.ensure(self._settings)
        handover.hand_over(self._settings.state)
        now = datetime.now(UTC)
        spec = JobSpec(
            kind=kind,
            host=host,
            vm=vm,
            request=to_plain(request),
            by=f"{getpass.getuser()}@{socket.gethostname()}",
            asked=now,
        )
        configured = self._settings.hosts.get(host)
        job = JobId(new_id(now))
        options = {"queue_name": AT_ONCE, "workflow_name": kind.value, "workflow_id": job, "app_version": JOB_FORMAT}
        if kind.takes_turns:
            turn = partition(host, vm, configured.jobs if configured is not None else 1)
            options |= {"queue_name": QUEUE, "queue_partition_key": turn}
        self._client().enqueue(options, to_plain(spec))
        return job

    def cancel(self, job: JobId, *, discard: bool = False) -> JobRecord:
        """Ask a job to stop; it cleans up first. One that has ended stays as it is.

        Args:
            job: Its id.
            discard: The operator's explicit word that a VM that runs from the repository may be powered off and
                deleted with all that it wrote.

        Raises:
            RefusedError: Read-only mode; or stopping it would lose what a VM wrote, or leave it without its disk.
        """
        record = self.get(job)
        self._refuse_stopping(record, discard=discard)
        if not record.state.final:
            if record.runs_from_repository and not discard:
                raise RefusedError(
                    "VM-FROM-REPOSITORY",
                    f"{record.host}/{record.vm} runs from the repository; without this job it stops where it reads.",
                    next_step=f"Wait until it is moved, or delete it with all that it wrote: vmtui job cancel {job} --discard",
                )
            by = f"{getpass.getuser()}@{socket.gethostname()}"
            self._client().update_workflow_attributes(
                job, {_CANCEL: by} | ({_DISCARD: by} if discard else {}), merge=True
            )
            worker.ensure(self._settings)
        return self.get(job)

    def again(self, job: JobId) -> JobId:
        """Put a new job with the same arguments into the queue.

        Raises:
            UsageError: There is no such job.
            RefusedError: Read-only mode; or it did what a plan or an explicit word was given for.
        """
        (row,) = self._client().list_workflows(workflow_ids=[self.get(job).id])
        spec = _spec(row)
        _refuse_repeating(spec)
        return self.enqueue(spec.kind, spec.host, spec.vm, dict(spec.request))

    # -- looking ---------------------------------------------------------------------------------

    def newest(self, limit: int) -> list[JobRecord]:
        """The newest jobs, newest first."""
        if not self._exists():
            return []
        return self._records(self._client().list_workflows(limit=limit, sort_desc=True, application_name=None))

    def recent(self, since: datetime, limit: int = 200) -> list[JobRecord]:
        """The newest jobs, however old all that have not ended, and all that ended since an instant; newest first."""
        if not self._exists():
            return []
        from vmtui.jobs.usage import ACTIVE

        ask = self._client().list_workflows
        rows = [*ask(limit=limit, sort_desc=True, application_name=None), *ask(status=ACTIVE, application_name=None)]
        lately = ask(completed_after=since.isoformat(), application_name=None, load_input=False, load_output=False)
        wanted = {row.workflow_id for row in lately} - {row.workflow_id for row in rows}
        if new := sorted(wanted - self._ended.keys()):
            rows += ask(workflow_ids=new)
        known = [self._ended[job] for job in wanted if job in self._ended]
        return sorted([*self._records(rows), *known], key=lambda record: record.id, reverse=True)

    def _records(self, rows: Iterable[Any]) -> list[JobRecord]:
        found = {row.workflow_id: row for row in rows if row.name in list(JobKind)}
        return [self._remembered(found[job]) for job in sorted(found, reverse=True)]

    def get(self, job: str) -> JobRecord:
        """A job by its id or an unambiguous start of it.

        Raises:
            UsageError: There is none, or several.
        """
        rows = self._client().list_workflows(workflow_id_prefix=job, limit=5) if self._exists() and job else []
        rows = [row for row in rows if row.name in list(JobKind)]
        if not rows:
            raise UsageError("NAME-UNKNOWN", f"There is no job {job!r}.", next_step="Look at: vmtui jobs")
        if len(rows) > 1:
            names = ", ".join(row.workflow_id for row in rows)
            raise UsageError("NAME-AMBIGUOUS", f"Several jobs start with {job!r}: {names}.")
        return self._record(rows[0])

    def points_in_use(self) -> Mapping[PointName, str]:
        """Points that jobs of this machine work with or will, and the words for it."""
        from vmtui.jobs.usage import ACTIVE, points_in_use

        return points_in_use(self._client().list_workflows(status=ACTIVE)) if self._exists() else {}

    def watch(self, job: JobId) -> Iterator[JobRecord]:
        """The job's record whenever it changed, up to its end; a dead worker is replaced on the way."""
        last: JobRecord | None = None
        looked = began = time.monotonic()
        while True:
            record = self.get(job)
            if record != last:
                last = record
                yield record
            if record.state.final:
                return
            if time.monotonic() - looked > _WORKER_LOOK_S:
                looked = time.monotonic()
                worker.ensure(self._settings)
            age = time.monotonic() - began
            time.sleep(min(_WATCH_S, max(_WATCH_YOUNG_S, age * _WATCH_SHARE)))

    # -- inside ----------------------------------------------------------------------------------

    def _exists(self) -> bool:
        return (self._settings.state / "jobs.sqlite").exists()

    def _client(self) -> Any:
        if self._dbos is None:
            from dbos import DBOSClient, DBOSPortableJSONSerializer

            self._dbos = DBOSClient(
                system_database_url=database_url(self._settings),
                serializer=DBOSPortableJSONSerializer(),
                application_name=APPLICATION,
            )
        return self._dbos

    def _refuse_read_only(self, kind: JobKind, host: str) -> None:
        configured = self._settings.hosts.get(host)
        if not kind.changes:
            return
        if self._settings.read_only:
            raise RefusedError("READ-ONLY", f"A {kind} was refused: vmtui runs in read-only mode.")
        if configured is not None and configured.read_only:
            raise RefusedError("READ-ONLY", f"A {kind} was refused: the host {host} is set to read-only.")

    def _refuse_stopping(self, record: JobRecord, *, discard: bool) -> None:
        """A host that is set to read-only keeps its VMs; what runs there may still be told to clean up."""
        if self._settings.read_only:
            raise RefusedError("READ-ONLY", "Stopping a job was refused: vmtui runs in read-only mode.")
        if discard:
            self._refuse_read_only(record.kind, record.host)

    def _remembered(self, row: Any) -> JobRecord:
        """A job that has ended does not change any more; it is read once."""
        record = self._ended.get(row.workflow_id)
        if record is None:
            record = self._record(row)
            if record.state.final:
                self._ended[row.workflow_id] = record
        return record

    def _record(self, row: Any) -> JobRecord:
        spec = _spec(row)
        event: Mapping[str, Any] = self._client().get_event(row.workflow_id, _EVENT, timeout_seconds=0) or {}
        return record_of(row, spec, event)


def _spec(row: Any) -> JobSpec:
    return from_plain(JobSpec, dict(row.input["args"][0]))


def record_of(row: Any, spec: JobSpec, event: Mapping[str, Any]) -> JobRecord:
    """Put together what the queue, the spec and the event say of a job.

    Args:
        row: DBOS's workflow status.
        spec: What was asked for.
        event: What the board published last.
    """
    state, error, result = _state(row)
    beat = event.get("beat")
    notes = tuple(event.get("notes", ()))
    if state is JobState.OK and (event.get("warned") or error is not None):
        state = JobState.WARNINGS
    phases = tuple(event.get("phases", ()))
    return JobRecord(
        id=JobId(row.workflow_id),
        kind=spec.kind,
        vm=spec.vm,
        host=spec.host,
        state=state,
        phase="" if state.final else str(event.get("phase", "")),
        disk="" if state.final else str(event.get("disk", "")),
        done=int(event.get("done", 0)),
        total=event.get("total"),
        new=int(event.get("new", 0)),
        stored=int(event.get("stored", 0)),
        rate=0.0 if state.final else float(event.get("rate", 0.0)),
        asked=spec.asked,
        started=_instant(row.dequeued_at),
        finished=_instant(row.completed_at) if state.final else None,
        beat=parse_instant(beat) if isinstance(beat, str) else None,
        by=spec.by,
        error=error,
        notes=notes,
        phases=phases,
        work=tuple(event.get("work", ())),
        result=result,
    )


def _state(row: Any) -> tuple[JobState, Mapping[str, Any] | None, Mapping[str, Any]]:
    """(state, error, result) of a workflow."""
    if row.status in ("ENQUEUED", "DELAYED"):
        return (JobState.CANCELLING if _asked_to_stop(row) else JobState.QUEUED), None, {}
    if row.status == "PENDING":
        return (JobState.CANCELLING if _asked_to_stop(row) else JobState.RUNNING), None, {}
    output = row.output if isinstance(row.output, dict) else {}
    if row.status == "SUCCESS" and "value" in output:
        return JobState.OK, output.get("warning"), output["value"] or {}
    if row.status == "SUCCESS" and output.get("error", {}).get("id") == "CANCELLED":
        return JobState.CANCELLED, output["error"], output["error"].get("facts", {}).get("result", {})
    error = output.get("error") or {
        "id": "INTERNAL",
        "cause": f"The job ended as {row.status}: {row.error}",
        "next_step": "Report it with the worker's log.",
        "exit_code": 1,
        "facts": {},
    }
    return JobState.FAILED, error, error.get("facts", {}).get("result", {})


def _asked_to_stop(row: Any) -> bool:
    return bool((row.attributes or {}).get(_CANCEL))


def _instant(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


def _refuse_repeating(spec: JobSpec) -> None:
    """Return if a job may be asked for by its id alone.

    Raises:
        RefusedError: It began with a plan, which was of that day; or it deletes what was named for it then.
    """
    if spec.kind.planned:
        raise RefusedError(
            "CONFIRM-MISSING",
            f"A {spec.kind} begins with a fresh plan, so it is not run again from its job.",
            next_step="Make the plan anew: vmtui restore POINT --plan, or vmtui prune --dry-run",
        )
    if spec.request.get("discard") or spec.request.get("give_up"):
        raise RefusedError(
            "CONFIRM-MISSING",
            "That job deletes what was named for it; what would be deleted now may be something else.",
            next_step="Say it anew: vmtui revert VM --discard, or vmtui repo repair --give-up POINT",
        )
