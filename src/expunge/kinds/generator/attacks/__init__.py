"""Attacks on an unlearned image-to-image generator: one file each; every file here is found."""
