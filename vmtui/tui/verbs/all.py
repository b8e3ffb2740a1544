"""The registry, filled."""

from __future__ import annotations

from vmtui.tui.verbs import (
    again,
    backups,
    files,
    host_points,
    hosts,
    navigation,
    rehearsals,
    restores,
    retention,
    sheets,
    shows,
    trust,
    upkeep,
)
from vmtui.tui.verbs.registry import Command, Danger, Registry

_VM_VIEWS = ("vms", "vm")
_POINT_VIEWS = ("points", "vm")
_HOST_VIEWS = ("hosts", "host")
_JOB_VIEWS = ("jobs", "job")

ACTIONS = (
    Command("backup.start", ("b",), "Backup", "Back up now, in the mode of the VM's tier.", backups.start_backup, Danger.SAFE, "vmtui backup {vms}", _VM_VIEWS, backups.no_backup, footer=10),
    Command("backup.options", ("o",), "Options", "Choose mode and full, see the plan, back up.", sheets.backup_options, Danger.STOPS, "vmtui backup {vms} --mode cold --full", _VM_VIEWS, backups.no_backup, footer=11),
    Command("restore.open", ("r",), "Restore", "Restore: point, target, mapping, plan, confirm. What is marked is one job, in order. Nothing is changed before the last step.", restores.open_wizard, Danger.STOPS, "vmtui restore {goods}", ("vms", "vm", "points"), restores.no_restore, footer=12),
    Command("restore.undo", ("u",), "Undo", "Undo an in-place restore: the old disks come back.", restores.undo, Danger.DESTROYS, "vmtui revert {vm}", ("jobs", "job"), restores.no_undo, footer=14),
    Command("verify.start", ("v",), "Verify", "Read every byte of the points and compare it with its hash.", backups.start_verify, Danger.SAFE, "vmtui verify {points}", ("vms", "vm", "points", "host", "repo"), backups.no_verify, footer=13),
    Command("rehearse.start", (rehearsals.KEY,), "Rehearse", "Boot the point in isolation, watch it, and throw it away: proof that it works.", rehearsals.ask_rehearsal, Danger.STOPS, "vmtui rehearse {good}", ("vms", "vm", "points"), rehearsals.no_rehearsal, footer=44),
    Command("point.hold", ("h",), "Hold", "Hold the points: no rule prunes them. Held ones are released, after a question.", retention.hold_or_release, Danger.STOPS, "vmtui hold {point}", (*_POINT_VIEWS, "host"), retention.no_hold, footer=42),
    Command("prune.plan", ("f",), "Prune", "What the keep rules let go, and why the rest stays. Nothing is changed.", retention.show_plan, Danger.NONE, "vmtui prune {which} --dry-run", ("repo", "vm"), retention.no_plan, footer=95),
    Command("prune.run", ("f",), "Prune now", "Delete the points that go, for good.", retention.ask_prune, Danger.DESTROYS, "vmtui prune {which}", ("prune",), retention.no_prune, footer=10),
    Command("files.take", ("w",), "Take", "Take the chosen files and folders into a local folder.", files.ask_take, Danger.SAFE, "vmtui files get {point} {paths} FOLDER", ("files",), files.no_take, footer=10),
    Command("files.put", ("u",), "Put back", "Put the file back into a running guest, through its guest agent.", files.ask_put, Danger.STOPS, "vmtui files put {point} {path} VM:/PATH", ("files",), files.no_put, footer=11),
    Command("repo.unlock", ("u",), "Unlock", "Give the passphrase of an encrypted repository.", upkeep.unlock, Danger.NONE, views=("repo",), why_not=upkeep.no_unlock, footer=9),
    Command("repo.check", ("c",), "Check", "Look whether every object is there, with its size and directory.", upkeep.check, Danger.SAFE, "vmtui repo check", ("repo",), upkeep.no_work, footer=96),
    Command("repo.gc", ("g",), "Free space", "Delete what no restore point needs. Safe beside running backups.", upkeep.collect, Danger.DESTROYS, "vmtui gc", ("repo",), upkeep.no_work, footer=97),
    Command("repo.sync", ("s",), "Send", "Send to the copies what is missing there.", upkeep.sync, Danger.SAFE, "vmtui repo sync {copy}", ("repo",), upkeep.no_sync, footer=98),
    Command("repo.repair", ("m",), "Mend", "Make the index anew, and save what is whole from damaged packs.", upkeep.repair, Danger.STOPS, "vmtui repo repair", ("repo",), upkeep.no_work, footer=99),
    Command("job.cancel", ("c",), "Cancel", "Ask the job to stop; it cleans up first.", backups.cancel_job, Danger.STOPS, "vmtui job cancel {job}", _JOB_VIEWS, backups.no_cancel, footer=10),
    Command("job.again", ("a",), "Again", "Run the job again with the same arguments.", again.again, Danger.STOPS, "vmtui job again {job}", _JOB_VIEWS, again.no_again, footer=11),
    Command("host.trust", ("t",), "Trust", "Show a host's SSH key, and accept it if it is the host's own.", trust.trust_chosen, Danger.STOPS, "vmtui host trust {host}", ("hosts",), trust.no_trust, footer=10),
    Command("host.add", ("n",), "New host", "Add a host to the configuration.", hosts.ask_host, Danger.NONE, "vmtui host add {host} ADDRESS", ("hosts",), hosts.no_adding, footer=11),
    Command("host.backup", ("b",), "Keep", "Make a host point: networks, pools, filters, secrets, configuration files, packages.", host_points.keep, Danger.SAFE, "vmtui host backup {host}", _HOST_VIEWS, host_points.no_keeping, footer=9),
    Command("host.changes", ("c",), "Changes", "What differs on the host now from the host point; of two marked points, what differs between them.", host_points.show_changes, Danger.NONE, "vmtui host diff {point}", ("host",), host_points.no_comparing, footer=10),
    Command("host.restore", ("r",), "Restore", "Bring back what is missing: the plan, which parts, your word. Nothing that is there is replaced.", host_points.ask_restore, Danger.STOPS, "vmtui host restore {point}", ("host",), host_points.no_restore, footer=12),
    Command("host.vms", ("m",), "VMs", "The VMs of this host.", host_points.show_vms, Danger.NONE, "vmtui vms", _HOST_VIEWS, footer=13),
    Command("app.worker", ("W",), "Worker", "Start a worker, if none is alive.", backups.start_worker, Danger.NONE, "vmtui worker", _JOB_VIEWS),
)  # fmt: skip

