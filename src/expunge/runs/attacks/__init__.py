"""Attacks that are the same for models of every kind: one file each, found by being here."""
