"""Measures of what a language model still says or finds likely, as in published benchmarks."""
