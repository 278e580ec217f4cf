"""The version of zoo, where ``setup.cfg`` reads it too."""

__version__ = "0.1.0"
