"""Attacks on an unlearned language model: one file each; every file here is found."""
