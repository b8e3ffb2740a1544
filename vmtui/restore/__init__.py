"""The use cases that bring a restore point back."""

from vmtui.restore.context import RestoreContext
from vmtui.restore.plan import RestorePlan, RestoreRequest

__all__ = ["RestoreContext", "RestorePlan", "RestoreRequest"]
