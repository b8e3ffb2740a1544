"""What a restore of a host's parts would do."""

from __future__ import annotations

import pytest

from tests.hostpoint.test_diff import NETWORK, part, state
from vmtui.hostpoint.bring_back import networks_of
from vmtui.hostpoint.plan import Action, HostPlan, HostRestoreRequest, make_plan, with_uuid
from vmtui.model.errors import UsageError
from vmtui.model.hostpoint import HostState, Part, PartKind
from vmtui.model.ids import PointId, VmId
from vmtui.model.point import LeftOut

LAN = part(PartKind.NETWORK, "lan", NETWORK, active=True, autostart=True, facts={"uuid": "u"})
POOL_XML = b"<pool type='dir'><name>images</name><uuid>p</uuid><target><path>/images</path></target></pool>"
POOL = part(PartKind.POOL, "images", POOL_XML, active=True, autostart=True, facts={"uuid": "p"})


def filter_of(name: str, *refers: str) -> Part:
    refs = "".join(f"<filterref filter='{other}'/>" for other in refers)
    xml = f"<filter name='{name}'><uuid>{name}</uuid>{refs}</filter>".encode()
    return part(PartKind.NWFILTER, name, xml, facts={"uuid": name})


def plan(point: HostState, live: HostState, *, only: tuple[str, ...] = (), replace: tuple[str, ...] = ()) -> HostPlan:
    return make_plan(HostRestoreRequest("north", VmId("v"), PointId("p"), only, replace), point, live)


def actions(found: HostPlan) -> dict[str, Action]:
    return {item.title: item.action for item in found.parts}


def test_the_order_is_secrets_filters_networks_pools() -> None:
    secret = part(PartKind.SECRET, "s", b"<secret><uuid>s</uuid></secret>", facts={"uuid": "s", "usage": "volume /x"})
    filters = [filter_of("a", "z"), filter_of("m", "a"), filter_of("z")]
    found = plan(state(POOL, LAN, *filters, secret), state())
    assert [item.title for item in found.parts] == [
        "secret:s",
        "nwfilter:z",
        "nwfilter:a",
        "nwfilter:m",
        "network:lan",
        "pool:images",
    ]
    assert set(actions(found).values()) == {Action.CREATE}
    assert "without its value" in found.parts[0].detail


def test_filters_that_refer_to_each_other_do_not_go_round_for_ever() -> None:
    found = plan(state(filter_of("a", "b"), filter_of("b", "a")), state())
    assert {item.name for item in found.parts} == {"a", "b"}


def test_what_is_there_is_left() -> None:
    other = part(PartKind.NETWORK, "lan", NETWORK.replace(b"10.0.0.1", b"10.9.9.9"), active=True, autostart=True)
    assert actions(plan(state(LAN), state(LAN))) == {"network:lan": Action.SAME}
    assert actions(plan(state(LAN), state(other))) == {"network:lan": Action.CONFLICT}
    assert actions(plan(state(LAN), state(other), replace=("network:lan",))) == {"network:lan": Action.REPLACE}


def test_only_a_switch_is_set_where_the_definition_is_right() -> None:
    off = part(PartKind.NETWORK, "lan", NETWORK, active=False, autostart=True, facts={"uuid": "u"})
    (line,) = plan(state(LAN), state(off)).parts
    assert (line.action, line.start) == (Action.SWITCH, True)
    (line,) = plan(state(off), state(LAN)).parts
    assert (line.action, line.start) == (Action.SAME, False), "nothing is ever stopped"


@pytest.mark.parametrize(
    ("mine", "theirs", "word"),
    [
        (LAN, part(PartKind.NETWORK, "other", b"<network/>", facts={"uuid": "u"}), "has its UUID"),
        (POOL, part(PartKind.POOL, "other", POOL_XML, facts={"uuid": "q"}), "is at /images"),
        (
            part(PartKind.NETWORK, "lan", b"<network><bridge name='virbr7'/></network>", facts={"uuid": "1"}),
            part(PartKind.NETWORK, "other", b"<network><bridge name='virbr7'/></network>", facts={"uuid": "2"}),
            "has the bridge virbr7",
        ),
    ],
)
def test_what_libvirt_would_refuse_is_told_before(mine: Part, theirs: Part, word: str) -> None:
    (line,) = plan(state(mine), state(theirs)).parts
    assert line.action is Action.CONFLICT
    assert word in line.detail


def test_a_filter_that_is_missing_is_told() -> None:
    (line,) = plan(state(filter_of("a", "gone")), state()).parts
    assert line.action is Action.CONFLICT
    assert "gone" in line.detail


def test_a_host_that_does_not_tell_gets_nothing() -> None:
    blind = state(left_out=(LeftOut("every network", "no driver"),))
    assert actions(plan(state(LAN), blind)) == {"network:lan": Action.CONFLICT}


@pytest.mark.parametrize("wrong", ["network:none", "file:/etc/x", "lan"])
def test_names_are_checked(wrong: str) -> None:
    with pytest.raises(UsageError):
        plan(state(LAN), state(), only=(wrong,))


def test_a_replacement_takes_the_uuid_of_what_it_replaces() -> None:
    assert "<uuid>new</uuid>" in with_uuid(NETWORK.decode(), "new")


def test_ranges_of_a_network() -> None:
    four, six = "<ip address='10.1.2.3' netmask='255.255.255.0'/>", "<ip address='fd00::1' prefix='64'/>"
    found = networks_of(f"<network>{four}{six}<ip address='x'/></network>")
    assert [str(item) for item in found] == ["10.1.2.0/24", "fd00::/64"]


SECRET = part(PartKind.SECRET, "s", b"<secret><uuid>s</uuid></secret>", facts={"uuid": "s", "usage": "volume /x"})


def value(text: bytes) -> Part:
    return part(PartKind.SECRET_VALUE, "s", text)


@pytest.mark.parametrize(
    ("live", "replace", "action", "words"),
    [
        (state(SECRET, value(b"one")), (), Action.SAME, "as in the point"),
        (state(SECRET), (), Action.SWITCH, "its value is missing"),
        (state(SECRET, value(b"two")), (), Action.CONFLICT, "--replace secret:s"),
        (state(SECRET, value(b"two")), ("secret:s",), Action.REPLACE, "is set"),
        (state(SECRET, left_out=(LeftOut("secret value s", "it is private"),)), (), Action.SAME, "it is private"),
    ],
)
def test_a_secret_is_only_as_in_the_point_with_its_value(
    live: HostState, replace: tuple[str, ...], action: Action, words: str
) -> None:
    (found,) = plan(state(SECRET, value(b"one")), live, only=("secret:s",), replace=replace).parts
    assert (found.action, words in found.detail) == (action, True), found
    assert "one" not in found.detail.replace("another one", "")
