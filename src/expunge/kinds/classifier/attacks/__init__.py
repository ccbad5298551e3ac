"""Attacks on an unlearned image classifier: one file each, found by being here."""
