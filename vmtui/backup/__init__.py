"""The use cases that make a restore point."""

from vmtui.backup.context import BackupContext
from vmtui.backup.plan import BackupPlan, BackupRequest

__all__ = ["BackupContext", "BackupPlan", "BackupRequest"]
