"""Requests to forget: a ledger that several processes append to, and the runs that answer its requests."""
