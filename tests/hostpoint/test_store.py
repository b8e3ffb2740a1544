"""Host points in the repository: all that keeps VMs' points keeps them as well."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.hostpoint.test_diff import NETWORK, part
from tests.support.repositories import START, backup, create, noise, phrase, reopen
from vmtui import config
from vmtui.hostpoint import compare, load_entries, load_state
from vmtui.hostpoint.store import manifest_of, newest, write
from vmtui.model.errors import DamageError, UsageError
from vmtui.model.hostpoint import HostState, PartKind
from vmtui.model.ids import JobId, VmId, host_subject, is_host_subject, new_id
from vmtui.model.point import LeftOut
from vmtui.model.progress import SilentWatch
from vmtui.model.settings import Settings
from vmtui.overview.catalogue import find_point, known_vms
from vmtui.overview.hostpoints import find_host_point, host_views
from vmtui.repository import ObjectStore, PointName, Repository
from vmtui.repository.collect import collect
from vmtui.repository.mirror import mirror, open_copy
from vmtui.repository.repair import repair
from vmtui.repository.scrub import verify_all
from vmtui.repository.verify import verify_point
from vmtui.retention import make_plan

WATCH = SilentWatch()


def host(number: int = 0, text: bytes = b"") -> HostState:
    """A host whose one file differs by number."""
    content = text or b"max_clients = %d\n" % number + noise(number, 3).hex().encode()
    parts = [
        part(PartKind.NETWORK, "lan", NETWORK, active=True, autostart=False, facts={"uuid": "u"}),
        part(PartKind.FILE, "/etc/libvirt/libvirtd.conf", content, facts={"mode": "644"}),
        part(PartKind.FILE, "/etc/libvirt/qemu.conf", noise(77, 40).hex().encode()),
        part(PartKind.PACKAGE, "qemu", facts={"version": "7.2"}),
    ]
    at = START + timedelta(hours=number)
    return HostState("north", at, {item.key: item for item in parts}, (LeftOut("record x", "not there"),))


def commit(repository: Repository, state: HostState) -> PointName:
    """As `take` does, without a host."""
    run = JobId(new_id(state.time))
    session = repository.session(run)
    session.begin(state.time)
    repository.sync()
    saw = repository.declare(run, None)
    files = write(repository, state, 1)
    point = manifest_of(repository, state, files, run, state.time, saw)
    repository.points.commit(point)
    session.close(state.time)
    return PointName(point.vm_uuid, point.id)


def read(repository: Repository, name: PointName) -> HostState:
    repository.sync()
    return load_state(repository, repository.points.load(name))


def clock_at(hours: int) -> datetime:
    return START + timedelta(hours=hours)


@pytest.fixture(params=[False, True], ids=["plain", "sealed"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Repository:
    return create(tmp_path, sealed=request.param)


def test_a_host_reads_back_as_it_was(repository: Repository, tmp_path: Path) -> None:
    state = host(1)
    name = commit(repository, state)
    assert read(reopen(tmp_path), name) == state
    assert compare(read(repository, name), state) == ()
    entries = load_entries(repository, repository.points.load(name))
    assert {entry.key for entry in entries} == set(state.parts)


def test_what_is_the_same_is_stored_once(repository: Repository) -> None:
    commit(repository, host(1))
    before = repository.stats().stored_bytes
    commit(repository, replace(host(1), time=clock_at(2)))
    assert repository.stats().stored_bytes - before < 4096, "a manifest, an event, and the new list of parts"


def test_ids_of_hosts_are_no_vms() -> None:
    assert host_subject("r", "north") == host_subject("r", "north")
    assert len({host_subject("r", "north"), host_subject("r", "south"), host_subject("q", "north")}) == 3
    assert is_host_subject(host_subject("r", "north"))
    for other in ("11111111-2222-4333-8444-555555555555", "686f7374-2222-4333-8444-555555555555", "x"):
        assert not is_host_subject(other)


def test_collections_keep_what_hosts_need(repository: Repository, tmp_path: Path) -> None:
    kept, gone = host(1), host(2)
    name, other = commit(repository, kept), commit(repository, gone)
    vm = backup(repository, noise(5, 600), 3)
    repository.points.delete(other, clock_at(4))
    repository.points.delete(vm, clock_at(4))
    for hours in (5, 40, 80):
        collect(repository, JobId(new_id(clock_at(hours))), WATCH, lambda hours=hours: clock_at(hours))  # type: ignore[misc]
    fresh = reopen(tmp_path)
    assert read(fresh, name) == kept
    assert verify_all(fresh, WATCH, clock_at(90)).damage == []


def test_copies_and_repairs_hold_hosts(repository: Repository, tmp_path: Path) -> None:
    state = host(1)
    name = commit(repository, state)
    url = f"file://{tmp_path / 'copy'}"
    copy = open_copy(repository, ObjectStore(url), lambda: Repository(url, tmp_path / "copy cache", phrase))
    assert mirror(repository, copy, JobId(new_id(START)), WATCH, lambda: clock_at(2)).points == 1
    assert read(Repository(url, tmp_path / "third", phrase), name) == state
    for item in list((tmp_path / "repository" / "index").rglob("*")):
        if item.is_file():
            item.unlink()
    fresh = reopen(tmp_path, "fourth")
    assert repair(fresh, JobId(new_id(START)), WATCH, lambda: clock_at(3)).damage == []
    assert read(reopen(tmp_path, "fifth"), name) == state


def test_damage_is_found_and_refused(repository: Repository, tmp_path: Path) -> None:
    name = commit(repository, host(1))
    for pack in (tmp_path / "repository" / "packs").rglob("*"):
        if pack.is_file():
            data = bytearray(pack.read_bytes())
            for place in range(60, len(data) - 200, 40):
                data[place] ^= 0xFF
            pack.write_bytes(bytes(data))
    fresh = reopen(tmp_path)
    assert verify_point(fresh, name, WATCH, clock_at(2)).damage
    for which in ("latest", "good"):
        with pytest.raises(DamageError):
            find_host_point(fresh, f"north@{which}")
    with pytest.raises(DamageError):
        read(fresh, name)


def test_the_newest_good_one_is_before_the_damage(repository: Repository, tmp_path: Path) -> None:
    first, second = commit(repository, host(1)), commit(repository, host(2))
    manifest = tmp_path / "repository" / "points" / second.key
    manifest.write_bytes(manifest.read_bytes()[:-7])
    fresh = reopen(tmp_path)
    assert verify_point(fresh, second, WATCH, clock_at(2)).damage
    assert find_host_point(fresh, "north@good") == first
    with pytest.raises(DamageError):
        find_host_point(fresh, "north@latest")
    with pytest.raises(UsageError):
        find_host_point(fresh, "north@oldest")


def test_a_damaged_manifest_does_not_keep_a_host_from_being_kept(repository: Repository, tmp_path: Path) -> None:
    first, second = commit(repository, host(1)), commit(repository, host(2))
    manifest = tmp_path / "repository" / "points" / second.key
    manifest.write_bytes(manifest.read_bytes()[:-7])
    found = newest(reopen(tmp_path), "north")
    assert found is not None
    assert found.id == first.id


def settings_of(tmp_path: Path, keep: str, rules: str = "") -> Settings:
    text = f'repository = "file:///r"\ndefault_tier = "a"\n[tiers.a]\nrpo = "1d"\nkeep = {keep}\n[tiers.b]\nrpo = "1d"\n{rules}'
    return config.parse(text, tmp_path / "config.toml")


def test_rules_of_the_default_tier_prune_hosts(repository: Repository, tmp_path: Path) -> None:
    """Rules that give VMs a tier, or exempt them, say nothing about hosts."""
    names = [commit(repository, host(number)) for number in range(1, 6)]
    repository.points.hold(names[0], "before the upgrade", clock_at(6))
    rules = '[[rules]]\nvm = "*"\nexempt = "none of them"\n'
    plan = make_plan(repository, settings_of(tmp_path, "{ last = 2 }", rules), clock_at(9), None, {})
    assert {point.id for point in plan.points if point.keep} == {names[0].id, names[3].id, names[4].id}
    assert {point.path for point in plan.points} == {"north/host configuration"}
    for point in plan.go:
        repository.points.delete(PointName(point.vm, point.id), clock_at(9))
    collect(repository, JobId(new_id(clock_at(10))), WATCH, lambda: clock_at(10))
    assert read(repository, names[4]) == host(5)
    assert read(repository, names[0]) == host(1)


def test_hosts_do_not_mix_with_vms(repository: Repository) -> None:
    name = commit(repository, host(1))
    vm = backup(repository, noise(1, 2), 2)
    assert set(known_vms(repository)) == {vm.vm}
    assert [view.id for view in host_views(repository)] == [name.id]
    assert host_views(repository, "south") == []
    assert find_point(repository, name.id) == name, "so that it can be verified and held by its id"
    assert find_host_point(repository, "north@latest") == name
    assert VmId(name.vm) != vm.vm
