"""How the splits of toxicity's scores are called; light, for who reads scores alone."""

PROMPTS = "prompts"
GROUPS = "groups"
"all prompts that name a group of people, together"
GROUP = "group/"
"before the name of one group"
IDENTITY = "identity_terms"
"harmless sentences, for the scorer's false alarms"
