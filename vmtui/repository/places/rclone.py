"""Whatever rclone reaches, through an rclone of our own on a loopback port.

It ends with us, also when we are killed: its keeper waits for the end of a pipe that only we hold.
"""

from __future__ import annotations

import builtins
import os
import posixpath
import secrets
import shutil
import subprocess
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import requests
from borgstore.backends.errors import BackendAlreadyExists, BackendDoesNotExist, BackendError, ObjectNotFound
from borgstore.backends.rclone import Rclone as Backend
from borgstore.constants import TMP_SUFFIX

from vmtui.model.errors import UnreachableError
from vmtui.repository.places.base import ObjectInfo, Place, Trouble

_START_S = 15.0
_ANSWER_S = 600.0
"""For a whole upload; rclone itself gives up much sooner when nothing moves."""
_BOUNDS = ("--timeout", "30s", "--contimeout", "10s", "--low-level-retries", "2")
_KEEPER = 'trap "" INT; "$@" </dev/null & cat >/dev/null; kill $!; wait $!'


class Rclone(Place):
    """Objects are those of a remote of rclone's.

    Args:
        remote: As rclone writes it: `name:path`, or a path of this machine.
    """

    def __init__(self, remote: str) -> None:
        self.errors = (*super().errors, ValueError)
        self._remote = remote
        self._lock = threading.Lock()
        self._kept: _Daemon | None = None

    def create(self, namespaces: Iterable[str]) -> None:
        with self._using() as backend:
            try:
                if backend.items("", deep=False):
                    raise BackendAlreadyExists(f"{self._remote} is not empty")
            except ObjectNotFound:
                pass  # it is made now
            backend.mkdir("")
            for name in namespaces:
                backend.mkdir(name)

    def check(self) -> None:
        with self._using() as backend:
            try:
                backend.items("", deep=False)
            except ObjectNotFound as error:
                raise BackendDoesNotExist(f"there is no {self._remote}") from error

    def free_bytes(self) -> int | None:
        with self._using() as backend:
            return backend.free()

    def store(self, path: str, data: bytes | memoryview) -> None:
        with self._using() as backend:
            backend.upload(path, data)

    def load(self, path: str, offset: int, size: int | None) -> bytes:
        if size == 0:
            return b""
        with self._using() as backend:
            data: bytes = backend.load(path, offset=offset, size=size)
        return data

    def size(self, path: str) -> int | None:
        with self._using() as backend:
            info = backend.info(path)
        return info.size if info.exists else None

    def list(self, namespace: str) -> builtins.list[ObjectInfo]:
        with self._using() as backend:
            return backend.items(namespace, deep=True)

    def delete(self, path: str) -> None:
        with self._using() as backend:
            backend.delete(path)

    def judge(self, error: Exception) -> Trouble:
        if isinstance(error, requests.RequestException | ConnectionError | TimeoutError):
            return Trouble.PASSING
        if type(error) is BackendError:
            text = str(error)
            if "no space left" in text or "quota" in text.lower():
                return Trouble.FULL
            if "permission denied" in text.lower() or "AccessDenied" in text:
                return Trouble.DENIED
            return Trouble.PASSING if "error 5" in text else Trouble.BROKEN
        return super().judge(error)

    @contextmanager
    def _using(self) -> Iterator[_Daemon]:
        """The one rclone of all threads; when it has died the next call starts another."""
        with self._lock:
            daemon = self._kept
            if daemon is None:
                daemon = _Daemon(self._remote)
                daemon.open()
                self._kept = daemon
                weakref.finalize(self, daemon.close)
        try:
            yield daemon
        except requests.ConnectionError:
            with self._lock:
                if self._kept is daemon and not daemon.answers():
                    self._kept = None
                    daemon.close()
            raise


class _Daemon(Backend):
    """borgstore's rclone backend with a process that ends with ours; one for all threads."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.process: subprocess.Popen[bytes] | None = None
        self.url: str | None = None
        self.renames = False
        """An upload gets its name when it is complete."""

    def open(self) -> None:
        if shutil.which("rclone") is None:
            raise UnreachableError(
                "REPO-UNREACHABLE", "rclone is not installed on this machine.", next_step="Install rclone."
            )
        port = self.find_available_port()
        options = ["--rc-user", self.user, "--rc-addr", f"{self.HOST}:{port}", "--rc-serve", *_BOUNDS]
        self.process = subprocess.Popen(
            ["sh", "-c", _KEEPER, "keeper", "rclone", "rcd", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"RCLONE_RC_PASS": self.password},
            start_new_session=True,
        )
        self.url = f"http://{self.HOST}:{port}/"
        deadline = time.monotonic() + _START_S
        while not self.check_port(port):
            if time.monotonic() > deadline:
                self.close()
                raise BackendError("rclone did not start")
            time.sleep(0.02)
        features = self._rpc("operations/fsinfo", {"fs": self.fs})["Features"]
        self.renames = bool(features.get("Move")) and not features.get("BucketBased")

    def close(self) -> None:
        process, self.process, self.url = self.process, None, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def answers(self) -> bool:
        """Whether the process still listens."""
        port = urlsplit(self.url or "").port
        return port is not None and bool(self.check_port(port))

    def _requests(self, fn: Any, *args: Any, tries: int = 1, **kwargs: Any) -> Any:
        """Each request has a deadline; borgstore gives none."""
        return super()._requests(fn, *args, tries=tries, timeout=(_START_S, _ANSWER_S), **kwargs)

    def upload(self, path: str, data: bytes | memoryview) -> None:
        """Put an object whole: where uploads can be cut short it gets its name when it is complete."""
        name = posixpath.basename(path)
        beside = f"{secrets.token_hex(8)}{TMP_SUFFIX}" if self.renames else name
        folder = posixpath.dirname(path)
        files = {"file": (beside, data, "application/octet-stream")}
        self._rpc("operations/uploadfile", None, params={"fs": self.fs, "remote": folder}, files=files)
        if self.renames:
            source = posixpath.join(folder, beside)
            self._rpc(
                "operations/movefile", {"srcFs": self.fs, "srcRemote": source, "dstFs": self.fs, "dstRemote": path}
            )

    def items(self, folder: str, *, deep: bool) -> builtins.list[ObjectInfo]:
        """What is in a folder, with one call; deep means all objects below it."""
        options = {"recurse": deep, "filesOnly": deep, "noModTime": True, "noMimeType": True}
        answer = self._rpc("operations/list", {"fs": self.fs, "remote": folder, "opt": options})
        return [
            ObjectInfo(item["Name"], item["Size"]) for item in answer["list"] if not item["Name"].endswith(TMP_SUFFIX)
        ]

    def free(self) -> int | None:
        """Space left [bytes], where the remote says it."""
        try:
            free = self._rpc("operations/about", {"fs": self.fs}).get("free")
        except (BackendError, ObjectNotFound):
            return None  # many remotes do not know
        return None if free is None else int(free)