SHOWS = (
    Command("show.details", ("d",), "Details", "All fields of what is chosen.", shows.show_details, twin="vmtui show {point}", views=("vms", "vm", "points", "jobs", "hosts", "host"), footer=40),
    Command("files.browse", ("m",), "Files", "Browse the files inside the point; of a VM, inside its newest good one.", files.browse, twin="vmtui files ls {good}", views=("vms", "vm", "points"), why_not=files.no_files, footer=43),
    Command("files.find", ("f",), "Find", "Search the names below this folder.", files.ask_search, twin="vmtui files find {point} PATTERN", views=("files",), footer=12),
    Command("files.stop", ("c",), "Stop", "Stop taking files; what is whole stays.", files.stop_takes, views=("files",), why_not=files.no_takes, footer=15),
    Command("files.up", ("backspace", "left"), "Up", "To the folder above.", files.go_up, views=("files",), footer=13),
    Command("files.side", ("tab", "shift+tab"), "Side", "To the other pane.", files.other_side, views=("files",), footer=14),
    Command("show.xml", ("x",), "XML", "The VM's definition as it was backed up; passwords are hidden.", shows.show_definition, twin="vmtui show {point} --xml", views=_POINT_VIEWS, why_not=shows.no_point, footer=41),
    Command("show.log", ("l",), "Log", "What happened to it: the log, filtered to what is chosen.", shows.show_log, twin="vmtui log", views=("vms", "vm", "points", "jobs", "job", "hosts", "host"), why_not=shows.no_log, footer=45),
    Command("show.explain", ("e",), "Explain", "What this state means, why now, what follows, what to do.", shows.show_explanation, twin="vmtui explain {id}", why_not=shows.no_explanation, footer=50),
    Command("show.calls", ("at",), "Calls", "Every call to a host with its duration.", shows.show_calls, twin="vmtui calls"),
    Command("copy.menu", ("y",), "Copy", "Copy name, error, the equivalent command line, JSON.", sheets.copy_menu, why_not=sheets.no_copy, footer=60),
    Command("app.theme", (), "Theme", "Choose the colours.", sheets.choose_theme),
)  # fmt: skip

REGISTRY = Registry((*ACTIONS, *SHOWS, *navigation.COMMANDS))
