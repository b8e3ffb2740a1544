"""Restores a disk from a vmtui repository by docs/repository-format.md alone; imports nothing of vmtui.

python read_point.py REPOSITORY POINT DISK FILE [--passphrase-file FILE | --paper-key FILE]
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import struct
import sys
from pathlib import Path
from typing import Any

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

NODE = "vmtui repository format 1, disk map node"
ENTRY = struct.Struct("<32sBBHII")
ZERO = bytes(32)
MAGIC = {"config": b"vmtuiCF", "keys": b"vmtuiKY", "points": b"vmtuiPT"}


def need(good: bool, what: str) -> None:
    """Stop with what is wrong."""
    if not good:
        sys.exit(f"read_point: {what}")


def unzip(data: bytes) -> bytes:
    """A Zstandard frame's content."""
    return zstandard.ZstdDecompressor().decompress(data, max_output_size=1 << 30)


class Reader:
    """A repository in a folder."""

    def __init__(self, folder: Path, passphrase: str, paper: str) -> None:
        self.folder = folder
        self.secret = b""
        self.config = self.framed("config/main")
        need(self.config["format"] == 1, "another format")
        if self.config["encryption"] is not None:
            need(self.config["encryption"]["cipher"] == "aes-256-gcm", "another cipher")
            self.secret = self.from_paper(paper) if paper else self.from_slots(passphrase)
            check = blake3(f"key check of {self.config['id']}".encode(), key=self.secret[32:]).hexdigest()[:32]
            need(check == self.config["encryption"]["key_check"], "the key is not this repository's")
        self.places: dict[bytes, tuple[str, bytes, int, tuple[Any, ...], int]] = {}
        self.read_index()

    def from_slots(self, passphrase: str) -> bytes:
        for path in sorted((self.folder / "keys").iterdir()):
            slot = self.framed(f"keys/{path.name}")
            need(slot["kdf"] == "argon2id", "another key derivation")
            key = Argon2id(
                salt=bytes.fromhex(slot["salt"]),
                length=32,
                iterations=slot["iterations"],
                lanes=slot["lanes"],
                memory_cost=slot["memory_kib"],
            ).derive(passphrase.encode())
            try:
                bound = f"vmtui key slot of {self.config['id']}".encode()
                return AESGCM(key).decrypt(bytes(12), bytes.fromhex(slot["wrapped"]), bound)
            except InvalidTag:
                continue
        sys.exit("read_point: the passphrase opens no slot")

    @staticmethod
    def from_paper(text: str) -> bytes:
        secret = b""
        for line in text.splitlines():
            number, colon, rest = line.partition(": ")
            if not colon or not number.isdigit():
                continue
            body, check = rest.replace("-", "").split()
            right = base64.b32encode(hashlib.sha256(f"{number}:{body}".encode()).digest()).decode()[:4]
            need(check == right, f"line {number} of the paper key is wrong")
            secret += base64.b32decode(body + "=" * (-len(body) % 8))
        return secret

    def version(self, kind: str) -> int:
        return 2 if self.secret and kind not in ("config", "keys") else 1

    def open_part(self, salt: bytes, number: int, data: bytes, bound: bytes) -> bytes:
        if not self.secret:
            return data
        cipher = AESGCM(blake3(salt, key=self.secret[:32]).digest())
        try:
            return cipher.decrypt(struct.pack("<I8x", number), data, bound)
        except InvalidTag:
            sys.exit("read_point: a sealed part is not as written")

    def framed(self, name: str) -> Any:
        data = (self.folder / name).read_bytes()
        kind = name.split("/", maxsplit=1)[0]
        need(data[-32:] == hashlib.sha256(name.encode() + b"\0" + data[:-32]).digest(), f"{name}: wrong digest")
        need(data[:8] == MAGIC[kind] + bytes([self.version(kind)]), f"{name}: wrong magic")
        payload = data[40:-32]
        if self.version(kind) == 2:
            payload = self.open_part(data[8:40], 0, payload, name.encode())
        return json.loads(unzip(payload))

    def read_index(self) -> None:
        folder = self.folder / "index"
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
        for path in paths:
            self.read_segment(path)
        if not paths:
            for path in sorted((self.folder / "packs").rglob("*")):
                if path.is_file():
                    self.read_directory(path)

    def read_segment(self, path: Path) -> None:
        data = path.read_bytes()
        need(hashlib.sha256(data).hexdigest() == path.name, f"{path.name}: wrong name")
        need(data[:8] == b"vmtuiIX" + bytes([self.version("index")]), f"{path.name}: wrong magic")
        body = unzip(self.open_part(data[8:40], 0, data[40:], b"vmtuiIX"))
        place = 0
        while place < len(body):
            pack, salt, _, count = struct.unpack_from("<32s32sQI", body, place)
            place += 76
            self.add(pack.hex(), salt, body[place : place + count * ENTRY.size])
            place += count * ENTRY.size

    def read_directory(self, path: Path) -> None:
        data = path.read_bytes()
        need(hashlib.sha256(data).hexdigest() == path.name, f"{path.name}: wrong name")
        need(data[:8] == b"vmtuiPK" + bytes([self.version("packs")]), f"{path.name}: wrong magic")
        length, _, digest, end = struct.unpack("<II32s8s", data[-48:])
        directory = data[-48 - length : -48]
        need(end == b"\x01KPiutmv" and hashlib.sha256(directory).digest() == digest, f"{path.name}: wrong directory")
        self.add(path.name, data[8:40], unzip(self.open_part(data[8:40], 0xFFFFFFFF, directory, b"vmtuiPK")))

    def add(self, pack: str, salt: bytes, entries: bytes) -> None:
        offset = 40
        for number, entry in enumerate(ENTRY.iter_unpack(entries)):
            self.places[entry[0]] = (pack, salt, number, entry, offset)
            offset += entry[4]

    def blob(self, item: bytes, kind: int) -> bytes:
        need(item in self.places, f"{item.hex()} is nowhere")
        pack, salt, number, (_, is_kind, codec, _, length, size), offset = self.places[item]
        with (self.folder / "packs" / pack[:2] / pack).open("rb") as file:
            file.seek(offset)
            stored = file.read(length)
        data = self.open_part(salt, number, stored, item + struct.pack("<BBI", is_kind, codec, size))
        data = unzip(data) if codec else data
        need(is_kind == kind and len(data) == size and self.id_of(data, kind) == item, f"{item.hex()} is damaged")
        return data

    def id_of(self, data: bytes, kind: int) -> bytes:
        if not self.secret:
            return (blake3(data, derive_key_context=NODE) if kind else blake3(data)).digest()
        key = blake3(self.secret[32:], derive_key_context=NODE).digest() if kind else self.secret[32:]
        return blake3(data, key=key).digest()

    def blocks(self, root: bytes, count: int) -> list[bytes]:
        """Ids of a disk's blocks, by its map."""
        sizes = [count]
        while sizes[-1] > 256:
            sizes.append(-(-sizes[-1] // 256))
        ids = [root]
        for size in reversed(sizes):
            below: list[bytes] = []
            for node in ids:
                wanted = min(256, size - len(below))
                data = bytes(32 * wanted) if node == ZERO else self.blob(node, 1)
                need(len(data) == 32 * wanted, "a map node has the wrong size")
                below += [data[start : start + 32] for start in range(0, len(data), 32)]
            ids = below
        return ids


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("repository", "point", "disk", "file", "--passphrase-file", "--paper-key"):
        parser.add_argument(name, default="")
    options = parser.parse_args()
    phrase, paper = (Path(it).read_text() if it else "" for it in (options.passphrase_file, options.paper_key))
    reader = Reader(Path(options.repository), phrase.split("\n")[0], paper)
    manifest = reader.framed(f"points/{options.point}")
    disk = next(disk for disk in manifest["disks"] if disk["name"] == options.disk)
    size, block = disk["virtual_size"], reader.config["block_size"]
    with Path(options.file).open("wb") as out:
        out.writelines(
            bytes(block) if item == ZERO else reader.blob(item, 0)
            for item in reader.blocks(bytes.fromhex(disk["root"]), -(-size // block))
        )
        out.truncate(disk["file_length"] or size)


if __name__ == "__main__":
    main()
