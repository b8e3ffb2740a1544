"""vmtui: back up and restore libvirt/KVM virtual machines from a terminal, over SSH alone."""

__version__ = "0.1.0"
