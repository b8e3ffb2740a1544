"""The worker: the process that runs jobs. One for each state folder; it outlives every terminal."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

from vmtui import calls
from vmtui.jobs import handover
from vmtui.model.errors import UnreachableError, UsageError
from vmtui.model.settings import Settings

_LOCK = "worker.lock"
_PID = "worker.pid"
_LOG = "worker.log"
_READY_S = 30.0
_POLL_S = 0.05
_LOCK_TRIES = 20
_CONCURRENCY = 4
"""Jobs that take turns and that one worker runs at once, over all hosts."""
_QUEUE_POLL_S = 0.25
IDLE_S = 900.0
"""A worker that a client started by itself ends after this long without a job."""


def is_alive(settings: Settings) -> bool:
    """Whether a worker serves this state folder. Its lock tells, which the kernel drops with the process."""
    path = settings.state / _LOCK
    if not path.exists():
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def is_ready(settings: Settings) -> bool:
    """Whether it is alive and takes jobs."""
    return is_alive(settings) and (settings.state / _PID).exists()


def ensure(settings: Settings) -> None:
    """Start a detached worker if none is alive, and wait until it takes jobs.

    Raises:
        UnreachableError: It does not come up; its log says why.
    """
    if is_ready(settings):
        return
    log = settings.state / _LOG
    try:
        settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        with log.open("ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "vmtui", "--config", str(settings.path.absolute()), "worker", "--idle-exit"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd="/",
            )
    except OSError as error:
        raise UsageError(
            "CONFIG-INVALID", f"The state folder {settings.state} cannot be used: {error.strerror}."
        ) from error
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        if is_ready(settings):
            return
        if child.poll() is not None and not is_alive(settings):
            break
        time.sleep(_POLL_S)
    raise UnreachableError("WORKER-DEAD", "The worker did not start.", next_step=f"Read {log}.")


def serve(settings: Settings, *, idle_exit: bool) -> None:
    """Run jobs until a signal comes; a second worker for the same state folder ends at once.

    Args:
        settings: The configuration.
        idle_exit: End after a while without jobs.

    Raises:
        UsageError: Another worker serves this state folder.
    """
    settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = _take_lock(settings.state / _LOCK)
    pid = settings.state / _PID
    pid.unlink(missing_ok=True)  # of one that was killed: it would say too early that we take jobs
    _log_to(settings.state / _LOG)
    calls.write_to(settings.state / calls.FILE)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        handover.listen(settings.state)
        busy = _launch(settings)
        whole = pid.with_suffix(".new")
        whole.write_text(f"{os.getpid()}\n")
        whole.replace(pid)
        _wait(stop, busy, idle_exit=idle_exit)
    finally:
        pid.unlink(missing_ok=True)
    logging.getLogger("vmtui.jobs").info("worker ends; running jobs go on when the next one starts")
    logging.shutdown()
    # Threads of running jobs are not waited for: every job can be taken up by the next worker.
    lock.flush()
    os._exit(0)


def _take_lock(path: Path) -> IO[bytes]:
    """Hold the lock; somebody who only looks whether a worker is alive holds it for an instant."""
    file = path.open("ab")
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_POLL_S)
        else:
            return file
    file.close()
    raise UsageError(
        "WORKER-DEAD", f"Another worker already serves {path.parent}.", next_step="Nothing: jobs are served."
    )


def _log_to(path: Path) -> None:
    handler = RotatingFileHandler(path, maxBytes=4 << 20, backupCount=2, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def _launch(settings: Settings) -> _Busy:
    """Start DBOS with our workflows."""
    from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer

    from vmtui.jobs import database, workflows
    from vmtui.jobs.world import World

    options: DBOSConfig = {
        "name": database.APPLICATION,
        "system_database_url": database.database_url(settings),
        "serializer": DBOSPortableJSONSerializer(),
        "executor_id": executor_id(settings),
        "application_version": database.JOB_FORMAT,
        "log_level": "WARNING",
        "console_log_level": "CRITICAL",
    }
    DBOS(config=options)
    logging.getLogger("dbos").addFilter(_no_tracebacks)
    workflows.register(World(settings.path))
    DBOS.launch()
    DBOS.register_queue(
        database.QUEUE,
        partition_concurrency=1,
        worker_concurrency=_CONCURRENCY,
        polling_interval_sec=_QUEUE_POLL_S,
        on_conflict="always_update",
    )
    DBOS.register_queue(database.AT_ONCE, polling_interval_sec=_QUEUE_POLL_S, on_conflict="always_update")
    logging.getLogger("vmtui.jobs").info("worker %s takes jobs", executor_id(settings))
    return _Busy()


class _Busy:
    """Asks DBOS whether there is work."""

    def __call__(self) -> bool:
        from dbos import DBOS

        return bool(DBOS.list_workflows(status=["PENDING", "ENQUEUED", "DELAYED"], limit=1, load_input=False))


def _no_tracebacks(record: logging.LogRecord) -> bool:
    """DBOS logs a long traceback for each cancelled or failed job; the job itself says what happened."""
    record.exc_info = None
    return True


def _wait(stop: threading.Event, busy: _Busy, *, idle_exit: bool) -> None:
    last_busy = time.monotonic()
    while not stop.wait(5.0):
        if not idle_exit:
            continue
        if busy():
            last_busy = time.monotonic()
        elif time.monotonic() - last_busy > IDLE_S:
            return


def executor_id(settings: Settings) -> str:
    """Names the worker of this state folder; the same after a restart, so that it takes up its own jobs."""
    return f"{socket.gethostname()}:{settings.state}"
