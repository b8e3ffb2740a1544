"""Answers what the program asks, until it goes. Started with one connected socket as standard input."""

from __future__ import annotations

import os
import resource
import signal
import socket

from vmtui.files.protocol import Channel

_MEMORY = 3 << 30
"""A hostile file system ends in an error, not in a machine without memory [bytes of address space]."""


def main() -> None:
    """Serve one program."""
    channel = Channel(socket.socket(fileno=os.dup(0)))
    try:
        from vmtui.files.helper.server import Server
    except ImportError as error:
        channel.send({"missing": error.name or str(error)})
        return
    parent = os.getppid()

    def look(*_: object) -> None:
        if os.getppid() != parent:
            os._exit(1)

    # A loop in a parser must not outlive the program that would have ended it.
    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 1, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl+c is for the program
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    channel.send({"ready": True})
    Server(channel).serve()


if __name__ == "__main__":
    main()
