"""What the screens show, as text: pulse, log, calls."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import click

from vmtui.cli.hosts import seen_vms
from vmtui.cli.output import pick
from vmtui.cli.shared import Cli, now, pass_cli
from vmtui.model.codec import to_plain
from vmtui.model.errors import ExitCode
from vmtui.overview.vms import count_by_status, needs_attention
from vmtui.overview.words import age, local, printable, rpo_text, size, status_glyph

_DAY = timedelta(hours=24)


@click.command()
@pass_cli
def pulse(cli: Cli) -> int:
    """Show what could be lost, what runs and what failed, on one page."""
    rows, away, _ = seen_vms(cli)
    records = cli.jobs.recent(now() - _DAY)
    recent = [record for record in records if record.finished is not None and now() - record.finished < _DAY]
    results = Counter(record.state.value for record in recent)
    active = [record for record in records if not record.state.final]
    urgent = [row for row in rows if needs_attention(row)]
    if cli.output.as_json:
        cli.output.document(
            {
                "status": {status.value: count for status, count in count_by_status(rows).items()},
                "attention": [{"vm": row.path, "status": row.stand.status, "ratio": row.stand.ratio} for row in urgent],
                "jobs_24h": dict(results),
                "running": [
                    pick(to_plain(record), ("id", "kind", "vm", "host", "phase", "done", "total")) for record in active
                ],
                "away": {host: error.to_json() for host, error in away.items()},
            }
        )
        return ExitCode.DONE
    for status, count in count_by_status(rows).items():
        cli.output.text(f"{status_glyph(status)} {status:9} {count:5}")
    cli.output.text()
    cli.output.text("jobs, last 24 h: " + (", ".join(f"{count} {state}" for state, count in results.items()) or "none"))
    for record in active:
        done = f" {100 * record.done // record.total} % of {size(record.total)}" if record.total else ""
        cli.output.text(printable(f"running: {record.kind} of {record.host}/{record.vm} {record.phase}{done}"))
    for row in urgent:
        cli.output.text(printable(f"{rpo_text(row.stand):20} {row.path}  {row.stand.reason}"))
    for host, error in away.items():
        cli.output.text(printable(f"✗ {host}: {error.cause} [{error.id}]"))
    return ExitCode.DONE


@click.command()
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@pass_cli
def log(cli: Cli, limit: int) -> int:
    """Show what the screens noticed, newest first: hosts that came and went, jobs that ended, messages."""
    from vmtui.overview import journal

    entries = list(reversed(journal.tail(cli.settings.state)))[:limit]
    if cli.output.as_json:
        cli.output.document(entries)
        return ExitCode.DONE
    cli.output.table(
        ("Time", "Level", "Source", "Text", "Id"),
        [(local(entry.time), entry.level, entry.source, entry.text, entry.error_id) for entry in entries],
        "Nothing was noted yet; the screens note what they see.",
    )
    return ExitCode.DONE


@click.command()
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@pass_cli
def calls(cli: Cli, limit: int) -> int:
    """Show what the worker asked of hosts, newest first, with durations."""
    from vmtui.calls import recent

    found = recent(cli.settings.state)[:limit]
    if cli.output.as_json:
        cli.output.document(found)
        return ExitCode.DONE
    cli.output.table(
        ("Time", "Host", "Kind", "Took", "Result", "What"),
        [
            (
                local(datetime.fromtimestamp(call.at, UTC)),
                call.host,
                call.kind,
                f"{call.seconds:.3f} s" if call.seconds < 60 else age(call.seconds),
                call.result,
                call.what,
            )
            for call in found
        ],
        "Nothing was asked yet.",
    )
    return ExitCode.DONE
