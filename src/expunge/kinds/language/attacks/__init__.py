"""Attacks on an unlearned language model: one file each, found by being here."""
