"""How toxic is what a model says? Scorers of texts, continuations of prompts, and the measures made of both."""
