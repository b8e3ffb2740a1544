"""Backups to places elsewhere, by the worker: brought back byte by byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import Client
from tests.support.points import INCREMENTAL, check_point, kinds
from tests.support.site import Site
from tests.support.stores import APPEND_ONLY, bucket, rest
from tests.support.vms import MIB, TestVm


@pytest.fixture(params=["sftp", "s3", "append-only"])
def elsewhere(request: pytest.FixtureRequest, south: Site, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Keys of the configuration that name the place."""
    with ExitStack() as stack:
        if request.param == "sftp":
            yield {"repository": f"sftp://south{south.folder}/data/{tmp_path.name}"}
            return
        if request.param == "s3":
            place = stack.enter_context(bucket()).place()
        else:
            place = stack.enter_context(rest(tmp_path / "objects", APPEND_ONLY))
        yield {"repository": place.url, "repository_password_command": list(place.password_command)}


def test_a_vm_is_backed_up_elsewhere_and_comes_back(
    elsewhere: dict[str, Any],
    new_client: Callable[..., Client],
    vm: TestVm,
    north: Site,
    tmp_path: Path,
) -> None:
    client = new_client(**elsewhere)
    client.init()
    vm.write(0x11, 0, 4 * MIB)
    check_point(client, vm, north, tmp_path)
    vm.write(0x22, MIB, MIB)
    second = check_point(client, vm, north, tmp_path)
    assert kinds(second) == {"vda": INCREMENTAL}
    client.ok("verify", "--all")
    jobs = client.ok("jobs", "--json").json
    assert {item["state"] for item in jobs} == {"ok"}
    assert client.ok("repo", "stats", "--json").json["points"] == 2
