"""A definition made to fit: what changes, what must not, whatever stands in it."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmtui.model.errors import FailedError
from vmtui.model.ids import VmId
from vmtui.restore.definition import Target, fit, missing_elements

TARGET = Target(
    name="web1-copy",
    uuid=VmId("11111111-2222-4333-8444-555555555555"),
    macs=("52:54:00:aa:bb:cc",),
    disks={"vda": ("/new/vda.qcow2", "qcow2")},
    files={},
    networks={},
    new_vm=True,
)


def domain(
    devices: str = "", os: str = "<type arch='x86_64' machine='q35'>hvm</type>", more: str = "", name: str = "web1"
) -> str:
    return (
        f"<domain type='kvm' id='7' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>{escape(name)}</name>"
        f"<uuid>aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee</uuid><memory>1024</memory><os>{os}</os>{more}<devices>"
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/old/vda.qcow2'/>"
        "<backingStore type='file'><source file='/old/base.qcow2'/></backingStore><target dev='vda' bus='virtio'/></disk>"
        f"{devices}</devices></domain>"
    )


def fitted(xml: str, target: Target = TARGET) -> tuple[ElementTree.Element, list[str]]:
    result = fit(xml, target)
    return ElementTree.fromstring(result.xml), result.changes


def test_identity_and_disks_are_new() -> None:
    root, _ = fitted(domain("<interface type='user'><mac address='52:54:00:00:00:01'/></interface>"))
    assert (root.findtext("name"), root.findtext("uuid"), root.get("id")) == (TARGET.name, TARGET.uuid, None)
    source = root.find("./devices/disk/source")
    assert source is not None
    assert source.get("file") == "/new/vda.qcow2"
    assert root.find("./devices/disk/backingStore") is None, "a restored disk stands alone"
    mac = root.find("./devices/interface/mac")
    assert mac is not None
    assert mac.get("address") == TARGET.macs[0]


@given(
    st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), min_size=1, max_size=40)
)
def test_any_name_is_only_a_name(name: str) -> None:
    root, _ = fitted(domain(name=name), replace(TARGET, name=name))
    assert root.findtext("name") == name
    assert len(root.findall("name")) == 1


def test_networks_are_mapped_and_none_takes_the_link_down() -> None:
    xml = domain(
        "<interface type='network'><mac address='52:54:00:00:00:01'/><source network='lan'/></interface>"
        "<interface type='bridge'><mac address='52:54:00:00:00:02'/><source bridge='br0'/></interface>"
    )
    target = replace(TARGET, macs=("52:54:00:00:01:01", "52:54:00:00:01:02"), networks={"lan": "dmz", "br0": "none"})
    root, changes = fitted(xml, target)
    first, second = root.findall("./devices/interface")
    source = first.find("source")
    assert source is not None
    assert source.get("network") == "dmz"
    link = second.find("link")
    assert link is not None
    assert link.get("state") == "down"
    assert len(changes) >= 2


def test_host_devices_stay_behind_with_a_word() -> None:
    device = "<hostdev mode='subsystem' type='pci'><source><address domain='0' bus='1' slot='0' function='0'/></source></hostdev>"
    root, changes = fitted(domain(device))
    assert root.find("./devices/hostdev") is None
    assert any("hostdev" in text or "host device" in text for text in changes), changes
    kept, _ = fitted(domain(device), replace(TARGET, new_vm=False))
    assert kept.find("./devices/hostdev") is not None


def test_generation_id_of_a_copy_is_its_own() -> None:
    root, changes = fitted(domain(more="<genid>99999999-9999-4999-8999-999999999999</genid>"))
    assert not (root.findtext("genid") or "").startswith("9999")
    assert any("generation" in text for text in changes)


def test_firmware_variables_are_never_shared() -> None:
    os = "<type arch='x86_64' machine='q35'>hvm</type><loader type='pflash'>/f/code.fd</loader><nvram>/old/vars.fd</nvram>"
    without, changes = fitted(domain(os=os))
    assert without.find("./os/nvram") is None
    assert any("start anew" in text for text in changes)
    with_file, _ = fitted(domain(os=os), replace(TARGET, files={"nvram": "/new/vars.fd"}))
    assert with_file.findtext("./os/nvram") == "/new/vars.fd"


def test_what_belongs_to_a_running_domain_alone_goes() -> None:
    root, _ = fitted(
        domain("<controller type='usb'><alias name='usb'/></controller>", more="<seclabel type='dynamic'/>")
    )
    assert list(root.iter("alias")) == []
    assert list(root.iter("seclabel")) == []


def test_own_command_line_of_qemu_is_kept() -> None:
    root, _ = fitted(domain(more="<qemu:commandline><qemu:arg value='-foo'/></qemu:commandline>"))
    assert root.find("{http://libvirt.org/schemas/domain/qemu/1.0}commandline") is not None


@pytest.mark.parametrize("xml", ["", "<domain", "<!DOCTYPE x [<!ENTITY a 'b'>]><domain>&a;</domain>"])
def test_what_is_no_definition_is_an_error(xml: str) -> None:
    with pytest.raises(FailedError):
        fit(xml, TARGET)


def test_elements_that_the_target_dropped_are_listed() -> None:
    wanted = domain("<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>")
    assert missing_elements(wanted, wanted) == []
    assert any("rng" in text for text in missing_elements(wanted, domain()))


# -- firmware and media --------------------------------------------------------------------------


def test_variables_of_firmware_that_libvirt_chose_are_named() -> None:
    """Such a definition may name no file; without a name libvirt would make the variables anew."""
    xml = domain(os="<type>hvm</type>").replace("<os>", "<os firmware='efi'>")
    root, _ = fitted(xml, replace(TARGET, files={"nvram": "/new/copy_VARS.fd"}))
    assert root.findtext("./os/nvram") == "/new/copy_VARS.fd"


def test_loader_is_named_where_it_was_put() -> None:
    os = "<type>hvm</type><loader readonly='yes' type='pflash'>/gone/CODE.fd</loader><nvram>/old/VARS.fd</nvram>"
    root, _ = fitted(domain(os=os), replace(TARGET, files={"loader": "/new/CODE.fd", "nvram": "/new/VARS.fd"}))
    loader = root.find("./os/loader")
    assert loader is not None
    assert (loader.text, loader.get("type")) == ("/new/CODE.fd", "pflash")


def test_restored_medium_is_in_its_drive() -> None:
    drive = (
        "<disk type='volume' device='cdrom'><driver name='qemu' type='raw'/><source pool='iso' volume='seed.iso'/>"
        "<target dev='sda' bus='sata'/><readonly/></disk>"
    )
    root, changes = fitted(domain(drive), replace(TARGET, media={"sda": "/new/seed.iso"}))
    disk = root.find("./devices/disk[@device='cdrom']")
    assert disk is not None
    source = disk.find("source")
    assert source is not None
    assert (disk.get("type"), source.attrib) == ("file", {"file": "/new/seed.iso"})
    assert disk.find("readonly") is not None
    assert not any("taken out" in change for change in changes)


def test_a_block_device_that_took_scsi_commands_becomes_a_disk() -> None:
    lun = "<disk type='block' device='lun' rawio='yes' sgio='filtered'><driver name='qemu' type='raw'/>"
    lun += "<source dev='/dev/sdb'/><target dev='sda' bus='scsi'/></disk>"
    root, _ = fitted(domain(lun), replace(TARGET, disks={**TARGET.disks, "sda": ("/new/sda.qcow2", "qcow2")}))
    disk = root.findall("./devices/disk")[1]
    source = disk.find("source")
    assert source is not None
    assert (disk.get("type"), disk.get("device"), source.get("file")) == ("file", "disk", "/new/sda.qcow2")
    assert disk.get("rawio") is None
    assert disk.get("sgio") is None
