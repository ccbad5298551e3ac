"""Attacks on an unlearned image-to-image generator: one file each, found by being here."""
