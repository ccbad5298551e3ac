"""`expunge app`: runs on a web page, for this machine only."""
