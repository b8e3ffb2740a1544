"""TOML in, validated model out. Every error names file, key and the nearest valid name."""

from vmtui.config.load import default_path, load, parse

__all__ = ["default_path", "load", "parse"]
