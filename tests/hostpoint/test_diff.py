"""What counts as a difference, and what never comes out of a comparison."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any
from xml.etree.ElementTree import Element, tostring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmtui.hostpoint.canonical import canonical, digest
from vmtui.hostpoint.diff import What, compare
from vmtui.hostpoint.hiding import HIDDEN, shown
from vmtui.model.hostpoint import Entry, HostState, Part, PartKind
from vmtui.model.point import LeftOut

NOW = datetime(2026, 1, 2, tzinfo=UTC)
NETWORK = (
    b"<network connections='3'><name>lan</name><uuid>u</uuid><ip address='10.0.0.1' netmask='255.0.0.0'/></network>"
)


def part(kind: PartKind, name: str, content: bytes = b"", **entry: Any) -> Part:
    return Part(Entry(kind, name, digest(kind, content), bool(content), **entry), content)


def state(*parts: Part, left_out: tuple[LeftOut, ...] = ()) -> HostState:
    return HostState("north", NOW, {item.key: item for item in parts}, left_out)


# -- canonical form ------------------------------------------------------------------------------

NAMES = st.sampled_from(["ip", "mac", "name", "forward", "a", "b"])
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=["Cs", "Cc"]), max_size=8)


@st.composite
def elements(draw: st.DrawFn, depth: int = 2) -> Element:
    """A small tree; texts are not blank at their ends, as libvirt's are not."""
    element = Element(draw(NAMES), draw(st.dictionaries(NAMES, VALUES, max_size=3)))
    children = draw(st.lists(elements(depth=depth - 1), max_size=3)) if depth else []
    element.extend(children)
    if not children:
        element.text = draw(VALUES).strip() or None
    return element


def shaken(element: Element, chance: random.Random) -> Element:
    """The same with attributes in another order and other blanks between elements."""
    attributes = list(element.attrib.items())
    chance.shuffle(attributes)
    other = Element(element.tag, dict(attributes))
    other.text = element.text if len(element) == 0 else chance.choice(["\n  ", " ", ""])
    for child in element:
        copy = shaken(child, chance)
        copy.tail = chance.choice(["\n", "\t", ""])
        other.append(copy)
    return other


def plain(element: Element) -> object:
    return element.tag, sorted(element.attrib.items()), element.text or "", [plain(child) for child in element]


@given(elements(), st.integers())
def test_order_of_attributes_and_blanks_do_not_count(tree: Element, seed: int) -> None:
    root = Element("network")
    root.append(tree)
    one, two = tostring(root), tostring(shaken(root, random.Random(seed)))
    assert canonical(PartKind.NETWORK, one) == canonical(PartKind.NETWORK, two)


@given(elements(), elements())
def test_trees_that_differ_have_different_forms(one: Element, two: Element) -> None:
    first, second = (canonical(PartKind.NWFILTER, tostring(item)) for item in (one, two))
    assert (first == second) == (plain(one) == plain(two))


@given(elements())
def test_the_canonical_form_is_its_own(tree: Element) -> None:
    once = canonical(PartKind.NWFILTER, tostring(tree))
    assert canonical(PartKind.NWFILTER, once.encode()) == once


@pytest.mark.parametrize(
    ("kind", "one", "two"),
    [
        (PartKind.NETWORK, "<network connections='2'><name>a</name></network>", "<network><name>a</name></network>"),
        (PartKind.POOL, "<pool><capacity>1</capacity><available>9</available><name>a</name></pool>", "<pool><capacity>2</capacity><name>a</name></pool>"),
        (PartKind.INTERFACE, "<interface name='br0'><bridge><interface name='vnet3'/></bridge><link state='up'/></interface>", "<interface name='br0'><bridge/><link state='down'/></interface>"),
        (PartKind.NODE_DEVICE, "<device><name>p</name><driver><name>vfio-pci</name></driver></device>", "<device><name>p</name></device>"),
        (PartKind.RECORD, "<capabilities><host><cpu><counter frequency='1'/></cpu></host></capabilities>", "<capabilities><host><cpu><counter frequency='2'/></cpu></host></capabilities>"),
    ],
)  # fmt: skip
def test_what_changes_by_itself_does_not_count(kind: PartKind, one: str, two: str) -> None:
    assert canonical(kind, one.encode()) == canonical(kind, two.encode())
    assert digest(kind, one.encode()) == digest(kind, two.encode())


def test_broken_xml_is_compared_as_text() -> None:
    assert canonical(PartKind.NETWORK, b"<network") == "<network"


# -- comparing -----------------------------------------------------------------------------------


def test_nothing_differs_from_itself() -> None:
    package = part(PartKind.PACKAGE, "qemu", facts={"version": "1"})
    whole = state(part(PartKind.NETWORK, "lan", NETWORK, active=True), package)
    assert compare(whole, whole) == ()


