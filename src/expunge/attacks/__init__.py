"""Attacks: measures that first try to bring the forgotten back."""
