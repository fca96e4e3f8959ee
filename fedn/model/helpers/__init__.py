"""Load and save a framework's model as a FEDn model file: one module per framework, and those of others by name."""

from fedn.model.helpers.registry import Helper, get, names

__all__ = ["Helper", "get", "names"]
