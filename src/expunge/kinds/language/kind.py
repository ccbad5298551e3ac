"""The kind: language models."""

from __future__ import annotations

from expunge.kinds.language.recipe import Recipe
from expunge.runs.kind import Kind

KIND = Kind(
    name="causal_lm",
    task="causal_lm",
    words="language models",
    short="language",
    recipe=Recipe,
    story="expunge.kinds.language.story:LanguageStory",
    evidence="expunge.kinds.language.evidence:LanguageEvidence",
    measures="expunge.kinds.language.measures.declared:DECLARED",
    more="expunge.kinds.language.more:with_more",
    plan="expunge.kinds.language.plan.plan:make_plan",
    missing="expunge.kinds.language.paths:refuse_missing",
    audit="expunge.kinds.language.make_audit:make_audit",
    spare=(
        "reinforced",
        "labels",
        "reference",
        "original",
        "hidden",
        "reference-nll",
        "reference-tokens",
        "retain-labels",
        "preferred",
        "preferred-reference-nll",
        "surprise",
        "unwanted-words",
    ),
    processes=True,
    spreads=True,
)
