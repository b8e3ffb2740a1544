from __future__ import annotations

from pathlib import Path

import pytest

from vmtui.config import load, parse
from vmtui.model.errors import UsageError
from vmtui.model.point import Mode
from vmtui.model.policy import KeepRule, Rule, Tier

PATH = Path("/etc/vmtui/config.toml")
TOP = 'repository = "file:///srv/r"\n'
TWO_TIERS = '[tiers.gold]\nrpo = "1h"\n[tiers.standard]\nrpo = "24h"\n'


def test_the_example_loads() -> None:
    settings = load(Path(__file__).parents[2] / "config.example.toml")
    assert settings.hosts
    assert settings.tiers[settings.default_tier].rpo_s == 86400


def test_a_small_file_gets_its_defaults() -> None:
    settings = parse(TOP, PATH)
    assert settings.repository == "file:///srv/r"
    assert settings.default_tier == "standard"
    assert settings.known_hosts == PATH.parent / "known_hosts"


def test_a_whole_file_is_read() -> None:
    text = f"""{TOP}state = "s"
default_tier = "standard"
[hosts.a]
address = "10.0.0.1"
port = 2222
jump = "b"
scratch_reserve = "1GiB"
shutdown = "1m30s"
deadline = 5
[hosts.b]
{TWO_TIERS}rto = "30m"
mode = "cold"
[[rules]]
vm = "ci-*"
exempt = "rebuilt"
[[rules]]
host = "a"
tier = "gold"
"""
    settings = parse(text, PATH)
    host = settings.hosts["a"]
    assert (host.port, host.jump, host.shutdown_s, host.deadline_s) == (2222, "b", 90.0, 5.0)
    assert host.scratch_reserve_bytes == 1 << 30
    assert settings.state == PATH.parent / "s"
    assert settings.tiers["standard"] == Tier("standard", 86400, 1800, Mode.COLD)
    assert settings.rules == (Rule(vm="ci-*", exempt="rebuilt"), Rule(host="a", tier="gold"))


@pytest.mark.parametrize(
    "text",
    [
        '[tiers.a]\nrpo = "1h"\n[tiers.a.keep]\nlast = 3\ndaily = 7\nwithin = "48h"',
        '[tiers.a]\nrpo = "1h"\nkeep = {last = 3, daily = 7, within = "2d"}',
    ],
)
def test_a_tier_says_what_is_kept(text: str) -> None:
    assert parse(TOP + text, PATH).tiers["a"].keep == KeepRule(last=3, daily=7, within_s=172800)


def test_without_a_word_everything_is_kept() -> None:
    assert parse(TOP, PATH).tiers["standard"].keep.empty
    assert parse(TOP + '[tiers.a]\nrpo = "1h"\n[tiers.a.keep]', PATH).tiers["a"].keep.empty


@pytest.mark.parametrize(
    "url",
    [
        "file:///srv/r",
        "sftp://vault/srv/r",
        "s3:/bucket/path",
        "s3:profile@https://s3.example.org:9000/bucket/a/path",
        "s3:ID:se%2Fcret@http://127.0.0.1:9000/bucket/path",
        "b2:ID:secret@https://s3.example.org/bucket/path",
        "rclone:remote:path/below",
        "rclone:/srv/r",
        "rest:https://me@server:5618",
        "https://me:secret@server/below",
    ],
)
def test_every_kind_of_store_has_its_address(url: str) -> None:
    settings = parse(f'repository = "{url}"\n[hosts.vault]\nlibvirt = false\n[hosts.kvm1]\n', PATH)
    assert settings.repository == url
    assert set(settings.hypervisors) == {"kvm1"}


