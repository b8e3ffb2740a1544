"""The practice site: real libvirt, real QEMU guests, real sshd, as an ordinary user."""

from vmtui.lab.lab import LabInfo, default_root, down, info, up

__all__ = ["LabInfo", "default_root", "down", "info", "up"]
