"""The kind: sharded classifiers, which differ from other classifiers in the steps of a run."""

from __future__ import annotations

from dataclasses import replace

from expunge.kinds.classifier.kind import KIND as CLASSIFIERS

KIND = replace(
    CLASSIFIERS,
    name="sharded_classifier",
    words="sharded classifiers",
    short="sharded",
    story="expunge.kinds.sharded_classifier.story:ShardedStory",
    processes=False,
)
