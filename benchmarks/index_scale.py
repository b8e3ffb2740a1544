"""The local index with many blocks: how long it takes to make, to ask and to bring in step, and its memory.

    python benchmarks/index_scale.py [--blocks 10000000] [--folder FOLDER]

The blocks are made up: random ids in packs of 512, as 32 MiB packs of 64 KiB blocks are. Segments hold 64 packs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from vmtui.repository.index import Index
from vmtui.repository.packs import HEAD_SIZE, Entry, PackInfo

_IN_PACK = 512
_IN_SEGMENT = 64
_ASK = 256
"""Blocks that are looked up together: those of one leaf."""


def packs(seed: int, count: int) -> Iterator[PackInfo]:
    """Made-up packs, the same for the same seed."""
    source = random.Random(seed)
    for number in range(count):
        ids = [source.randbytes(32) for _ in range(_IN_PACK)]
        entries = tuple(
            Entry(place, item, 0, 1, HEAD_SIZE + place * 30000, 30000, 65536) for place, item in enumerate(ids)
        )
        name = hashlib.sha256(f"{seed}.{number}".encode()).hexdigest()
        yield PackInfo(name, bytes(32), 32 << 20, entries)


def add(index: Index, seed: int, count: int) -> float:
    """Take in one segment of so many packs; gives the seconds that the index took."""
    made = list(packs(seed, count))
    began = time.perf_counter()
    index.add(hashlib.sha256(f"segment {seed}".encode()).hexdigest(), made, lambda _: True)
    return time.perf_counter() - began


def resident() -> int:
    """Memory of this process that is its own, without the file that is mapped [bytes]."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        index = Index(Path(folder) / "index")
        segments = max(1, options.blocks // (_IN_PACK * _IN_SEGMENT))
        seconds = [add(index, seed, _IN_SEGMENT) for seed in range(segments)]
        blocks = index.count()
        size = (Path(folder) / "index" / "blobs.lmdb").stat().st_blocks * 512
        print(f"blocks                {blocks}")
        print(f"made in               {sum(seconds):.1f} s, the last segment in {seconds[-1]:.2f} s")
        print(f"file                  {size / blocks:.0f} bytes a block, {size >> 20} MiB")
        print(f"memory of its own     {resident() / (1 << 20):.0f} MiB, {resident() / blocks:.1f} bytes a block")
        wanted = [[entry.id for entry in pack.entries[:_ASK]] for pack in packs(segments // 2, _IN_SEGMENT)]
        for name, asked in (("known", wanted), ("new", [[os.urandom(32) for _ in part] for part in wanted])):
            began = time.perf_counter()
            for part in asked:
                index.known(part)
            taken = time.perf_counter() - began
            print(f"ask for {name:5} blocks    {len(asked) * _ASK / taken:.0f} a second")
        print(f"one more segment in   {add(index, segments, 1) * 1000:.0f} ms for {_IN_PACK} blocks")


if __name__ == "__main__":
    main()
