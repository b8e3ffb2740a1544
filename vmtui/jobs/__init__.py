"""Durable jobs: the only place that knows DBOS."""

from vmtui.jobs.client import JobClient

__all__ = ["JobClient"]
