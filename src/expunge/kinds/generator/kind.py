"""The kind: image-to-image generators."""

from __future__ import annotations

from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.runs.kind import Kind

KIND = Kind(
    name="image_to_image",
    task="image_to_image",
    words="image-to-image generators",
    short="generators",
    recipe=GeneratorRecipe,
    story="expunge.kinds.generator.story:GeneratorStory",
    evidence="expunge.kinds.generator.evidence:GeneratorEvidence",
    measures="expunge.kinds.generator.measures.declared:DECLARED",
    missing="expunge.kinds.classifier.missing:refuse_missing",
    audit="expunge.kinds.generator.audit:make_audit",
    processes=True,
)
