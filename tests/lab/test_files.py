"""Files of a real guest: written by it, found in its point, taken out, changed, and put back into the running guest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import sites
from tests.support.client import Client
from tests.support.guests import run_in_guest, wait_agent
from tests.support.site import Site
from vmtui.lab import LabInfo

WEB = "north/web1"
SCRIPT = """
set -e
mkdir -p {folder}/sub
printf 'listen 80\\n' > {folder}/web.conf
chmod 640 {folder}/web.conf
dd if=/dev/urandom of={folder}/sub/data.bin bs=1k count=300 2>/dev/null
ln -s ../web.conf {folder}/sub/link
sync
cat {folder}/web.conf {folder}/sub/data.bin | sha256sum
"""


@pytest.fixture
def web(guests: LabInfo, new_client: Callable[..., Client]) -> tuple[Client, Site]:
    client = new_client(of=guests)
    client.init()
    return client, sites(guests)["north"]


def test_files_of_a_guest_come_out_and_go_back(web: tuple[Client, Site], tmp_path: Path) -> None:
    client, site = web
    wait_agent(site, "web1")
    folder = _folder(site)
    written = run_in_guest(site, "web1", SCRIPT.format(folder=folder)).split()[0]
    point = client.backup(WEB)["point"]

    volumes = client.ok("files", "ls", point, "--json").json
    (volume,) = [item["name"] for item in volumes if item["kind"] == "ext4"]
    (found,) = client.ok("files", "find", point, "web.conf", "--json").json["found"]
    assert found["path"].startswith(f"/{volume}/")
    assert (found["mode"], found["size"]) == ("0640", 10)
    top = found["path"].rpartition("/")[0]
    listed = {Path(item["path"]).name: item for item in client.ok("files", "ls", point, top, "--json").json}
    assert {"web.conf", "sub"} <= set(listed)

    taken = client.ok("files", "get", point, top, str(tmp_path / "out"), "--json").json
    assert (taken["problems"], taken["files"]) == ([], 2)
    out = tmp_path / "out" / Path(top).name
    assert (
        hashlib.sha256((out / "web.conf").read_bytes() + (out / "sub" / "data.bin").read_bytes()).hexdigest() == written
    )
    assert str((out / "sub" / "link").readlink()) == "../web.conf"

    run_in_guest(site, "web1", f"echo broken > {folder}/web.conf; rm {folder}/sub/data.bin")
    refused = client.run("files", "put", point, found["path"], f"{WEB}:{folder}/web.conf", "--yes")
    assert refused.code == 5, refused
    denied = client.run("--read-only", "files", "put", point, found["path"], f"{WEB}:{folder}/web.conf", "--yes")
    assert denied.code == 5, denied
    assert run_in_guest(site, "web1", f"cat {folder}/web.conf") == "broken\n"
    put = client.ok(
        "files", "put", point, found["path"], f"{WEB}:{folder}/web.conf", "--yes", "--overwrite", "--json"
    ).json
    assert "SHA-256" in put["proof"]
    client.ok("files", "put", point, f"{top}/sub/data.bin", f"{WEB}:{folder}/sub/", "--yes")
    assert run_in_guest(site, "web1", f"cat {folder}/web.conf {folder}/sub/data.bin | sha256sum").split()[0] == written
    assert run_in_guest(site, "web1", f"stat -c %a {folder}/web.conf; ls -A {folder}").split() == [
        "640",
        "sub",
        "web.conf",
    ]


def _folder(site: Site) -> str:
    """A new folder on the guest's disk."""
    script = (
        "d=$(awk '$1 ~ /^.dev.[vs]d/ && $3 == \"ext4\" {print $2; exit}' /proc/mounts); mktemp -d ${d%/}/files-XXXXXX"
    )
    return run_in_guest(site, "web1", script).strip()
