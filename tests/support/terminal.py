"""A real terminal: tmux with a server of its own."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence


class Terminal:
    """A tmux session that runs one program.

    Args:
        argv: The program.
        columns: Width.
        rows: Height.
        environment: Added to the program's.
    """

    def __init__(
        self, argv: Sequence[str], columns: int = 120, rows: int = 36, environment: Mapping[str, str] | None = None
    ) -> None:
        self._server = f"vmtui-test-{uuid.uuid4().hex[:8]}"
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TMUX", "VMTUI_", "NO_COLOR", "COLUMNS", "LINES"))
        }
        self._tmux(
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            str(columns),
            "-y",
            str(rows),
            f"{shlex.join(argv)}; echo ENDED $?; sleep 600",
            environment=clean
            | {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
            | dict(environment or {}),
        )

    def _tmux(self, *arguments: str, environment: Mapping[str, str] | None = None, check: bool = True) -> str:
        answer = subprocess.run(
            ["tmux", "-L", self._server, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            env=dict(environment) if environment is not None else None,
        )
        assert not check or answer.returncode == 0, answer.stderr
        return answer.stdout

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names."""
        for key in keys:
            self._tmux("send-keys", key)

    def type(self, text: str) -> None:
        """Type text."""
        self._tmux("send-keys", "-l", text)

    @property
    def screen(self) -> str:
        """What is seen."""
        return self._tmux("capture-pane", "-p", check=False)

    def wait_for(self, *texts: str, seconds: float = 240) -> str:
        """Wait until all texts are seen; gives the screen.

        The limit is for a machine that is busy with other tests; speed is measured by tests that run alone.
        """
        deadline = time.monotonic() + seconds
        while not all(text in (seen := self.screen) for text in texts):
            assert time.monotonic() < deadline, f"{texts} did not appear within {seconds} s:\n{seen}"
            time.sleep(0.05)
        return seen

    def wait_for_line(self, *texts: str, seconds: float = 240) -> str:
        """Wait until one line holds all texts; gives the line."""
        deadline = time.monotonic() + seconds
        while True:
            seen = self.screen
            for line in seen.splitlines():
                if all(text in line for text in texts):
                    return line
            assert time.monotonic() < deadline, f"no line with {texts} within {seconds} s:\n{seen}"
            time.sleep(0.05)

    def filter_by(self, name: str) -> None:
        """Filter by a name, until the keys are the table's again."""
        self.press("/")
        self.finish_filter(name)

    def finish_filter(self, name: str) -> None:
        """Type a name into the open filter and close it."""
        self.type(name)
        self.wait_for(f"filter {name}")
        self.press("Enter")
        deadline = time.monotonic() + 240
        # The prompt is a line that holds nothing else; a table or a panel names the VM beside other words.
        while any(line.strip() == name for line in self.screen.splitlines()):
            assert time.monotonic() < deadline, f"the prompt stayed open:\n{self.screen}"
            time.sleep(0.05)

    def close(self) -> None:
        """Kill the terminal as a closed window does; safe to repeat."""
        self._tmux("kill-server", check=False)