@pytest.mark.parametrize(
    "url",
    [
        "s3:ID:hidden@https://s3/bucket",
        "s3:ID:hid/den:x@y@https://s3/bucket",
        "rest:https://me:hidden@",
        "https://me:hidden@x/?a",
        "sftp://me:hidden@host/x",
        "ftp://me:hidden@host/x",
        "rclone:,secret_access_key=hidden",
    ],
)
def test_a_wrong_address_is_told_without_its_secret(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(f'repository = "{url}"', PATH)
    told = str(caught.value.to_json())
    assert "hid" not in told
    assert "***" in told


KEEP = '[tiers.gold]\nrpo = "1h"\n'
WRONG = {
    "keep is no table": (TOP + KEEP + "keep = 7", "tiers.gold.keep", "a table is needed"),
    "keep key": (TOP + KEEP + "keep = {dayly = 7}", "tiers.gold.keep.dayly", "did you mean 'daily'?"),
    "keep nothing": (TOP + KEEP + "keep = {daily = 0}", "tiers.gold.keep.daily", "1 or more"),
    "keep less": (TOP + KEEP + "keep = {last = -1}", "tiers.gold.keep.last", "1 or more"),
    "keep true": (TOP + KEEP + "keep = {last = true}", "tiers.gold.keep.last", "int is needed"),
    "keep text": (TOP + KEEP + 'keep = {last = "3"}', "tiers.gold.keep.last", "int is needed"),
    "keep within": (TOP + KEEP + "keep = {within = 48}", "tiers.gold.keep.within", "str is needed"),
    "keep within what": (TOP + KEEP + 'keep = {within = "2 days"}', "tiers.gold.keep.within", "'4h'"),
    "unknown key": (TOP + "red_only = true", "red_only", "did you mean 'read_only'?"),
    "mistyped required key": ('repositry = "file:///x"', "repository", "repositry"),
    "no repository": ("", "repository", "is missing"),
    "wrong type": (TOP + 'read_only = "yes"', "read_only", "bool is needed"),
    "text is needed": ("repository = 5", "repository", "str is needed"),
    "other store": ('repository = "ftp://x"', "repository", "file:///"),
    "no folder of a host": ('repository = "sftp://x"', "repository", "sftp://HOST/absolute/folder"),
    "a login in sftp": ('repository = "sftp://me@x/srv"', "repository", "[hosts.HOST]"),
    "sftp to nowhere": ('repository = "sftp://vaut/srv/r"\n[hosts.vault]', "repository", "did you mean 'vault'?"),
    "bucket without a path": ('repository = "s3:https://x/bucket"', "repository", "/bucket/path"),
    "rclone without a remote": ('repository = "rclone:path"', "repository", "REMOTE:path"),
    "rest without a server": ('repository = "rest:///srv"', "repository", "rest:https://"),
    "password command of the repository": (
        TOP + 'repository_password_command = "pass"',
        "repository_password_command",
        "list is needed",
    ),
    "two slashes": ('repository = "file://x"', "repository", "three slashes"),
    "unknown home": (TOP + 'state = "~nobody-of-that-name/x"', "state", ""),
    "unknown home of a key": (TOP + '[hosts.a]\nkey = "~nobody-of-that-name/x"', "hosts.a.key", ""),
    "level": (TOP + "compression_level = 20", "compression_level", "1 to 19"),
    "host key": (TOP + "[hosts.a]\nadress = 'x'", "hosts.a.adress", "did you mean 'address'?"),
    "host is no table": (TOP + "hosts = 5", "hosts", "a table is needed"),
    "host name": (TOP + '[hosts."a b"]', "hosts.a b", "a host's name"),
    "port": (TOP + "[hosts.a]\nport = 70000", "hosts.a.port", "65535"),
    "port is true": (TOP + "[hosts.a]\nport = true", "hosts.a.port", "int is needed"),
    "jobs": (TOP + "[hosts.a]\njobs = 0", "hosts.a.jobs", "1 or more"),
    "deadline": (TOP + "[hosts.a]\ndeadline = nan", "hosts.a.deadline", "seconds"),
    "huge deadline": (TOP + f"[hosts.a]\ndeadline = 1{'0' * 400}", "hosts.a.deadline", ""),
    "huge shutdown": (TOP + f'[hosts.a]\nshutdown = "1{"0" * 400}s"', "hosts.a.shutdown", ""),
    "uri": (TOP + '[hosts.a]\nuri = "qemu+ssh://x/system"', "hosts.a.uri", "local URI"),
    "socket": (TOP + '[hosts.a]\nsocket = "run/x"', "hosts.a.socket", "absolute path"),
    "reserve": (TOP + '[hosts.a]\nscratch_reserve = "lots"', "hosts.a.scratch_reserve", "'256M'"),
    "password command": (TOP + "[hosts.a]\npassword_command = [1]", "hosts.a.password_command", "list of texts"),
    "jump to nowhere": (TOP + '[hosts.north]\n[hosts.a]\njump = "nort"', "hosts.a.jump", "did you mean 'north'?"),
    "jump to itself": (TOP + '[hosts.a]\njump = "a"', "hosts.a.jump", "directly"),
    "jump over a jump": (TOP + '[hosts.c]\n[hosts.b]\njump="c"\n[hosts.a]\njump="b"', "hosts.a.jump", "directly"),
    "no rpo": (TOP + "[tiers.gold]", "tiers.gold.rpo", "is missing"),
    "duration": (TOP + '[tiers.gold]\nrpo = "soon"', "tiers.gold.rpo", "'4h'"),
    "mode": (TOP + '[tiers.gold]\nrpo = "1h"\nmode = "hott"', "tiers.gold.mode", "did you mean 'hot'?"),
    "no default": (TOP + TWO_TIERS, "default_tier", "is needed"),
    "default": (TOP + 'default_tier = "gould"\n' + TWO_TIERS, "default_tier", "did you mean 'gold'?"),
    "rule without": (TOP + "[[rules]]\nvm = 'x'", "rules[0].tier", "either"),
    "rule with both": (TOP + "[[rules]]\ntier = 'standard'\nexempt = 'x'", "rules[0].tier", "either"),
    "rule tier": (TOP + "[[rules]]\ntier = 'standart'", "rules[0].tier", "did you mean 'standard'?"),
    "rule reason": (TOP + "[[rules]]\nexempt = '  '", "rules[0].exempt", "reason"),
    "rule key": (TOP + "[[rules]]\nexempt = 'x'\nhosts = 'y'", "rules[0].hosts", "did you mean 'host'?"),
    "rules are no list": (TOP + "[rules]\nvm = 'x'", "rules", "list is needed"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_named_with_file_key_and_remedy(name: str) -> None:
    text, key, remedy = WRONG[name]
    with pytest.raises(UsageError) as caught:
        parse(text, PATH)
    assert caught.value.id == "CONFIG-INVALID"
    assert f"{PATH}: {key}: " in caught.value.cause
    assert remedy in caught.value.cause


@pytest.mark.parametrize("content", [b"a = ", b"\xff", b"a = 1\na = 2"])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.toml").write_bytes(content)
    with pytest.raises(UsageError) as caught:
        load(tmp_path / "c.toml")
    assert caught.value.id == "CONFIG-INVALID"
    assert str(tmp_path / "c.toml") in caught.value.cause


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path / "none.toml")
    assert caught.value.id == "CONFIG-MISSING"
