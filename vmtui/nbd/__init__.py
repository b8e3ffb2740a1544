"""The NBD protocol: how the bytes of a disk cross the wire."""

from vmtui.nbd.client import Extent, NbdClient, NbdLostError
from vmtui.nbd.exports import Export
from vmtui.nbd.server import NbdServer
from vmtui.nbd.wire import BASE_ALLOCATION, DIRTY, HOLE, ZERO

__all__ = ["BASE_ALLOCATION", "DIRTY", "HOLE", "ZERO", "Export", "Extent", "NbdClient", "NbdLostError", "NbdServer"]
