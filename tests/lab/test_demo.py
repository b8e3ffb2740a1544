"""The story that a stranger sees first: it ends well, tells its evidence, and leaves nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

STORY = Path(__file__).parents[2] / "script" / "story.py"


def test_headless_story_ends_with_evidence() -> None:
    with tempfile.TemporaryDirectory(prefix="v-") as folder:  # short, for the sockets below it
        Path(folder).chmod(0o755)  # the account that the lab runs as must get through
        answer = subprocess.run(
            [sys.executable, str(STORY), "--headless"],
            env=os.environ | {"TMPDIR": folder},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert list(Path(folder).iterdir()) == []
    told = answer.stdout
    assert answer.returncode == 0, told + answer.stderr
    hashes = re.findall(r"^  (?:witness |restored) +(\d+) bytes  sha256 ([0-9a-f]{64})$", told, re.MULTILINE)
    assert len(hashes) == 2
    assert hashes[0] == hashes[1]
    assert f"identical: all {hashes[0][0]} bytes" in told
    assert re.search(r"guest agent of south/web1\S* answered after [\d.]+ s, and the note is there", told)
    assert "incremental" in told
