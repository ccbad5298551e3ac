"""O3: the method, and the loss of its adapters."""

from expunge.methods.o3.method import O3

__all__ = ["O3"]
