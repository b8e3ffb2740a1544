"""borgstore's own server, which can refuse to delete and to overwrite."""

from __future__ import annotations

import builtins
import threading
from collections.abc import Callable, Iterable

import requests
from borgstore.backends.errors import BackendError
from borgstore.backends.rest import REST

from vmtui.repository.places.base import ObjectInfo, Place, Trouble, objects_below

_TIMEOUTS_S = (10, 20)
"""To connect, and of silence; borgstore tries twice each time."""
_LOST = "connection was lost"
"""What borgstore says after its own second try."""


class Rest(Place):
    """Objects are those of a server.

    Args:
        url: Of the server, without login.
        login: Gives user and password; empty for those of the environment, or none.
    """

    def __init__(self, url: str, login: Callable[[], tuple[str, str]]) -> None:
        self.errors = (*super().errors, ValueError)  # borgstore's word for a request that the server refused
        self._url = url
        self._login = login
        self._local = threading.local()

    def create(self, namespaces: Iterable[str]) -> None:
        self._new().create()
        backend = self._backend()
        for name in namespaces:
            backend.mkdir(name)

    def check(self) -> None:
        self._backend().info("config")  # the server answers in another way when its own folder is not there

    def free_bytes(self) -> int | None:
        answer = self._backend().quota()
        limit, used = int(answer["limit"]), int(answer["usage"])
        return max(0, limit - used) if limit >= 0 and used >= 0 else None

    def store(self, path: str, data: bytes | memoryview) -> None:
        self._backend().store(path, data)

    def load(self, path: str, offset: int, size: int | None) -> bytes:
        if size == 0:
            return b""
        data: bytes = self._backend().load(path, offset=offset, size=size)
        return data

    def size(self, path: str) -> int | None:
        info = self._backend().info(path)
        return info.size if info.exists else None

    def list(self, namespace: str) -> builtins.list[ObjectInfo]:
        return list(objects_below(self._backend().list, namespace))

    def delete(self, path: str) -> None:
        self._backend().delete(path)

    def judge(self, error: Exception) -> Trouble:
        if isinstance(error, requests.HTTPError):
            status = error.response.status_code if error.response is not None else 0
            if status == 401:
                return Trouble.LOGIN
            return Trouble.PASSING if status in (408, 422, 429) or status >= 500 else Trouble.BROKEN
        if isinstance(error, requests.ConnectionError | requests.Timeout | ConnectionError | TimeoutError):
            return Trouble.PASSING
        if isinstance(error, requests.exceptions.ChunkedEncodingError):
            return Trouble.PASSING
        if type(error) is BackendError and _LOST in str(error):
            return Trouble.PASSING
        return super().judge(error)

    def _new(self) -> REST:
        user, password = self._login()
        return REST(
            self._url, username=user, password=password, timeout=_TIMEOUTS_S, reconnect_tries=1, reconnect_wait=0.2
        )

    def _backend(self) -> REST:
        """This thread's own, as its session may not be shared."""
        backend: REST | None = getattr(self._local, "backend", None)
        if backend is None:
            backend = self._new()
            backend.open()
            self._local.backend = backend
        elif backend.session is None:  # it could not be opened again after it was lost
            backend.open()
        return backend
