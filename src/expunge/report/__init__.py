"""Results of runs in words, tables and figures, read from run folders."""
