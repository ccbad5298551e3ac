"""The kind: sharded classifiers."""

from __future__ import annotations

from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.runs.kind import Kind

KIND = Kind(
    name="sharded_classifier",
    task="image_classifier",
    words="sharded classifiers",
    short="sharded",
    recipe=ImageRecipe,
    story="expunge.kinds.sharded_classifier.story:ShardedStory",
    evidence="expunge.kinds.classifier.evidence:ClassifierEvidence",
    measures="expunge.kinds.classifier.measures.declared:DECLARED",
)
