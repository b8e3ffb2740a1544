"""Restoring in five steps; nothing is changed before the last."""
