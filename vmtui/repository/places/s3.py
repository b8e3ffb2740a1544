"""A bucket of any service that speaks S3.

borgstore's S3 backend gives the shape; what differs: one login for all threads, deadlines, a digest with each
upload that the service checks, listings of a whole namespace by continuation tokens, and errors that are told.
"""

from __future__ import annotations

import base64
import builtins
import hashlib
import threading
from collections.abc import Callable, Iterable
from typing import Any

from borgstore.backends.errors import BackendAlreadyExists, BackendDoesNotExist, ObjectNotFound
from borgstore.constants import TMP_SUFFIX

from vmtui.model.address import Address
from vmtui.repository.places.base import ObjectInfo, Place, Trouble

_PAGE = 1000
"""Objects in one page of a listing; no service gives more."""
_CONNECT_S = 10
_ANSWER_S = 30
_BAD_LOGINS = frozenset(
    ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "InvalidClientTokenId")
)
_TOO_BUSY = frozenset(
    ("SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "BadDigest", "IncompleteBody")
)
_NO_ROOM = frozenset(("QuotaExceeded", "XMinioStorageFull", "EntityTooLarge", "InsufficientStorage"))


class S3(Place):
    """Objects are those of a bucket below a path.

    Args:
        address: Where.
        login: Gives key id and secret; empty for those of the profile, the environment or the usual files.
    """

    def __init__(self, address: Address, login: Callable[[], tuple[str, str]]) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        self.errors = (*super().errors, BotoCoreError, ClientError)
        self._client_error: type[Exception] = ClientError
        self._address = address
        self._login = login
        self._bucket, _, path = address.place.partition("/")
        self._base = f"{path}/"
        self._lock = threading.Lock()
        self._kept: Any = None

    def create(self, namespaces: Iterable[str]) -> None:  # noqa: ARG002
        """Make the place; a bucket needs no namespaces."""
        if self._page("", limit=1).get("Contents"):
            raise BackendAlreadyExists(f"something is at {self._address.shown}")
        self._client().put_object(Bucket=self._bucket, Key=self._base, Body=b"")

    def check(self) -> None:
        if not self._page("", limit=1).get("Contents"):
            raise BackendDoesNotExist(f"nothing is at {self._address.shown}")

    def store(self, path: str, data: bytes | memoryview) -> None:
        body = data if isinstance(data, bytes) else bytes(data)
        digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        self._client().put_object(Bucket=self._bucket, Key=self._base + path, Body=body, ContentMD5=digest)

    def load(self, path: str, offset: int, size: int | None) -> bytes:
        if size == 0:
            return b""
        last = "" if size is None else str(offset + size - 1)
        wanted = {} if not offset and size is None else {"Range": f"bytes={offset}-{last}"}
        try:
            answer = self._client().get_object(Bucket=self._bucket, Key=self._base + path, **wanted)
            data: bytes = answer["Body"].read()
        except self._client_error as error:
            if _code(error) == "InvalidRange":
                return b""
            if _code(error) in ("NoSuchKey", "404"):
                raise ObjectNotFound(path) from error
            raise
        return data

    def size(self, path: str) -> int | None:
        try:
            answer = self._client().head_object(Bucket=self._bucket, Key=self._base + path)
        except self._client_error as error:
            if _code(error) in ("NoSuchKey", "404"):
                return None
            raise
        length: int = answer["ContentLength"]
        return length

    def list(self, namespace: str) -> builtins.list[ObjectInfo]:
        found: builtins.list[ObjectInfo] = []
        token = ""
        while True:
            page = self._page(f"{namespace}/", token=token)
            for item in page.get("Contents", ()):
                name = item["Key"].rpartition("/")[2]
                if name and not name.endswith(TMP_SUFFIX):
                    found.append(ObjectInfo(name, item["Size"]))
            token = page.get("NextContinuationToken", "") if page.get("IsTruncated") else ""
            if not token:
                return found

    def delete(self, path: str) -> None:
        """Remove an object; a service says nothing when it was not there."""
        self._client().delete_object(Bucket=self._bucket, Key=self._base + path)

    def judge(self, error: Exception) -> Trouble:
        from botocore import exceptions

        if isinstance(error, self._client_error):
            return _judge_answer(error)
        if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
            return Trouble.LOGIN
        if isinstance(error, exceptions.ProfileNotFound | exceptions.CredentialRetrievalError):
            return Trouble.LOGIN
        if isinstance(error, exceptions.SSLError):
            return super().judge(error)
        if isinstance(error, exceptions.HTTPClientError | exceptions.ResponseStreamingError):
            return Trouble.PASSING
        if isinstance(error, exceptions.ConnectionError | exceptions.IncompleteReadError):
            return Trouble.PASSING
        return super().judge(error)

    def reason(self, error: Exception) -> str:
        if isinstance(error, self._client_error):
            answer: dict[str, Any] = getattr(error, "response", {})
            said = answer.get("Error", {})
            return f"{said.get('Message') or 'refused'} ({_code(error)})"
        return super().reason(error)

    # -- inside ----------------------------------------------------------------------------------

    def _page(self, prefix: str, *, token: str = "", limit: int = 0) -> dict[str, Any]:
        more = {"ContinuationToken": token} if token else {}
        page: dict[str, Any] = self._client().list_objects_v2(
            Bucket=self._bucket, Prefix=self._base + prefix, MaxKeys=limit or _PAGE, **more
        )
        return page

    def _client(self) -> Any:
        with self._lock:
            if self._kept is None:
                self._kept = self._connect()
            return self._kept

    def _connect(self) -> Any:
        import boto3
        from botocore.client import Config

        key, secret = self._login()
        session = boto3.Session(
            profile_name=self._address.profile or None,
            aws_access_key_id=key or None,
            aws_secret_access_key=secret or None,
        )
        endpoint = self._address.endpoint or None
        config = Config(
            connect_timeout=_CONNECT_S,
            read_timeout=_ANSWER_S,
            retries={"total_max_attempts": 1},  # retries are ours, so that all of them are bounded
            max_pool_connections=16,
            request_checksum_calculation="when_required",  # many services do not know the newer checksums
            response_checksum_validation="when_required",
            # Bucket names in the host name need a DNS of the service's own.
            s3={"addressing_style": "path"} if endpoint else {},
        )
        region = session.region_name or "us-east-1"
        return session.client("s3", endpoint_url=endpoint, config=config, region_name=region)


def _judge_answer(error: Exception) -> Trouble:
    code = _code(error)
    response: dict[str, Any] = getattr(error, "response", {})
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == "NoSuchBucket":
        return Trouble.NO_PLACE
    if code in _BAD_LOGINS or status == 401:
        return Trouble.LOGIN
    if code in _NO_ROOM or status == 507:
        return Trouble.FULL
    if status == 403:
        return Trouble.DENIED
    if code in _TOO_BUSY or status in (408, 429) or status >= 500:
        return Trouble.PASSING
    return Trouble.BROKEN


def _code(error: Exception) -> str:
    response: dict[str, Any] = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code", ""))
