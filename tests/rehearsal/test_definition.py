"""Nothing of a point's definition that reaches beyond the rehearsal gets into it."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element, SubElement, fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmtui.model.ids import VmId
from vmtui.rehearsal.definition import Harmless, Stage, make_harmless
from vmtui.rehearsal.wire import wire_for

FOLDER = "/pool/vmtui-rehearsal-x"
DANGEROUS = """
<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>erp</name><uuid>11111111-2222-3333-4444-555555555555</uuid>
  <metadata><x xmlns='urn:secret'>SECRET</x></metadata>
  <memory unit='GiB'>8</memory><currentMemory unit='GiB'>8</currentMemory><maxMemory slots='4' unit='GiB'>16</maxMemory>
  <memoryBacking><hugepages/><source type='file'/><access mode='shared'/></memoryBacking>
  <vcpu placement='static' cpuset='0-3'>4</vcpu><resource><partition>/prod</partition></resource>
  <os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
    <loader readonly='no' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>
    <nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'>/prod/erp_VARS.fd</nvram>
    <acpi><table type='slic'>/prod/slic.dat</table></acpi><boot dev='hd'/></os>
  <features><acpi/></features>
  <cpu mode='host-model'><numa><cell id='0' memory='8' unit='GiB'/></numa></cpu>
  <seclabel type='none' model='apparmor'/>
  <sysinfo type='fwcfg'><entry name='opt/x' file='/prod/fwcfg'/></sysinfo>
  <on_crash>restart</on_crash>
  <devices>
    <emulator>/prod/qemu</emulator>
    <disk type='volume' device='disk'><driver name='qemu' type='raw' iothread='1'/><source pool='prod' volume='erp'/>
      <target dev='vda' bus='virtio'/><shareable/><serial>S1</serial><boot order='1'/>
      <address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/></disk>
    <disk type='block' device='lun'><source dev='/dev/prod/shared'/><target dev='sda' bus='scsi'/><shareable/></disk>
    <disk type='file' device='cdrom'><source file='/prod/x.iso'/><target dev='sdb' bus='sata'/></disk>
    <controller type='pci' index='0' model='pcie-root'/>
    <controller type='scsi' index='0' model='virtio-scsi'><driver iothread='1'/></controller>
    <filesystem type='mount'><source dir='/prod'/><target dir='x'/></filesystem>
    <interface type='bridge'><mac address='52:54:00:11:22:33'/><source bridge='br-prod'/><model type='e1000e'/>
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/></interface>
    <interface type='direct'><source dev='eth0' mode='bridge'/></interface>
    <serial type='file'><source path='/prod/serial.log'/></serial>
    <serial type='tcp'><source mode='connect' host='192.0.2.9' service='99'/></serial>
    <console type='file'><source path='/prod/console.log'/></console>
    <parallel type='dev'><source path='/dev/parport0'/></parallel>
    <channel type='unix'><source mode='connect' path='/prod/agent.sock'/>
      <target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>
    <channel type='file'><source path='/prod/channel'/><target type='virtio' name='other'/></channel>
    <input type='evdev'><source dev='/dev/input/event0'/></input><input type='tablet' bus='usb'/>
    <tpm model='tpm-tis'><backend type='passthrough'><device path='/dev/tpm0'/></backend></tpm>
    <graphics type='vnc' port='5900' listen='0.0.0.0'><listen type='address' address='0.0.0.0'/></graphics>
    <video><model type='qxl'/></video>
    <hostdev mode='subsystem' type='pci'><source><address domain='0' bus='1' slot='0' function='0'/></source></hostdev>
    <redirdev bus='usb' type='tcp'><source mode='connect' host='192.0.2.9' service='4000'/></redirdev>
    <rng model='virtio'><backend model='egd' type='tcp'><source mode='connect' host='192.0.2.9' service='1'/></backend></rng>
    <shmem name='prod'><model type='ivshmem-plain'/></shmem><vsock><cid auto='no' address='3'/></vsock>
    <watchdog model='itco' action='dump'/><memory model='nvdimm'><source><path>/prod/nv</path></source></memory>
    <memballoon model='virtio'/><invention type='new'><source file='/prod/new'/></invention>
  </devices>
  <qemu:commandline><qemu:arg value='-netdev'/><qemu:arg value='bridge,br=br-prod,id=p'/></qemu:commandline>
