"""The program's entry: global options, exit codes, and the one place where errors end."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import click

from vmtui import __version__, config
from vmtui.cli import (
    backup,
    explain,
    files,
    host_points,
    hosts,
    jobs,
    key,
    lab,
    points,
    prune,
    rehearse,
    repo,
    restore,
    screens,
    upkeep,
)
from vmtui.cli.output import Output
from vmtui.cli.shared import Cli
from vmtui.model.errors import ExitCode, FailedError, VmtuiError

_FLAGS = ("--json", "--quiet", "--read-only")
_VALUED = ("--config",)
_INTERRUPTED = 130
"""What shells answer for a program ended by ctrl+c; jobs go on."""

_EPILOG = """
Exit codes: 0 done; 1 failed; 2 usage or configuration; 3 damaged or missing data; 4 host or repository
unreachable; 5 refused; 6 cancelled; 7 a VM is breached or was never backed up (vms --check).
"""


@click.group(
    epilog=_EPILOG,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="vmtui")
@click.option("--config", "path", type=click.Path(path_type=Path), default=None, help="Configuration file.")
@click.option("--read-only", is_flag=True, help="Refuse everything that changes something.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, for programs.")
@click.option("--quiet", is_flag=True, help="No narration on stderr.")
@click.option("--ascii", "ascii_only", is_flag=True, help="Screens: draw with ASCII alone.")
@click.option("--slow", is_flag=True, help="Screens: for slow links, once a second.")
@click.option("--no-mouse", is_flag=True, help="Screens: leave the mouse to the terminal.")
@click.pass_context
def vmtui(
    context: click.Context,
    path: Path | None,
    read_only: bool,
    as_json: bool,
    quiet: bool,
    ascii_only: bool,
    slow: bool,
    no_mouse: bool,
) -> None:
    """Back up and restore libvirt/KVM virtual machines, over SSH alone.

    Without a command it opens the screens. The first four options may stand anywhere in the command line.
    """
    context.obj = Cli(Output(as_json=as_json, quiet=quiet), path or config.default_path(), read_only)
    if context.invoked_subcommand is None:
        from vmtui.tui.start import open_screens

        farewell = open_screens(context.obj.settings, ascii_only=ascii_only, slow=slow, mouse=not no_mouse)
        if farewell:
            context.obj.output.text(farewell)


for _command in (
    screens.pulse,
    hosts.hosts,
    hosts.vms,
    host_points.group,
    points.points,
    points.show,
    points.verify,
    points.export,
    files.files,
    prune.hold,
    prune.prune,
    backup.backup,
    restore.restore,
    restore.revert,
    rehearse.rehearse,
    jobs.jobs,
    jobs.job,
    jobs.worker,
    repo.repo,
    upkeep.gc,
    key.key,
    screens.log,
    screens.calls,
    explain.explain,
    lab.lab,
):
    vmtui.add_command(_command)


def hoist(arguments: Sequence[str]) -> list[str]:
    """Move global options to the front, wherever they stand. Pure."""
    front: list[str] = []
    rest: list[str] = []
    waiting = list(arguments)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            rest += [word, *waiting]
            break
        if word in _FLAGS or (word.partition("=")[0] in _VALUED and "=" in word):
            front.append(word)
        elif word in _VALUED and waiting:
            front += [word, waiting.pop(0)]
        else:
            rest.append(word)
    return front + rest


def main() -> NoReturn:
    """Run a command line and end the process with its exit code."""
    arguments = hoist(sys.argv[1:])
    output = Output(as_json="--json" in arguments, quiet="--quiet" in arguments)
    code = run(arguments, output)
    sys.stdout.flush()
    sys.stderr.flush()
    # Lanes of hung hosts are daemon threads that may never answer; nothing waits for them.
    os._exit(code)


def run(arguments: Sequence[str], output: Output) -> int:
    """Run a command line; every error ends here as words and a number."""
    try:
        result = vmtui.main(args=list(arguments), prog_name="vmtui", standalone_mode=False)
        return result if isinstance(result, int) else ExitCode.DONE
    except VmtuiError as error:
        output.error(error)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        output.clear_live()
        return _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has gone
        return ExitCode.DONE
    except Exception as error:  # noqa: BLE001  # the edge of the program: words for the operator, the trace for a report
        output.error(_fault(error))
        return ExitCode.FAILED


def _fault(error: Exception) -> VmtuiError:
    """A fault of ours, with its trace in a file."""
    place = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "vmtui" / "faults.log"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC).isoformat()}\n{traceback.format_exc()}\n")
        hint = f"Report it with {place}."
    except OSError:
        hint = "Report it."
    return FailedError("INTERNAL", f"a fault in vmtui itself: {type(error).__name__}: {error}", next_step=hint)
