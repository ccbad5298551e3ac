"""Signed evidence of a run: what was done, with what, and its results; a bill of materials; and checking both
offline."""
