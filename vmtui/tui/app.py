"""The application: modes, the picture, and the way from a key to what it does."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from textual.binding import BindingType

from vmtui.jobs import JobClient
from vmtui.model.errors import VmtuiError
from vmtui.model.settings import Settings
from vmtui.overview import journal
from vmtui.overview.journal import LogEntry
from vmtui.tui import cache, clock, picture
from vmtui.tui.browsing import Take
from vmtui.tui.feeds import CatalogueFeed, Composer, HostFeed, JobsFeed
from vmtui.tui.intake import first_picture, matters, take
from vmtui.tui.keystrokes import KeyByKey
from vmtui.tui.mailbox import Errands, Mailbox
from vmtui.tui.screens.base import Page
from vmtui.tui.screens.views import VIEWS
from vmtui.tui.styles.themes import THEMES, default_theme
from vmtui.tui.verbs.all import REGISTRY
from vmtui.tui.verbs.opening import open_chosen
from vmtui.tui.verbs.registry import Command, Danger, Focus
from vmtui.tui.verbs.sheets import choose_theme, palette
from vmtui.tui.verbs.shows import show_help
from vmtui.tui.verbs.typed import run_typed
from vmtui.tui.widgets.paint import PAINT
from vmtui.tui.wizard.kept import Drafts

_DRAIN_S = 0.25
_SLOW_DRAIN_S = 1.0
_SAVE_S = 60.0


@dataclass(frozen=True, slots=True)
class Look:
    """How the screens are drawn on this terminal."""

    ascii: bool = False
    slow: bool = False
    theme: str = ""
    guard_s: float = 0.3
    """How long a dialog does not listen after it appeared and after the last key."""


class VmtuiApp(KeyByKey, inherit_bindings=False):
    """The screens over one configuration.

    Args:
        settings: The configuration; its read-only flag rules all.
        look: How it is drawn.
    """

    CSS_PATH: ClassVar[Any] = Path(__file__).parent / "styles" / "vmtui.tcss"
    MODES: ClassVar[Any] = VIEWS
    DEFAULT_MODE: ClassVar[str] = "pulse"
    BINDINGS: ClassVar[list[BindingType]] = []
    ENABLE_COMMAND_PALETTE: ClassVar[bool] = False
    TITLE = "vmtui"

    def __init__(self, settings: Settings, look: Look) -> None:
        gc.disable()  # until the first view is painted: nothing made on the way to it is garbage
        super().__init__()
        PAINT.ascii = look.ascii
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = look.theme or default_theme()
        self.set_class(look.ascii, "ascii")
        self.settings = settings
        self.look = look
        self.registry = REGISTRY
        self.picture = first_picture(settings)
        self.frozen_at: datetime | None = None
        self.visited = ["pulse", "pulse"]
        self.client = JobClient(settings)
        self.mailbox = Mailbox()
        self.errands = Errands("errands", self.mailbox)
        self.planning = Errands("planning", self.mailbox)
        self.browsing = Errands("files", self.mailbox)
        self.takes: list[Take] = []
        self.composer = Composer(settings, self.mailbox)
        self.jobs_feed = JobsFeed(settings, self.client, self.mailbox)
        self.catalogue_feed = CatalogueFeed(settings, self.mailbox, self.picture.catalogue)
        self.host_feeds: dict[str, HostFeed] = {}
        self.drafts = Drafts()

    # -- life ------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        """Listen only after the first view is painted."""
        self.set_interval(_SLOW_DRAIN_S if self.look.slow else _DRAIN_S, self.drain)
        self.set_interval(1.0, self._tick)
        self.set_interval(_SAVE_S, lambda: cache.save_picture(self.settings.state, self.picture))
        self.call_after_refresh(self._listen)

    def _listen(self) -> None:
        self.composer.give(self.picture.hosts, self.picture.catalogue)
        for name in self.settings.hypervisors:
            self.add_feed(name)
        for feed in (self.composer, self.catalogue_feed, self.jobs_feed):
            feed.start()
        gc.collect()
        gc.freeze()
        gc.enable()

    def add_feed(self, name: str) -> None:
        """Listen to a host."""
        feed = HostFeed(self.settings, self.settings.hosts[name], self.mailbox, self.picture.hosts.get(name))
        self.host_feeds[name] = feed
        feed.start()

    def quit_or_back(self) -> None:
        """Back; at the root, quit at once."""
        if len(self.screen_stack) > 1:
            self.pop_screen()
            return
        self.quit_now()

    def quit_now(self) -> None:
        """End the screens; jobs go on."""
        for feed in (*self.host_feeds.values(), self.composer, self.jobs_feed, self.catalogue_feed):
            feed.end()
        cache.save_picture(self.settings.state, self.picture)
        running = len(self.picture.jobs.active)
        words = [f"{running} job{'s keep' if running > 1 else ' keeps'} running: vmtui jobs"] if running else []
        self.exit("\n".join([*words, *(f"ended: {take.words}; what is whole stays" for take in self.takes)]))

    # -- what was heard --------------------------------------------------------------------------

    def drain(self) -> None:
        """Take what the threads left; show it."""
        letters, answers = self.mailbox.drain()
        for answer in answers:
            answer()
        if not letters:
            return
        if self.frozen_at is not None:
            for sender, letter in letters.items():
                self.mailbox.put(sender, letter)
            return
        before = self.picture
        for sender, letter in letters.items():
            take(self, sender, letter)
        if matters(before) != matters(self.picture):
            self.composer.give(self.picture.hosts, self.picture.catalogue)
        self.repaint()

    def log_events(self, *entries: LogEntry) -> None:
        """Keep entries for good."""
        if entries:
            self.picture = picture.with_log(self.picture, entries)
            journal.write(self.settings.state, entries)

    def repaint(self) -> None:
        """Show the picture on the screen that is seen, also below a dialog."""
        page = self.page
        if page is not None:
            page.paint()

    @property
    def page(self) -> Page | None:
        """The innermost page, below any dialog."""
        return next((screen for screen in reversed(self.screen_stack) if isinstance(screen, Page)), None)

    def _tick(self) -> None:
        page = self.page
        if page is not None and page.drawable:
            page.tick()

    # -- saying ----------------------------------------------------------------------------------

    def copy_to_clipboard(self, text: str) -> None:
        """Send a text to the terminal (OSC 52); a name in no encoding is sent as it is read, not as it is stored."""
        super().copy_to_clipboard(text.encode("utf-8", "backslashreplace").decode("utf-8"))

    def notify(self, message: str, **how: Any) -> None:
        """Show words for some seconds; nothing in them is obeyed, and nothing is markup."""
        title = PAINT.text(str(how.get("title", "")))
        super().notify(PAINT.text(message), **(how | {"title": title, "markup": False}))

    def say(self, text: str, *, level: str = "info", job: str = "") -> None:
        """Tell something; it stays in the log."""
        self.log_events(LogEntry(clock.now(), level, "vmtui", text, job=job))
        self.notify(text, severity="warning" if level == "warning" else "information", markup=False)

    def say_error(self, error: VmtuiError) -> None:
        """Tell of an error: cause, next step, id; it stays in the log."""
        self.log_events(LogEntry(clock.now(), "error", "vmtui", error.cause, error.id, error.next_step))
        text = f"{error.cause} {error.next_step} [{error.id}]"
        self.notify(text, title="not done", severity="error", timeout=10, markup=False)

    def badges(self) -> list[str]:
        """What must not be overlooked."""
        badges = ["READ-ONLY"] if self.settings.read_only else []
        if self.frozen_at is not None:
            badges.append("FROZEN")
        jobs = self.picture.jobs
        if jobs.active and not jobs.worker and jobs.as_of is not None:
            badges.append("NO WORKER")
        return badges

    # -- keys ------------------------------------------------------------------------------------

    def perform(self, command: Command, focus: Focus) -> None:
        """Run a command on what was chosen, or say why not."""
        reason = command.why_not(self, focus)
        if not reason and command.danger is not Danger.NONE and command.views and focus.nothing:
            reason = "nothing is chosen"
        if reason:
            self.notify(f"{command.label}: {reason}", severity="warning", markup=False)
            return
        command.run(self, focus)

    def in_background(self, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Do something that blocks, then tell of its outcome; errors are shown."""
        self.errands.run(work, done, self.say_error)

    def go_to(self, view: str) -> None:
        """Show a view."""
        if view != self.current_mode:
            self.visited = [self.visited[-1], view]
            self.switch_mode(view)

    def go_back_view(self) -> None:
        """Show the view before this one."""
        self.go_to(self.visited[0])

    def leave(self) -> None:
        """Leave the innermost thing; never quits."""
        page = self.page
        if page is not None and not page.back() and len(self.screen_stack) > 1:
            self.pop_screen()

    def open(self, focus: Focus) -> None:
        """Drill in."""
        open_chosen(self, focus)

    def freeze(self) -> None:
        """Stop the picture, or let it go on."""
        self.frozen_at = clock.now() if self.frozen_at is None else None
        self.repaint()

    def ask_now(self) -> None:
        """Ask everybody now."""
        for feed in (*self.host_feeds.values(), self.catalogue_feed, self.jobs_feed):
            feed.poke()
        self.notify("asking hosts, repository and jobs now", markup=False)

    def show_help(self) -> None:
        """Help for the page that is seen; notices do not lie over it, and are in the log."""
        if self.page is not None:
            self.clear_notifications()
            show_help(self, self.page)

    def show_palette(self, focus: Focus) -> None:
        """All commands."""
        palette(self, focus)

    def ask_command(self) -> None:
        """Open the command line."""
        if self.page is not None:
            self.page.ask_line("command")

    def redraw(self) -> None:
        """Paint the whole screen anew."""
        self.refresh(layout=True)

    def run_line(self, text: str) -> None:
        """Do what was typed."""
        run_typed(self, text)

    def make_read_only(self) -> None:
        """Refuse changes from now on; it cannot be switched off inside."""
        self.settings = replace(self.settings, read_only=True)
        self.client = JobClient(self.settings)
        self.say("read-only from now on")
        self.repaint()

    def choose_theme(self, name: str) -> None:
        """Take a theme by its name, or ask."""
        if name in self.available_themes:
            self.theme = name
        else:
            choose_theme(self, Focus(""))
