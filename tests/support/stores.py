"""One place of each kind for a repository, served by the real programs on the loopback."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import wait_until
from tests.support.small import small_file_system
from vmtui.hosts import open_store_files
from vmtui.lab import processes, site
from vmtui.lab.account import lab_account
from vmtui.model.host import Host
from vmtui.model.policy import Tier
from vmtui.model.settings import Settings
from vmtui.repository import Repository
from vmtui.repository.store import ObjectStore, OpenSftp

KINDS = ("file", "sftp", "s3", "rclone", "rest")
KEY_ID, SECRET = "TESTKEY", "odd/Secret+with=signs"
BUCKET = "vmtui-test"
APPEND_ONLY = {"": "lrw"}
"""New objects may be written and all may be read; nothing is overwritten or deleted, sessions neither."""


@dataclass(frozen=True)
class StorePlace:
    """Where a repository can be made, and a way to its bytes past vmtui."""

    kind: str
    url: str
    config: str
    """Further lines of a configuration file."""
    write_raw: Callable[[str, bytes], None]
    """Replace the bytes of an object, by its path."""
    read_all: Callable[[], Mapping[str, bytes]]
    """All objects by path."""
    open_sftp: OpenSftp | None = None
    password_command: Sequence[str] = field(default=())

    def store(self) -> ObjectStore:
        return ObjectStore(self.url, open_sftp=self.open_sftp, password_command=self.password_command)

    def create(self, cache: Path, block_size: int = 4096) -> Repository:
        return Repository.create(self.store(), cache, block_size=block_size)

    def open(self, cache: Path) -> Repository:
        return Repository(self.store(), cache)


def in_folder(kind: str, url: str, folder: Path, config: str = "", open_sftp: OpenSftp | None = None) -> StorePlace:
    """A place whose objects are files of this machine in the end."""

    def write(path: str, data: bytes) -> None:
        (folder / path).write_bytes(data)

    def read() -> Mapping[str, bytes]:
        files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        return {name: path.read_bytes() for name, path in files.items() if name != "reserve"}  # that is no object

    return StorePlace(kind, url, config, write, read, open_sftp)


# -- sftp ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Vault:
    """A host that only keeps files."""

    settings: Settings
    config: str
    folder: Path
    process: processes.Process

    def place(self) -> StorePlace:
        folder = self.folder / "data" / uuid.uuid4().hex
        url = f"sftp://vault{folder}"
        return in_folder("sftp", url, folder, self.config, lambda name: open_store_files(self.settings, name))


@contextlib.contextmanager
def vault(small: int = 0) -> Iterator[Vault]:
    """An sshd with keys of its own, as the lab starts them, without libvirt.

    Args:
        small: Size of the file system with the data [bytes]; 0 for that of the temporary folder.
    """
    with tempfile.TemporaryDirectory(prefix="vmtui-vault-") as name, contextlib.ExitStack() as stack:
        root = Path(name)
        root.chmod(0o755)
        key = root / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(key)], check=True)
        place = site.Site("vault", root / "vault", site.free_port(), lab_account())
        site.create(place, key.with_suffix(".pub").read_text())
        if small:  # before sshd starts, whose view of mounts is its own
            stack.enter_context(small_file_system(place.folder / "data", small))
        else:
            place.account.own(place.folder / "data")
        host_key = (place.folder / "ssh" / "host_key.pub").read_text().split()
        known_hosts = root / "known_hosts"
        known_hosts.write_text(f"[127.0.0.1]:{place.port} {host_key[0]} {host_key[1]}\n")
        host = Host("vault", "127.0.0.1", place.port, place.account.name, str(key), libvirt=False, deadline_s=20.0)
        tier = Tier("standard", 3600)
        settings = Settings(
            path=root / "config.toml",
            repository="",
            state=root / "state",
            known_hosts=known_hosts,
            hosts={"vault": host},
            tiers={"standard": tier},
            default_tier="standard",
        )
        config = (
            f'known_hosts = "{known_hosts}"\n[hosts.vault]\naddress = "127.0.0.1"\nport = {place.port}\n'
            f'user = "{place.account.name}"\nkey = "{key}"\nlibvirt = false\n'
        )
        process = site.start_sshd(place)
        try:
            wait_until(lambda: answers(place.port), 30, "the start of sshd")
            yield Vault(settings, config, place.folder, process)
        finally:
            processes.stop([process, *processes.descendants(process)], 5)


# -- s3 ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bucket:
    """A bucket of a real S3 service."""

    endpoint: str
    client: Any

    def place(self) -> StorePlace:
        path = uuid.uuid4().hex

        def write(name: str, data: bytes) -> None:
            self.client.put_object(Bucket=BUCKET, Key=f"{path}/{name}", Body=data)

        def read() -> Mapping[str, bytes]:
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{path}/")
            keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
            return {
                key.removeprefix(f"{path}/"): self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
                for key in keys
            }

        command = ["printf", f"{KEY_ID}:{SECRET}\n"]
        config = f"repository_password_command = {json.dumps(command)}\n"
        url = f"s3:{self.endpoint}/{BUCKET}/{path}"
        return StorePlace("s3", url, config, write, read, password_command=command)


_WEED_PORTS = ("master.port", "volume.port", "filer.port", "s3.port")


_WEED_STARTS = 4
_WEED_START_S = 90.0


@contextlib.contextmanager
def bucket() -> Iterator[Bucket]:
    """SeaweedFS with its S3 gateway and one bucket."""
    with tempfile.TemporaryDirectory(prefix="vmtui-weed-") as name, contextlib.ExitStack() as stack:
        for attempt in range(_WEED_STARTS):
            # Between finding a port free and listening there somebody else may take it; weed ends then.
            ports = dict(zip([*_WEED_PORTS, *(f"{port}.grpc" for port in _WEED_PORTS)], free_ports(8), strict=True))
            folder = Path(name, str(attempt))
            process = stack.enter_context(_weed(folder, ports))
            found = Bucket(f"http://127.0.0.1:{ports['s3.port']}", _s3_client(ports["s3.port"]))
            stack.callback(found.client.close)
            with contextlib.suppress(AssertionError):
                wait_until(lambda: process.poll() is not None or _accepts(found), _WEED_START_S, "the S3 service")  # noqa: B023  # called here alone
            if process.poll() is None and _accepts(found):
                break
        else:
            pytest.fail(f"the S3 service did not start:\n{(folder / 'log').read_text()[-4000:]}")
        yield found


@contextlib.contextmanager
def _weed(folder: Path, ports: Mapping[str, int]) -> Iterator[subprocess.Popen[bytes]]:
    """The service, perhaps not up yet, with its files in a folder of its own."""
    data = folder / "data"
    data.mkdir(parents=True)
    identity = {"accessKey": KEY_ID, "secretKey": SECRET}
    (folder / "s3.json").write_text(
        json.dumps({"identities": [{"name": "test", "credentials": [identity], "actions": ["Admin", "Write"]}]})
    )
    argv = [
        *(str(Path(sys.executable).with_name("weed")), "server", f"-dir={data}", "-s3"),
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.config={folder}/s3.json"),
        # Both have fixed ports, so that of two services on a machine the second would end at once.
        *("-s3.port.iceberg=0", "-s3.port.lance=0"),
        *("-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=30"),
        *(f"-filer.localSocket={folder}/filer.sock", f"-s3.localSocket={folder}/s3.sock"),
        *(f"-{option}={port}" for option, port in ports.items()),
    ]
    environment = {**os.environ, "TMPDIR": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            argv, cwd=data, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.kill()  # asked politely it takes half a minute
        process.wait()
        for port in ports.values():
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink()


def _s3_client(port: int) -> Any:
    import boto3
    from botocore.client import Config

    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        config=Config(connect_timeout=1, read_timeout=5, retries={"total_max_attempts": 1}),
    )


def _accepts(found: Bucket) -> bool:
    """Whether the bucket is there, made if need be, and takes an object."""
    from botocore.exceptions import BotoCoreError, ClientError

    with contextlib.suppress(BotoCoreError, ClientError):
        if not any(item["Name"] == BUCKET for item in found.client.list_buckets()["Buckets"]):
            found.client.create_bucket(Bucket=BUCKET)
        found.client.put_object(Bucket=BUCKET, Key="ready", Body=b"")
        return True
    return False


# -- rclone, rest --------------------------------------------------------------------------------


def rclone(folder: Path) -> StorePlace:
    """rclone's remote for this machine's files, which needs no configuration."""
    return in_folder("rclone", f"rclone::local:{folder}", folder)


@contextlib.contextmanager
def rest(
    folder: Path, permissions: Mapping[str, str] | None = None, *, port: int = 0, quota: int = 0
) -> Iterator[StorePlace]:
    """borgstore's server over a folder."""
    port = port or site.free_port()
    argv = [sys.executable, "-m", "borgstore.server.rest", "--port", str(port), "--backend", folder.as_uri()]
    argv += ["--username", KEY_ID, "--password", SECRET]
    if permissions is not None:
        argv += ["--permissions", json.dumps(permissions)]
    if quota:
        argv += ["--quota", str(quota)]
    with folder.with_suffix(".log").open("ab") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until(lambda: answers(port), 30, "the start of borgstore's server")
        command = ["printf", f"{KEY_ID}:{SECRET}\n"]
        found = in_folder("rest", f"rest:http://127.0.0.1:{port}", folder)
        config = f"repository_password_command = {json.dumps(command)}\n"
        yield StorePlace("rest", found.url, config, found.write_raw, found.read_all, password_command=command)
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    """Whether somebody listens at a port of the loopback."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on now, all different."""
    with contextlib.ExitStack() as probes:
        found = []
        for _ in range(count):
            probe = probes.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            found.append(int(probe.getsockname()[1]))
    return found
