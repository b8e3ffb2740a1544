"""The files inside a point's disks: looked at, searched, taken out, put back. `docs/files.md` tells how.

File systems are read by a process of its own (`helper/`), which alone knows dissect and is given nothing but
blocks that were compared with their hashes. Everything that is written on this machine is written here.
"""

from vmtui.files.browser import Browser
from vmtui.files.entries import Entry, Kind, Volume

__all__ = ["Browser", "Entry", "Kind", "Volume"]
