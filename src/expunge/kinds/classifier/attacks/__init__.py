"""Attacks on an unlearned image classifier: one file each; every file here is found."""
