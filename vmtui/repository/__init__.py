"""Blocks, packs, index, disk maps, points. `docs/repository-format.md` describes what is on disk."""

from vmtui.repository.blocks import ID_SIZE, ZERO_ID
from vmtui.repository.maps import FANOUT, MapBuilder, MapReader, block_count, leaf_count
from vmtui.repository.points import PointName, Points, newest_good
from vmtui.repository.reader import BlobReader
from vmtui.repository.repository import DEFAULT_BLOCK_SIZE, Repository, Stats, locked
from vmtui.repository.store import ObjectStore
from vmtui.repository.streams import store_stream
from vmtui.repository.writer import BlobWriter, Stored

__all__ = [
    "DEFAULT_BLOCK_SIZE",
    "FANOUT",
    "ID_SIZE",
    "ZERO_ID",
    "BlobReader",
    "BlobWriter",
    "MapBuilder",
    "MapReader",
    "ObjectStore",
    "PointName",
    "Points",
    "Repository",
    "Stats",
    "Stored",
    "block_count",
    "leaf_count",
    "locked",
    "newest_good",
    "store_stream",
]