</domain>"""


SECRETS = ("prod", "SECRET", "192.0.2.9", "5900", "/dev/tpm0", "52:54:00:11:22:33", "1111", "evdev", "eth0")


def overlay(name: str) -> Element:
    disk = Element("disk", type="file")
    SubElement(disk, "driver", name="qemu", type="qcow2")
    SubElement(disk, "source", file=f"{FOLDER}/{name}.qcow2")
    return disk


def harmless(xml: str, *, isolated: bool = False, disks: tuple[str, ...] = ("vda",)) -> Harmless:
    wire = wire_for(fromstring(xml), "52:54:00:aa:bb:cc", (22,), "") if isolated else None
    stage = Stage(
        name="vmtui-rehearsal-x",
        uuid=VmId("99999999-2222-3333-4444-555555555555"),
        memory_kib=1 << 20,
        disks={name: overlay(name) for name in disks},
        files={"nvram": f"{FOLDER}/nvram.file"},
        console="/tmp/s/console",
        wire=wire,
    )
    return make_harmless(xml, stage)


def words(element: Element) -> Iterator[str]:
    """All names and values in a definition."""
    for item in element.iter():
        yield item.tag
        yield item.text or ""
        yield from item.attrib
        yield from item.attrib.values()


@pytest.mark.parametrize("isolated", [False, True])
def test_nothing_of_the_production_is_left(isolated: bool) -> None:
    result = harmless(DANGEROUS, isolated=isolated)
    text = " ".join(words(fromstring(result.xml)))
    for secret in SECRETS:
        assert secret not in text, result.xml
    for tag in ("hostdev", "interface", "graphics", "filesystem", "shmem", "vsock", "redirdev", "seclabel", "emulator"):
        assert fromstring(result.xml).find(f".//{tag}") is None
    assert any("host device" in item for item in result.untested)
    assert any("sda" in item for item in result.untested)


def test_what_makes_it_the_same_machine_is_kept() -> None:
    root = fromstring(harmless(DANGEROUS).xml)
    disk = root.find("./devices/disk[@device='disk']")
    assert disk is not None
    assert disk.find("source").attrib == {"file": f"{FOLDER}/vda.qcow2"}  # type: ignore[union-attr]
    assert disk.findtext("serial") == "S1" and disk.find("boot").get("order") == "1"  # type: ignore[union-attr]
    assert disk.find("address").get("bus") == "0x04" and disk.find("shareable") is None  # type: ignore[union-attr]
    assert root.find("./os/type").get("machine") == "pc-q35-7.2"  # type: ignore[union-attr]
    loader = root.find("./os/loader")
    assert loader is not None and loader.get("readonly") == "yes"
    assert root.findtext("./os/nvram") == f"{FOLDER}/nvram.file"
    assert root.find("./cpu").get("mode") == "host-model"  # type: ignore[union-attr]
    assert root.findtext("on_crash") == "preserve" and root.find("./devices/panic") is not None
    assert [item.get("name") for item in root.findall("./devices/channel/target")] == ["org.qemu.guest_agent.0"]
    (agent,) = root.findall("./devices/channel/source")
    assert (agent.get("mode"), agent.get("path")) == ("bind", "/tmp/s/agent")
    assert root.find("./devices/video/model").get("type") == "vga"  # type: ignore[union-attr]
    assert root.findtext("vcpu") == "4" and root.findtext("memory") == str(1 << 20)


def test_the_isolated_interface_stands_where_the_first_one_stood() -> None:
    root = fromstring(harmless(DANGEROUS, isolated=True).xml)
    arguments = [str(item.get("value")) for item in root.iter("{http://libvirt.org/schemas/domain/qemu/1.0}arg")]
    assert arguments == [
        "-netdev",
        "user,id=rehearsal,restrict=on,hostfwd=tcp:127.0.0.1:0-:22",
        "-device",
        '{"driver": "e1000e", "netdev": "rehearsal", "mac": "52:54:00:aa:bb:cc", "bus": "pci.1", "addr": "0x0.0x0"}',
    ]


@given(
    tag=st.sampled_from(["disk", "console", "controller", "invention", "channel", "video", "input", "tpm", "rng"]),
    kind=st.sampled_from(["file", "block", "network", "tcp", "unix", "passthrough", "emulator", "x"]),
    name=st.sampled_from(["source", "backend", "driver", "model", "target", "address", "invention"]),
    attribute=st.sampled_from(["file", "dev", "path", "host", "dir", "script", "rendernode"]),
)
def test_no_file_of_a_device_gets_through(tag: str, kind: str, name: str, attribute: str) -> None:
    xml = (
        "<domain type='qemu'><name>x</name><memory>1</memory><os><type>hvm</type></os><devices>"
        f"<{tag} type='{kind}'><{name} type='{kind}'><inner {attribute}='/prod/deep'/></{name}>"
        f"<source {attribute}='/prod/file'/></{tag}></devices></domain>"
    )
    assert "/prod/" not in harmless(xml, disks=()).xml
