"""Toxicity of a model's outputs: scorers of texts, continuations of prompts, and the measures made from both."""
