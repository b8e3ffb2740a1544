"""Real NBD servers on unix sockets, and clients for them."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vmtui.nbd import NbdClient

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
