"""Unlearning on objects: a model in memory and rows in lists, instead of folders and files."""
