"""Statements about a finished run on an image classifier."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.score import Score
from expunge.errors import ExpungeError
from expunge.kinds.classifier.parts import read_image_parts
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.kinds.classifier.report.sections import classifier_parts
from expunge.measures.privacy.membership import NOTE
from expunge.models.digest import INDEX, sharded_folder
from expunge.report.contents import Contents
from expunge.report.cost import passes_cost
from expunge.runs.folder import RunFolder
from expunge.runs.kind import Evidence

NOT_TESTED = {
    "": "Attacks on single pictures, which need many models (U-LiRA, RULI, the 2023 challenge): `expunge suite challenge`.",
    "relearn": "Whether the forgotten can be brought back by training the model again on similar pictures (relearning).",
    "relearn_retain": "Whether it comes back when the model is trained further on what it was to keep.",
    "quantize": "Whether it comes back when the weights are quantised.",
    "prune": "Whether it comes back when the weights are pruned.",
    "interpolate": "Whether it comes back when the model is merged with others.",
    "probe": "Whether traces can be read from the model's inner features.",
}
"attack of an audit -> what is not tested without it"
NO_ORACLE = "Comparison with a model retrained without the forget set: `--retrained train` makes one."


class PictureEvidence(Evidence):
    """Statements about a run on any model of pictures."""

    @abstractmethod
    def digests(self, recipe: Any, read_as: Mapping[str, Any]) -> dict[str, str]:
        """Digests of the parts of the pictures, read and split again as recorded."""

    def title(self, recipe: Any) -> str:
        forget = Path(recipe.forget).name if Path(recipe.forget).is_file() else recipe.forget
        return f"{forget} of {Path(recipe.data).name}"

    def cost(self, folder: RunFolder, recipe: Any, trained: Mapping[str, Any]) -> dict[str, Any]:
        return passes_cost(folder, trained)

    def check_inputs(
        self, folder: RunFolder, recipe: Any, record: Mapping[str, Any]
    ) -> Iterable[tuple[str, bool | None]]:
        digests = record.get("digests")
        wanted = {k: v for k, v in digests.items() if k.endswith(" set")} if isinstance(digests, dict) else {}
        if not Path(recipe.data).exists():
            yield f"the pictures {recipe.data}: the file or folder does not exist", None
            return
        try:
            here = self.digests(recipe, record["read_as"])
        except ExpungeError as error:
            yield f"the pictures {recipe.data} cannot be read as they were: {error.what}", False
            return
        except (KeyError, TypeError):
            yield "record.json: read_as is missing or damaged", False
            return
        for name, digest in wanted.items():
            same = here.get(name) == digest
            yield f"the {name} of {recipe.data} {'has' if same else 'does not have'} the recorded digest", same


def loading(library: str, name: str) -> tuple[str, str]:
    """(library, lines of Python) that load a model by its class."""
    return library, (
        f'from {library} import {name}\n\nfolder = "."  # this folder, or where it was uploaded to\n'
        f"model = {name}.from_pretrained(folder)\n"
    )


class ClassifierEvidence(PictureEvidence):
    """Statements about a run on an image classifier."""

    template = "classifier.html.jinja"
    limits = (
        "These are measurements of one model on the pictures named here. They are evidence of forgetting, not a "
        "guarantee: attacks on single pictures, further training or a look inside the weights may show what was not "
        "seen."
    )

    def not_tested(self, scores: Sequence[Score]) -> list[str]:
        compared = any(score.model == "retrained" for score in scores)
        return [*([] if compared else [NO_ORACLE]), *NOT_TESTED.values()]

    def tested_by(self, attacks: Iterable[str]) -> list[str]:
        return [NOT_TESTED[name] for name in attacks if name in NOT_TESTED]

    def remarks(self, scores: Sequence[Score], verdict: Mapping[str, Any]) -> list[str]:
        return [NOTE]

    def sections(self, contents: Contents, folder: RunFolder) -> dict[str, Any]:
        return classifier_parts(contents, folder) | {"pictures": False}

    def loading(self, folder: RunFolder) -> tuple[str, str]:
        return loading("transformers", "AutoModelForImageClassification")

    def digests(self, recipe: ImageRecipe, read_as: Mapping[str, Any]) -> dict[str, str]:
        return read_image_parts(recipe, read_as["size"], read_as["classes"], _trained(recipe)).digests()


def _trained(recipe: ImageRecipe) -> list[str] | None:
    """The pictures that the base model was trained on, if it is a folder of shards, which lists them."""
    folder = sharded_folder(recipe.model)
    return None if folder is None else [member["id"] for member in storage.read_json(folder / INDEX)["members"]]
