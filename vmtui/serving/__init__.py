"""Offering a point's disks to a host: read there as if they were local, while they are still in the repository."""

from vmtui.serving.offer import Offer, OfferedDisk, new_folder
from vmtui.serving.overlay import back_by_offer, create_overlay

__all__ = ["Offer", "OfferedDisk", "back_by_offer", "create_overlay", "new_folder"]
