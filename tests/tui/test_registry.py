"""One registry: keys, footer, help, palette, docs, and a command line for everything that changes something."""

from __future__ import annotations

import shlex

import click
import pytest

from vmtui.cli.main import hoist
from vmtui.cli.main import vmtui as program
from vmtui.tui.screens.base import TABS
from vmtui.tui.verbs.all import REGISTRY
from vmtui.tui.verbs.registry import Command, Danger, Focus, Registry, fill
from vmtui.tui.verbs.typed import VERBS

NEVER_BOUND = {"ctrl+s", "ctrl+b", "ctrl+a", "ctrl+m", "ctrl+i", "ctrl+j", "ctrl+h", "ctrl+z", "f10", "f11"}
EXAMPLES = {
    "ADDRESS": "root@kvm1",
    "ID": "vm.never",
}


def parses(line: str) -> None:
    """The command exists, and takes these words; nothing is run."""
    words = [EXAMPLES.get(word, word) for word in hoist(shlex.split(line)[1:])]
    command: click.Command = program
    context = click.Context(program, info_name="vmtui")
    while isinstance(command, click.Group) and words:
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"{line}: there is no {name}"
        command = found
        context = click.Context(command, parent=context, info_name=name)
    command.make_context(command.name, words, parent=context.parent)


def test_every_twin_exists_and_parses() -> None:
    twins = [command.twin for command in REGISTRY.commands if command.twin]
    assert len(twins) > 15
    for twin in twins:
        parses(fill(twin, Focus("vms")))


def test_a_twin_that_does_not_exist_is_noticed() -> None:
    for bad in ("vmtui nothing", "vmtui backup", "vmtui job nothing x", "vmtui backup x --mode warm"):
        with pytest.raises((AssertionError, click.ClickException)):
            parses(bad)


@pytest.mark.parametrize(
    "command", [item for item in REGISTRY.commands if item.danger is not Danger.NONE], ids=lambda item: item.id
)
def test_everything_that_changes_something_has_a_twin(command: Command) -> None:
    assert command.twin


def test_every_view_has_a_twin() -> None:
    for view, _, _ in TABS:
        assert REGISTRY.by_id[f"view.{view}"].twin


def test_no_key_is_dead_or_taken_by_terminals() -> None:
    keys = {key for command in REGISTRY.commands for key in command.keys}
    assert not keys & NEVER_BOUND
    assert "7" not in keys


def test_capitals_change_nothing() -> None:
    for command in REGISTRY.commands:
        if any(len(key) == 1 and key.isupper() for key in command.keys):
            assert command.danger is Danger.NONE


def test_two_commands_never_share_a_key_in_a_view() -> None:
    one = Command("one", ("x",), "One", "", lambda *_: None, views=("vms",))
    with pytest.raises(ValueError, match="same key"):
        Registry([one, Command("two", ("x",), "Two", "", lambda *_: None)])
    Registry([one, Command("two", ("x",), "Two", "", lambda *_: None, views=("jobs",))])


def test_names_are_quoted_in_command_lines() -> None:
    from pathlib import Path

    from tests.support.pictures import NOW, example, settings
    from vmtui.model.vm import DomainState, Vm
    from vmtui.overview.vms import vm_rows

    assert example().hosts
    vm = Vm("kvm1", "$(rm -rf /) 'x'", "u", DomainState.RUNNING)  # type: ignore[arg-type]
    rows = vm_rows(settings(Path("/tmp")), [vm], {}, {}, NOW)  # never written to
    line = REGISTRY.by_id["backup.start"].command_line(Focus("vms", vms=tuple(rows)))
    assert shlex.split(line) == ["vmtui", "backup", "kvm1/$(rm -rf /) 'x'"]


def test_typed_verbs_are_those_of_the_command_line() -> None:
    own = {"readonly", "theme", "w", "help", "quit"}
    assert set(VERBS) - own <= set(program.commands)
