"""What runs showed, in words, tables and figures, read from run folders."""
