"""Signed evidence of a run: what was done, with what, and how it came out; a bill of materials; and checking both offline."""
