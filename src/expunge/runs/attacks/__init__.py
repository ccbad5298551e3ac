"""Attacks that are the same for models of every kind: one file each; every file here is found."""
