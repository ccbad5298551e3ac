"""The kind: image classifiers."""

from __future__ import annotations

from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.runs.kind import Kind

KIND = Kind(
    name="image_classifier",
    task="image_classifier",
    words="image classifiers",
    short="images",
    recipe=ImageRecipe,
    story="expunge.kinds.classifier.story:ClassifierStory",
    evidence="expunge.kinds.classifier.evidence:ClassifierEvidence",
    measures="expunge.kinds.classifier.measures.declared:DECLARED",
    missing="expunge.kinds.classifier.missing:refuse_missing",
    audit="expunge.kinds.classifier.audit:make_audit",
    processes=True,
)
