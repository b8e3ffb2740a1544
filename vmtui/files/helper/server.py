"""The operations of the helper."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from vmtui.files.helper.disk import DiskFile, Piece, PieceLost, Pieces
from vmtui.files.helper.node import Content, Driver, Facts, UnreadableError, parsing
from vmtui.files.helper.volumes import Found, find
from vmtui.files.protocol import MAX_READ, PAGE, PIECE, SMALL, Channel

_FOLDER_LIMIT = 500_000
"""Entries of one folder."""
_KEPT_ENTRIES = 50_000
"""Entries of the folders that are kept in memory."""
_HOPS = 40
"""Links that are followed on one way, as the kernel does."""
_LINK_LIMIT = 4096

Folder = dict[str, Any]
"""Nodes by name."""


class NotThereError(Exception):
    """No such thing on the volume."""


class Server:
    """Answers one program.

    Args:
        channel: To it.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._pieces = Pieces(self._ask)
        self._volumes: dict[str, Found] = {}
        self._folders: OrderedDict[tuple[str, tuple[str, ...]], Folder] = OrderedDict()
        self._open: tuple[tuple[str, tuple[str, ...]], Content, _Holes] | None = None
        self._operations: Mapping[str, Callable[[dict[str, Any]], tuple[dict[str, Any], bytes]]] = {
            "open": self._find_volumes,
            "list": self._list,
            "look": self._look,
            "read": self._read,
            "small": self._small,
        }

    def serve(self) -> None:
        """Answer until the program is gone."""
        while True:
            try:
                message, _ = self._channel.receive()
            except EOFError:
                return
            answer, data = self._answer(message)
            self._channel.send(answer, data)

    def _answer(self, message: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """The answer; what was damaged on the way to it is told, even where a parser has swallowed it."""
        self._pieces.touched = None
        answer, data = self._outcome(message)
        if self._pieces.touched is not None:
            answer = answer | {"lost": list(self._pieces.touched)}
        return answer, data

    def _outcome(self, message: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        try:
            return self._operations[message["op"]](message)
        except EOFError:
            return {"error": "its structures end too early", "kind": "unreadable"}, b""
        except PieceLost as error:
            return {"error": str(error), "kind": "lost"}, b""
        except NotThereError as error:
            return {"error": str(error), "kind": "absent"}, b""
        except UnreadableError as error:
            return {"error": str(error), "kind": "unreadable"}, b""
        except MemoryError:
            self._folders.clear()
            return {"error": "it needs more memory than is allowed", "kind": "unreadable"}, b""
        except Exception as error:  # noqa: BLE001  # a hostile volume may break a parser in any way
            return {"error": f"{type(error).__name__}: {error}"[:500], "kind": "unreadable"}, b""

    def _ask(self, disk: str, number: int) -> list[Piece]:
        self._channel.send({"want": [disk, number]})
        message, data = self._channel.receive()
        if not message.get("given") or not data:
            raise PieceLost(f"{disk} at {number * PIECE}")
        return [
            Piece(data[start : start + PIECE], tuple((a - start, b - start) for a, b in message["bad"]))
            for start in range(0, len(data), PIECE)
        ]

    # -- operations ------------------------------------------------------------------------------

    def _find_volumes(self, message: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        disks = [DiskFile(self._pieces, name, size) for name, size in message["disks"]]
        self._volumes = {volume.name: volume for volume in find(disks)}
        return {
            "volumes": [
                {
                    "name": volume.name,
                    "size": volume.size,
                    "kind": volume.kind,
                    "label": volume.driver.label if volume.driver else "",
                    "note": volume.driver.note if volume.driver else "",
                    "reason": volume.reason,
                }
                for volume in self._volumes.values()
            ]
        }, b""

    def _list(self, message: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        volume, path = message["volume"], tuple(message["path"])
        folder = self._folder(volume, path)
        start = message["start"]
        names = list(folder)[start : start + PAGE]
        driver = self._driver(volume)
        row = _brief_row if message.get("brief") else _row
        return {"entries": [row(driver, name, folder[name]) for name in names], "total": len(folder)}, b""

    def _look(self, message: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """One thing by its path, over links where that is asked."""
        volume, path = message["volume"], tuple(message["path"])
        path = self._resolve(volume, path, last=message["follow"])
        node = self._node(volume, path)
        return {"path": list(path), "entry": _row(self._driver(volume), path[-1] if path else "", node)}, b""

    def _read(self, message: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        volume, path, offset = message["volume"], tuple(message["path"]), message["offset"]
        length = min(message["length"], MAX_READ)
        content, holes = self._content(volume, path)
        hole = holes.at(offset, content.size)
        if hole:
            return {"zeroes": hole, "size": content.size}, b""
        length = min(length, content.size - offset)
        if length <= 0:
            return {"size": content.size}, b""
        content.seek(offset)
        data = content.read(length)
        if len(data) != length:
            raise UnreadableError(f"it ends after {offset + len(data)} of {content.size} bytes")
        return {"size": content.size}, bytes(data)

    def _small(self, message: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Several small files of a folder; -1 for one that does not fit or cannot be read."""
        volume, path = message["volume"], tuple(message["path"])
        driver, folder = self._driver(volume), self._folder(volume, path)
        parts: list[bytes] = []
        sizes = []
        left = MAX_READ
        for name in message["names"]:
            data = _whole(driver, folder.get(name), min(left, SMALL))
            sizes.append(-1 if data is None else len(data))
            parts.append(data or b"")
            left -= len(parts[-1])
        return {"sizes": sizes}, b"".join(parts)

    # -- ways ------------------------------------------------------------------------------------

    def _driver(self, volume: str) -> Driver:
        found = self._volumes.get(volume)
        if found is None:
            raise NotThereError(f"there is no volume {volume}")
        if found.driver is None:
            raise UnreadableError(found.reason)
        return found.driver

    def _node(self, volume: str, path: tuple[str, ...]) -> Any:
        driver = self._driver(volume)
        if not path:
            return driver.root()
        folder = self._folder(volume, path[:-1])
        if path[-1] in folder:
            return folder[path[-1]]
        if driver.folds_case:
            for name, node in folder.items():
                if name.casefold() == path[-1].casefold():
                    return node
        raise NotThereError(f"there is no {'/'.join(path)!r} on {volume}")

    def _folder(self, volume: str, path: tuple[str, ...]) -> Folder:
        """The entries of a folder; those that were asked for last are kept."""
        key = (volume, path)
        if key in self._folders:
            self._folders.move_to_end(key)
            return self._folders[key]
        driver = self._driver(volume)
        node = self._node(volume, path)
        if driver.facts(node).kind != "folder":
            raise NotThereError(f"{'/'.join(path)!r} on {volume} is not a folder")
        folder: Folder = {}
        for name, child in driver.children(node):
            folder[name] = child
            if len(folder) > _FOLDER_LIMIT:
                raise UnreadableError(f"a folder of more than {_FOLDER_LIMIT} entries")
        self._folders[key] = folder
        while len(self._folders) > 1 and sum(map(len, self._folders.values())) > _KEPT_ENTRIES:
            self._folders.popitem(last=False)
        return folder

    def _resolve(self, volume: str, path: tuple[str, ...], *, last: bool) -> tuple[str, ...]:
        """The same way without links; absolute ones begin at the top of the volume."""
        driver = self._driver(volume)
        done: tuple[str, ...] = ()
        waiting = list(path)
        hops = 0
        while waiting:
            name = waiting.pop(0)
            if name == "..":
                done = done[:-1]
                continue
            way = (*done, name)
            node = self._node(volume, way)
            if driver.facts(node).kind == "link" and (waiting or last):
                hops += 1
                if hops > _HOPS:
                    raise NotThereError(f"the links at {'/'.join(path)!r} go in circles")
                target = driver.link(node)
                done = () if target.startswith("/") else done
                waiting[:0] = [part for part in target.split("/") if part not in ("", ".")]
            else:
                done = way
        return done

    def _content(self, volume: str, path: tuple[str, ...]) -> tuple[Content, _Holes]:
        key = (volume, path)
        if self._open is None or self._open[0] != key:
            driver = self._driver(volume)
            node = self._node(volume, path)
            if driver.facts(node).kind != "file":
                raise UnreadableError("it is not a file")
            content = driver.content(node)
            self._open = (key, content, _Holes(*driver.runs(content)))
        return self._open[1], self._open[2]


class _Holes:
    """Where a file has no blocks; looked up from the front to the back.

    Args:
        runs: Of the file.
        block_size: Of the runs [bytes].
    """

    def __init__(self, runs: Sequence[tuple[int | None, int]], block_size: int) -> None:
        self._holes = list(_hole_ranges(runs, block_size))
        self._next = 0

    def at(self, offset: int, size: int) -> int:
        """Length of the hole at an offset, up to the file's end; 0 when there is none."""
        if self._next and self._holes[self._next - 1][1] > offset:
            self._next = 0
        while self._next < len(self._holes) and self._holes[self._next][1] <= offset:
            self._next += 1
        if self._next == len(self._holes) or self._holes[self._next][0] > offset:
            return 0
        return max(0, min(self._holes[self._next][1], size) - offset)


def _hole_ranges(runs: Sequence[tuple[int | None, int]], block_size: int) -> Iterator[tuple[int, int]]:
    position = 0
    for first, count in runs:
        if first is None:
            yield position * block_size, (position + count) * block_size
        position += count


def _whole(driver: Driver, node: Any, limit: int) -> bytes | None:
    """A file's bytes; None when it is too long or cannot be read: asked for alone, it tells why."""
    try:
        with parsing():
            if node is None or driver.facts(node).kind != "file":
                return None
            content = driver.content(node)
            if content.size > limit:
                return None
            content.seek(0)
            data = bytes(content.read(content.size))
    except UnreadableError:
        return None
    return data if len(data) == content.size else None


def _brief_row(driver: Driver, name: str, node: Any) -> list[Any]:
    """One entry with its kind alone."""
    try:
        with parsing():
            kind, inode = driver.glance(node)
    except UnreadableError as error:
        return [name, "unknown", 0, 0, 0, 0, 0, 0, "", "", str(error)]
    return [name, kind, 0, 0, 0, 0, 0, 0, inode, "", ""]


def _row(driver: Driver, name: str, node: Any) -> list[Any]:
    """One entry as plain data; what cannot be read of it is told in its last field."""
    try:
        with parsing():
            facts: Facts = driver.facts(node)
            target = driver.link(node)[:_LINK_LIMIT] if facts.kind == "link" else ""
    except UnreadableError as error:
        return [name, "unknown", 0, 0, 0, 0, 0, 0, "", "", str(error)]
    return [
        name,
        facts.kind,
        facts.mode,
        facts.size,
        facts.uid,
        facts.gid,
        facts.mtime_ns,
        facts.links,
        facts.inode,
        target,
        "",
    ]
