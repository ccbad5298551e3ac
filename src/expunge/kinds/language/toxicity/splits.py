"""Names of the splits of toxicity's scores, only: for code that must not import torch."""

PROMPTS = "prompts"
GROUPS = "groups"
"all prompts that name a group of people, together"
GROUP = "group/"
"before the name of one group"
IDENTITY = "identity_terms"
"harmless sentences, for the scorer's false alarms"
