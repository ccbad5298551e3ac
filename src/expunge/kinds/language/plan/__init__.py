"""What a run on a language model will take, from its configuration alone: memory, time, tokens, disk."""
