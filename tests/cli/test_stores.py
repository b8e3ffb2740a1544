"""The commands on repositories that are elsewhere: made, looked at, and never with a secret in what is said."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.repositories import commit_disk, noise
from tests.support.stores import KEY_ID, KINDS, SECRET, StorePlace, bucket, in_folder, rclone, rest, vault


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StorePlace]:
    folder = tmp_path / "objects"
    with ExitStack() as stack:
        if request.param == "sftp":
            yield stack.enter_context(vault()).place()
        elif request.param == "s3":
            yield stack.enter_context(bucket()).place()
        elif request.param == "rest":
            yield stack.enter_context(rest(folder))
        else:
            yield rclone(folder) if request.param == "rclone" else in_folder("file", f"file://{folder}", folder)


@pytest.fixture
def vmtui(place: StorePlace, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command with a configuration that names the place."""

    def run(*arguments: str, url: str = place.url) -> subprocess.CompletedProcess[str]:
        config = tmp_path / "config.toml"
        config.write_text(f'repository = "{url}"\nstate = "{tmp_path}/state"\n{place.config}')
        argv = [sys.executable, "-m", "vmtui", "--config", str(config), *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)

    return run


def document(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_repository_is_made_looked_at_and_listed(
    vmtui: Callable[..., subprocess.CompletedProcess[str]], place: StorePlace, tmp_path: Path
) -> None:
    missing = vmtui("repo", "stats")
    assert missing.returncode == 2
    assert "REPO-NOT-INITIALISED" in missing.stderr
    made = document(vmtui("--json", "repo", "init", "--block-size", "4K"))
    assert made["made"]
    assert not document(vmtui("--json", "repo", "init"))["made"]
    name = commit_disk(place.open(tmp_path / "cache"), noise(1, 20))
    stats = document(vmtui("--json", "repo", "stats"))
    assert (stats["id"], stats["points"], stats["packs"], stats["url"]) == (made["id"], 1, 1, place.url)
    assert "stored" in vmtui("repo", "stats").stdout
    assert [point["id"] for point in document(vmtui("--json", "points"))] == [name.id]
    assert document(vmtui("--json", "vms")) is not None


@pytest.mark.parametrize("place", ["s3", "rest"], indirect=True)
def test_a_secret_in_the_address_is_never_said(
    vmtui: Callable[..., subprocess.CompletedProcess[str]], place: StorePlace, tmp_path: Path
) -> None:
    secret = SECRET.replace("/", "%2F").replace("+", "%2B").replace("=", "%3D")
    login = f"{KEY_ID}:{secret}@"
    url = place.url.replace("s3:", f"s3:{login}") if place.kind == "s3" else place.url.replace("//", f"//{login}")
    said = []
    for arguments in (["repo", "init"], ["repo", "stats"], ["--json", "repo", "stats"], ["points"], ["vms"]):
        done = vmtui(*arguments, url=url)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout + done.stderr)
    for wrong in (url.replace(secret, "wr0ng-Secret"), url.replace("127.0.0.1:", "127.0.0.1:1"), f"{url}?x@y"):
        done = vmtui("--json", "repo", "stats", url=wrong)
        assert done.returncode != 0
        said.append(done.stdout + done.stderr)
    told = "".join(said)
    for hidden in (SECRET, secret, "wr0ng-Secret"):
        assert hidden not in told
    assert KEY_ID in told
