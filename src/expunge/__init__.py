"""Make a trained model forget, and measure how well it forgot."""
