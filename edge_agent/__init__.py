"""Hear sales calls on the branch's own server, notice what matters, tell head office."""

__version__ = "0.1.0"
