"""`expunge app`: runs on a page, for this machine alone."""
