"""The version, which every record of what was made carries."""

__version__ = "0.1.0"
