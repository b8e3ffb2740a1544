"""Images as QEMU's own tool describes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vmtui.hosts.session import HostSession
from vmtui.model.errors import FailedError
from vmtui.model.vm import Bitmap, Image


def image_info(session: HostSession, path: str, format_name: str) -> Image:
    """Read an image's header and its backing chain; works beside a running VM.

    Args:
        session: The host.
        path: Absolute, so that QEMU takes it as a file and never as a protocol.
        format_name: What the domain says it is; a raw image's content is never believed.

    Raises:
        FailedError: No image there, or not readable.
    """
    if not path.startswith("/"):
        raise FailedError("DISK-MISSING", f"{path!r} is not an absolute path.", host=session.host.name)
    argv = ["qemu-img", "info", "-U", "--output=json", "-f", format_name, path]
    chain = argv if format_name == "raw" else [*argv[:3], "--backing-chain", *argv[3:]]
    answer = session.run(chain)
    if answer.status == 127:
        answer.checked(session.host.name)
    if answer.status != 0:
        lines = answer.errors.strip().splitlines()
        raise FailedError(
            "DISK-MISSING",
            f"The image {path} on {session.host.name} cannot be opened: {lines[-1] if lines else 'no reason given'}",
            host=session.host.name,
            path=path,
        )
    try:
        data = json.loads(answer.output)
        layers = data if isinstance(data, list) else [data]
        info = session.files.info(path)
        return parse_info(layers, path, info.size if info is not None and info.regular else 0)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise FailedError("REMOTE-COMMAND", f"qemu-img on {session.host.name} said nothing of use: {error}") from error


def is_in_use(session: HostSession, path: str, format_name: str) -> bool:
    """Whether a process has an image open for writing, as QEMU's image locks tell."""
    answer = session.run(["qemu-img", "info", "-f", format_name, path])
    return answer.status != 0 and '" lock' in answer.errors.replace(path, "")


def parse_info(layers: list[Mapping[str, Any]], path: str, length: int) -> Image:
    """Turn qemu-img's JSON into an `Image`. Pure.

    Args:
        layers: The top image first.
        path: The top image.
        length: Its file length [bytes]; 0 for a block device.

    Raises:
        KeyError, TypeError, ValueError: Not what qemu-img prints.
    """
    top = layers[0]
    specific = top.get("format-specific", {}).get("data", {})
    return Image(
        path=path,
        format=str(top["format"]),
        virtual_size=int(top["virtual-size"]),
        file_length=length or int(top["virtual-size"]),
        compat=specific.get("compat"),
        backing=tuple(str(layer["filename"]) for layer in layers[1:]),
        bitmaps=tuple(
            Bitmap(str(item["name"]), usable="in-use" not in item["flags"] and "auto" in item["flags"])
            for item in specific.get("bitmaps", ())
        ),
        internal_snapshots=len(top.get("snapshots", ())),
    )