def test_added_removed_and_changed() -> None:
    before = state(
        part(PartKind.NETWORK, "lan", NETWORK, active=True, autostart=False),
        part(PartKind.NWFILTER, "old", b"<filter/>"),
        part(PartKind.PACKAGE, "qemu", facts={"version": "1"}),
    )
    after = state(
        part(PartKind.NETWORK, "lan", NETWORK.replace(b"10.0.0.1", b"10.0.0.2"), active=True, autostart=True),
        part(PartKind.POOL, "new", b"<pool/>"),
        part(PartKind.PACKAGE, "qemu", facts={"version": "2"}),
    )
    changes = {item.title: item for item in compare(before, after)}
    assert {name: item.what for name, item in changes.items()} == {
        "network lan": What.CHANGED,
        "nwfilter old": What.REMOVED,
        "pool new": What.ADDED,
        "package qemu": What.CHANGED,
    }
    assert changes["network lan"].details == ("autostart: no, now yes",)
    assert [line for line in changes["network lan"].lines if line[0] in "+-"] == [
        '-  <ip address="10.0.0.1" netmask="255.0.0.0"/>',
        '+  <ip address="10.0.0.2" netmask="255.0.0.0"/>',
    ]
    assert changes["package qemu"].details == ("version: 1, now 2",)


def test_what_could_not_be_read_is_not_called_removed() -> None:
    before = state(part(PartKind.FILE, "/etc/netplan/a/b", b"x"), part(PartKind.NETWORK, "lan", NETWORK))
    blind = (LeftOut("/etc/netplan", "this login may not read it"), LeftOut("every network", "no driver"))
    after = state(left_out=blind)
    assert {item.what for item in compare(before, after)} == {What.UNREADABLE}
    assert {item.what for item in compare(after, before)} == {What.UNREADABLE}


# -- passwords -----------------------------------------------------------------------------------

KEYS = ["password", "vnc_password", "psk", "wpa-psk", "PrivateKey", "leap-password", "secret", "wep-key0", "passphrase", "api_key", "key", "shared", "wpa-passphrase", "802-1x.password", "PresharedKey"]  # fmt: skip
ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGH23456789$%&!/=:' \""
SECRETS = st.text(ALPHABET, min_size=6, max_size=24).map(lambda text: f"Zq{text}qZ")
SIGNS = st.sampled_from(["=", " = ", ": ", ":", "= ", " "])


@given(st.sampled_from(KEYS), SECRETS, SIGNS, st.sampled_from(["", "  ", "\t", "#", "# "]))
def test_a_password_is_never_shown(key: str, secret: str, sign: str, indent: str) -> None:
    if indent.startswith("#") and sign.isspace():
        sign = "="  # without a sign a comment is prose
    text = f"{indent}name{sign}value\n{indent}{key}{sign}{secret}\n"
    clean = shown(text.encode())
    assert "Zq" not in clean.content.decode()
    assert clean.hidden == 1 or clean.refused


@pytest.mark.parametrize(
    "text",
    [
        b"[vpn-secrets]\nanything=Zqx\n",
        b"wifi: {ssid: home, password: Zqx}\n",
        b"password: |\n  Zqx\n",
        b"auth:\n  password:\n    Zqx\n",
        b"-----BEGIN RSA PRIVATE KEY-----\nZqx\n-----END RSA PRIVATE KEY-----\n",
        b"-----BEGIN PGP PRIVATE KEY BLOCK-----\nZqx\n",
        b"-----BEGIN OpenVPN Static key V1-----\nZqx\n",
        b"[802-1x]\nmka-cak=Zqx\n",
        b"#    wpa-psk Zqx\n",
        b"<user><password>Zqx</password></user>\n",
        b"\x00\x01Zqx",
        b"\xff\xfeZqx",
        b"x" * 5000 + b"password=Zqx",
    ],
)
def test_hidden_or_not_kept_at_all(text: bytes) -> None:
    assert b"Zqx" not in shown(text).content


def test_what_is_no_password_stays() -> None:
    text = b"max_clients = 20\n# passes values on\n# password of the guest\naddress 10.0.0.1/24\nbridge_ports eth0\nvnc_tls = 1\nid=lan\n"
    assert shown(text).content == text


def test_a_changed_password_is_told_without_it() -> None:
    before = state(part(PartKind.FILE, "/etc/x", b"a=1\npassword=one\n"), part(PartKind.SECRET_VALUE, "u", b"one"))
    after = state(part(PartKind.FILE, "/etc/x", b"a=1\npassword=two\n"), part(PartKind.SECRET_VALUE, "u", b"two"))
    changes = compare(before, after)
    assert [item.title for item in changes] == ["secret value u", "file /etc/x"]
    assert all(not item.lines and "not shown" in item.details[0] for item in changes)
    mixed = compare(before, state(part(PartKind.FILE, "/etc/x", b"a=2\npassword=two\n")))
    (file,) = [item for item in mixed if item.kind is PartKind.FILE]
    assert [line for line in file.lines if line[0] in "+-"] == ["-a=1", "+a=2"]
    assert f" password={HIDDEN}" in file.lines
