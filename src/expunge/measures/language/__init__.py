"""Measures of what a language model still says or finds likely, as published benchmarks compute them."""
