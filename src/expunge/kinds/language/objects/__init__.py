"""Unlearning on objects: a model in memory and rows in lists, in place of folders and files."""
