"""Real NBD servers on unix sockets, and clients for them."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from vmtui.model.errors import DamageError
from vmtui.nbd import NbdClient, NbdServer

TIMEOUT_S = 30.0


class SocketStream:
    """A socket as the client wants it; silence for too long is an error."""

    def __init__(self, connected: socket.socket) -> None:
        connected.settimeout(TIMEOUT_S)
        self._socket = connected

    def recv_into(self, buffer: memoryview) -> int:
        return self._socket.recv_into(buffer)

    def sendall(self, data: bytes | bytearray | memoryview) -> None:
        self._socket.sendall(data)

    def close(self) -> None:
        self._socket.close()


def connect(path: Path, export: str = "", contexts: Sequence[str] = ()) -> NbdClient:
    """A client of the server at a unix socket."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        connected = socket.socket(socket.AF_UNIX)
        try:
            connected.connect(str(path))
        except ConnectionRefusedError:  # bound, and not yet listening
            connected.close()
            assert time.monotonic() < deadline, f"nobody listens at {path}"
            time.sleep(0.01)
            continue
        return NbdClient(SocketStream(connected), export, contexts)


@contextmanager
def serve(argv: Sequence[str], path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; it is ready when its socket takes connections."""
    process = subprocess.Popen([str(word) for word in argv], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while not path.is_socket():
            assert process.poll() is None, f"{argv} ended with {process.returncode}"
            assert time.monotonic() < deadline, f"{argv} made no socket"
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.wait(timeout=TIMEOUT_S)


@contextmanager
def qemu_nbd(image: Path, *options: str, kind: str = "qcow2", export: str = "vda") -> Iterator[Path]:
    """Serve an image as cold backups do; gives the socket."""
    path = image.with_name(f"{image.name}.{time.monotonic_ns()}.s")
    argv = ["qemu-nbd", "-t", "-e", "8", "-x", export, "-f", kind, "-k", str(path), *options, str(image)]
    with serve(argv, path):
        yield path


@contextmanager
def nbdkit(folder: Path, *words: str) -> Iterator[Path]:
    """Serve with nbdkit; gives the socket."""
    path = folder / f"{time.monotonic_ns()}.s"
    with serve(["nbdkit", "-f", "-U", str(path), *words], path):
        yield path


def image(path: Path, size: int, kind: str = "qcow2", *options: str) -> Path:
    """A new image."""
    words = ["qemu-img", "create", "-q", "-f", kind, *options, str(path), str(size)]
    subprocess.run(words, check=True, timeout=TIMEOUT_S)
    return path


def bitmap(path: Path, name: str) -> None:
    """Track changes from now on."""
    subprocess.run(["qemu-img", "bitmap", "--add", str(path), name], check=True, timeout=TIMEOUT_S)


def qemu_io(path: Path, *commands: str, kind: str = "qcow2") -> None:
    """Change an image behind its server's back, through QEMU's own code."""
    words = [word for command in commands for word in ("-c", command)]
    done = subprocess.run(
        ["qemu-io", "-f", kind, *words, str(path)], check=True, timeout=TIMEOUT_S, capture_output=True, text=True
    )
    assert "failed" not in done.stdout + done.stderr, done.stdout + done.stderr


def raw_bytes(path: Path, kind: str = "qcow2") -> bytes:
    """What a guest would read, by qemu-img."""
    out = path.with_name(path.name + ".raw")
    subprocess.run(["qemu-img", "convert", "-f", kind, "-O", "raw", str(path), str(out)], check=True, timeout=TIMEOUT_S)
    return out.read_bytes()


class Patchwork:
    """An export made of bytes, honest about its zeroes.

    Args:
        content: What is served.
        block: Grain of its extents [bytes].
        broken: Offsets of blocks that cannot be read.
    """

    def __init__(self, content: bytes, block: int = 4096, broken: frozenset[int] = frozenset()) -> None:
        self._content = content
        self._block = block
        self._broken = broken
        self.reads: list[tuple[int, int]] = []

    @property
    def size(self) -> int:
        return len(self._content)

    def read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        for start in self._broken:
            if offset < start + self._block and start < offset + length:
                raise DamageError("REPO-BLOCK-BAD", f"The block at {start} is damaged.")
        return self._content[offset : offset + length]

    def extents(self, offset: int, length: int) -> Iterator[tuple[int, bool]]:
        end = offset + length
        while offset < end:
            step = min(self._block - offset % self._block, end - offset)
            yield step, not any(self._content[offset : offset + step])
            offset += step


class _Wakeful(SocketStream):
    """A socket whose closing wakes who waits at it, as an SSH channel's does; it waits as long as it must."""

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(connected)
        connected.settimeout(None)

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        super().close()


@contextmanager
def ours(path: Path, server: NbdServer) -> Iterator[Path]:
    """Our own server at a unix socket."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(64)

    def accept() -> None:
        while True:
            try:
                connected, _ = listener.accept()
            except OSError:
                return  # closed
            threading.Thread(target=server.serve, args=(_Wakeful(connected),), daemon=True).start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield path
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        server.close()
        acceptor.join(TIMEOUT_S)
