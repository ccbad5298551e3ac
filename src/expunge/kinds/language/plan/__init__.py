"""Plan a run on a language model from its configuration alone: memory, time, tokens, disk."""
