"""What is said of a run on a generator afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from expunge.core import storage
from expunge.core.score import Score
from expunge.kinds.classifier.evidence import NO_ORACLE, PictureEvidence, loading
from expunge.kinds.generator.parts import read_generator_parts
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.kinds.generator.report import generator_parts
from expunge.report.contents import Contents
from expunge.runs.folder import RunFolder

NOT_TESTED = {
    "quantize": "Whether it comes back when the weights are quantised.",
    "prune": "Whether it comes back when the weights are pruned.",
    "interpolate": "Whether it comes back when the model is merged with others.",
    "relearn": "Whether the forgotten can be brought back by training the model again on similar pictures (relearning).",
    "relearn_retain": "Whether it comes back when the model is trained further on what it was to keep.",
    "": "Whether a stronger network, or a person, recognises somebody in a completion.",
}
"attack of an audit -> what is not tested without it"
GROUP = "Whether the group is recognised after an attack: attacks seek single pictures."


class GeneratorEvidence(PictureEvidence):
    """What is said of a run on a generator."""

    template = "generator.html.jinja"
    limits = (
        "These are measurements of one model on the pictures and the corruption named here. They are evidence of "
        "forgetting, not a guarantee: other corruptions, further training or a look inside the weights may show what was "
        "not seen. A model that never saw a picture may complete it well, too: what counts is what is left beyond the "
        "retrained model."
    )

    def not_tested(self, scores: Sequence[Score]) -> list[str]:
        found = list(NOT_TESTED.values())
        if not any(score.model == "retrained" for score in scores):
            found.insert(0, NO_ORACLE)
        if any(score.measure == "group_recognition" for score in scores):
            found.insert(0, GROUP)
        return found

    def tested_by(self, attacks: Iterable[str]) -> list[str]:
        tested = NOT_TESTED | {"group": GROUP}
        return [tested[name] for name in attacks if name in tested]

    def sections(self, contents: Contents, folder: RunFolder) -> dict[str, Any]:
        parts = generator_parts(contents, folder)
        return parts | {"pictures": bool(parts["grid"])}

    def loading(self, folder: RunFolder) -> tuple[str, str]:
        """By the library and class that its configuration names."""
        path = folder.model / "config.json"
        config = storage.read_json(path) if path.is_file() else {}
        if "_class_name" in config:
            return loading("diffusers", str(config["_class_name"]))
        return loading("transformers", str((config.get("architectures") or ["ViTMAEForPreTraining"])[0]))

    def digests(self, recipe: GeneratorRecipe, read_as: Mapping[str, Any]) -> dict[str, str]:
        return read_generator_parts(recipe, read_as["size"]).digests()
