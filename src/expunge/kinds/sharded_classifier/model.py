"""A SISA model on disk: a folder of shard classifiers, each plain `from_pretrained`, and `sisa.json` with everything
else.

```
sisa.json                      settings, seed, classes; which picture is in which shard and slice; files by digest
shard-00/, shard-01/, ...      a classifier each
slices/shard-00-slice-01/ ...  the same after the slices before the last: a request resumes from there
```
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from expunge.core import storage
from expunge.errors import ModelError
from expunge.kinds.classifier.model import load_classifier
from expunge.kinds.classifier.task import ImageClassifier
from expunge.kinds.sharded_classifier.sharding import FEWEST, Member, Sharding, Stage, stages
from expunge.models.digest import INDEX, sharded_folder
from expunge.models.source import ModelSource, locate

FORMAT = 1
"of `sisa.json`"
AGAIN = "restore the folder from a copy, or train from scratch: a changed shard gives no guarantee"


@dataclass(frozen=True, slots=True)
class Sharded:
    """The content of `sisa.json`."""

    folder: Path
    sharding: Sharding
    members: tuple[Member, ...]
    classes: tuple[str, ...]
    size: int
    vote: str
    torch: str


def write_index(
    folder: Path, sharding: Sharding, members: Sequence[Member], classes: Sequence[str], size: int, vote: str
) -> None:
    """Write `sisa.json`, last of all: with it the folder is complete. It has nothing on pictures that are not
    members."""
    storage.write_json(
        folder / INDEX,
        {
            "format": FORMAT,
            "sharding": asdict(sharding),
            "vote": vote,
            "classes": list(classes),
            "size": size,
            "torch": torch.__version__,
            "members": [asdict(member) for member in members],
            "stages": [
                {
                    "folder": stage.folder,
                    "key": stage.key,
                    "pictures": len(stage.ids),
                    "files": storage.digest_folder(folder / stage.folder),
                }
                for stage in stages(sharding, members)
            ],
        },
    )


def read_sharded(name: str) -> Sharded:
    """A SISA model by its folder, or by that of the run it is in. Raises `ModelError` if a file was edited since."""
    folder = sharded_folder(name)
    if folder is None:
        raise ModelError(f"{name} has no SISA model: {INDEX} is missing", next_step="give the folder that a run made")
    content = storage.read_json(folder / INDEX)
    try:
        if content["format"] != FORMAT:
            raise ModelError(f"{folder / INDEX} is of another version", seen=content["format"], allowed=str(FORMAT))
        found = Sharded(
            folder,
            Sharding(**content["sharding"]),
            tuple(Member(**member) for member in content["members"]),
            tuple(content["classes"]),
            int(content["size"]),
            str(content["vote"]),
            str(content["torch"]),
        )
        listed = {stage["folder"]: stage for stage in content["stages"]}
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{folder / INDEX} was not written by a run", seen=repr(error), next_step=AGAIN) from error
    for stage in stages(found.sharding, found.members):
        _refuse_edited(folder, stage, listed.get(stage.folder))
    return found


def _refuse_edited(folder: Path, stage: Stage, listed: dict[str, Any] | None) -> None:
    if listed is None or listed.get("key") != stage.key:
        raise ModelError(
            f"{folder / INDEX} was edited: its settings or pictures are not those that {stage.folder} was trained with",
            next_step=AGAIN,
        )
    here = storage.digest_folder(folder / stage.folder)
    files = listed.get("files") or {}
    wrong = sorted(name for name in {*here, *files} if here.get(name) != files.get(name))
    if wrong:
        state = "missing" if wrong[0] not in here else "new" if wrong[0] not in files else "changed"
        raise ModelError(
            f"{folder / stage.folder / wrong[0]} is {state} since the model was trained",
            seen=f"{len(wrong)} of {len(files)} files of {stage.folder} differ from {INDEX}",
            next_step=AGAIN,
        )


class Ensemble(nn.Module):
    """Shard models as one: pixels to log p, the mean of their probabilities or their vote.

    With the vote, p is the share of first choices, plus the mean probability as one more vote, so that it
    breaks ties.
    """

    is_ensemble = True

    def __init__(self, models: Sequence[nn.Module], vote: str) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)
        self.vote = vote

    def forward(self, pixels: Tensor) -> Tensor:
        """(batch, classes) log probabilities."""
        each = torch.stack([model(pixels).logits.float().softmax(-1) for model in self.models])
        together = each.mean(0)
        if self.vote == "majority":
            choices = nn.functional.one_hot(each.argmax(-1), each.shape[-1]).sum(0)
            together = (choices + together) / (len(self.models) + 1)
        return together.clamp(min=torch.finfo(together.dtype).tiny).log()


def load_shards(found: Sharded) -> ImageClassifier:
    """All shards that were trained, as one classifier."""
    last = [stage for stage in stages(found.sharding, found.members) if stage.slice == found.sharding.slices - 1]
    trained = [stage for stage in last if len(stage.ids) >= FEWEST]
    shards = [load_classifier(locate(str(found.folder / stage.folder)), found.classes, found.size) for stage in trained]
    return ImageClassifier(
        Ensemble([shard.model for shard in shards], found.vote).eval(), shards[0].mean, shards[0].std
    )


def locate_sharded(name: str) -> ModelSource:
    """A SISA model by its folder, or by that of the run it is in."""
    found = read_sharded(name)
    return ModelSource.of_folder(found.folder, name)


def load_sharded(source: ModelSource, classes: Sequence[str], size: int) -> ImageClassifier:
    """Load what `locate_sharded` found. Raises `ModelError` for other classes or another size."""
    found = read_sharded(str(source.folder))
    if (found.classes, found.size) != (tuple(classes), size):
        raise ModelError(
            f"{source.name} was trained on other classes or another size",
            seen=f"{', '.join(classes[:8])}; {size} pixels",
            allowed=f"{', '.join(found.classes[:8])}; {found.size} pixels",
        )
    return load_shards(found)
