"""ULD: the method, and the loss of its assistant."""

from expunge.methods.uld.method import ULD

__all__ = ["ULD"]
