"""SISA: what a request leaves is, bit for bit, a training that never had the pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForImageClassification, ViTConfig, ViTForImageClassification

from expunge.core import storage
from expunge.errors import DataError, ModelError
from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.task import ImageClassifier
from expunge.kinds.sharded_classifier.model import Ensemble, load_shards, read_sharded, write_index
from expunge.kinds.sharded_classifier.sharding import (
    Member,
    Sharding,
    expected_share,
    missing_classes,
    placed,
    stages,
    without,
)
from expunge.kinds.sharded_classifier.training import Data, Saving, one_thread, train
from small_images import pictures, tiny_resnet

CLASSES = ("a", "b", "c", "d")
SIDE = 16
COUNT = 60
IDS = tuple(f"people/{number:03d}.png" for number in range(COUNT))
PICTURES = pictures(COUNT, side=SIDE)
SETTINGS = Sharding(
    shards=3, slices=2, seed=5, epochs=1.5, learning_rate=0.01, optimizer="adam", weight_decay=1e-3, batch_size=8,
    class_weights=True, flip=False, origin={"model": "tiny"},
)  # fmt: skip


def named(task: ImageClassifier) -> ImageClassifier:
    task.model.config.id2label = dict(enumerate(CLASSES))  # type: ignore[union-attr]
    return task


def resnet(seed: int) -> ImageClassifier:
    return named(tiny_resnet(seed=seed))


def vit_with_dropout(seed: int) -> ImageClassifier:
    torch.manual_seed(seed)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=SIDE, patch_size=8,
        num_labels=4, hidden_dropout_prob=0.3,
    )  # fmt: skip
    return named(ImageClassifier(ViTForImageClassification(config).eval()))


def fill(
    folder: Path,
    members: Sequence[Member],
    *,
    kept: Path | None = None,
    sharding: Sharding = SETTINGS,
    new: Callable[[int], ImageClassifier] = resnet,
    checkpoints: Path | None = None,
    vote: str = "mean",
) -> list[tuple[int, int]]:
    """Train a SISA model; the stages trained."""
    made = train(
        sharding,
        members,
        Data(IDS, PICTURES, CLASSES),
        folder,
        new,
        reuse=kept,
        saving=Saving(checkpoints, 0.0),
    )
    write_index(folder, sharding, members, CLASSES, SIDE, vote)
    return [(stage.shard, stage.slice) for stage in made]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    assert fill(folder, everyone()) == list(product(range(3), range(2)))
    return folder


def everyone(sharding: Sharding = SETTINGS) -> list[Member]:
    return placed(sharding, IDS, PICTURES)


def in_stage(shard: int, slice_: int) -> list[str]:
    return [member.id for member in everyone() if (member.shard, member.slice) == (shard, slice_)]


def test_where_a_picture_is_depends_on_its_name_and_the_seed_alone() -> None:
    alone = placed(replace(SETTINGS, shards=1, slices=1), IDS[:2], PICTURES.take(torch.arange(2)))
    assert [(member.shard, member.slice) for member in alone] == [(0, 0)] * 2
    places = {member.id: (member.shard, member.slice) for member in everyone()}
    half = torch.arange(COUNT - 1, 29, -1)
    fewer = placed(SETTINGS, [IDS[row] for row in half], PICTURES.take(half))
    assert len(fewer) == 30
    assert all(places[member.id] == (member.shard, member.slice) for member in fewer)
    assert set(places.values()) == set(product(range(3), range(2)))
    other = {member.id: (member.shard, member.slice) for member in everyone(replace(SETTINGS, seed=6))}
    assert other != places


def test_pictures_of_one_person_are_together() -> None:
    people = [f"person {number // 5}" for number in range(COUNT)]
    members = {member.id: member for member in placed(SETTINGS, IDS, PICTURES, people)}
    for start in range(0, COUNT, 5):
        assert len({(members[id_].shard, members[id_].slice) for id_ in IDS[start : start + 5]}) == 1


@pytest.mark.parametrize("new", [resnet, vit_with_dropout])
def test_a_request_leaves_what_training_without_the_pictures_gives(
    new: Callable[[int], ImageClassifier], tmp_path: Path
) -> None:
    sharding = replace(SETTINGS, flip=True)
    fill(tmp_path / "base", everyone(sharding), sharding=sharding, new=new)
    gone = [in_stage(1, 1)[0], in_stage(2, 0)[0]]
    left = without(everyone(sharding), gone)
    assert fill(tmp_path / "after", left, kept=tmp_path / "base", sharding=sharding, new=new) == [
        (1, 1),
        (2, 0),
        (2, 1),
    ]
    rows = torch.tensor([row for row, id_ in enumerate(IDS) if id_ not in gone])
    never = placed(sharding, [IDS[row] for row in rows], PICTURES.take(rows))
    assert fill(tmp_path / "never", never, sharding=sharding, new=new) == list(product(range(3), range(2)))
    assert storage.digest_folder(tmp_path / "after") == storage.digest_folder(tmp_path / "never")
    before, after = storage.digest_folder(tmp_path / "base"), storage.digest_folder(tmp_path / "after")
    weights = {name for name in after if name.endswith(".safetensors")}
    changed = {name for name in weights if before[name] != after[name]}
    assert changed == {f"{place}/model.safetensors" for place in ("shard-01", "slices/shard-02-slice-01", "shard-02")}
    assert not any(id_ in (tmp_path / "after" / "sisa.json").read_text() for id_ in gone)


def test_a_series_of_requests_in_any_order_leaves_the_same(whole: Path, tmp_path: Path) -> None:
    first, second = [in_stage(0, 1)[0]], [in_stage(0, 0)[1], in_stage(1, 0)[0]]
    for name, requests in (("one", (first, second)), ("two", (second, first))):
        kept, members = whole, everyone()
        for number, request in enumerate(requests):
            members = without(members, request)
            fill(tmp_path / name / str(number), members, kept=kept)
            kept = tmp_path / name / str(number)
    fill(tmp_path / "never", without(everyone(), first + second))
    wanted = storage.digest_folder(tmp_path / "never")
    assert storage.digest_folder(tmp_path / "one" / "1") == wanted
    assert storage.digest_folder(tmp_path / "two" / "1") == wanted


class Killed(BaseException):
    pass


def test_killed_at_any_step_or_file_it_goes_on_to_the_same_bits(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = without(everyone(), [in_stage(0, 0)[0]])
    fill(tmp_path / "unbroken", members, kept=whole)
    wanted = storage.digest_folder(tmp_path / "unbroken")
    left = [0]

    def dying(function: Callable[..., object]) -> Callable[..., object]:
        def called(*arguments: object, **more: object) -> object:
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return function(*arguments, **more)

        return called

    monkeypatch.setattr(torch.optim.Adam, "step", dying(torch.optim.Adam.step))
    monkeypatch.setattr(storage, "write_json", dying(storage.write_json))
    broken = 0
    for moment in range(1, 200, 2):
        left[0] = moment
        folder, checkpoints = tmp_path / str(moment), tmp_path / f"checkpoints-{moment}"
        try:
            fill(folder, members, kept=whole, checkpoints=checkpoints)
            break
        except Killed:
            broken += 1
        left[0] = 0
        fill(folder, members, kept=whole, checkpoints=checkpoints)
        assert storage.digest_folder(folder) == wanted, moment
        assert list(checkpoints.iterdir()) == []
    assert broken > 5


def test_a_changed_or_new_picture_is_a_request_too(whole: Path, tmp_path: Path) -> None:
    changed = PICTURES.labels.clone()
    row = IDS.index(in_stage(1, 1)[0])
    changed[row] = (changed[row] + 1) % 4
    members = placed(SETTINGS, IDS, replace(PICTURES, labels=changed))
    assert [stage.key for stage in stages(SETTINGS, members)][:3] == [
        stage.key for stage in stages(SETTINGS, everyone())
    ][:3]
    assert fill(tmp_path, members, kept=whole) == [(1, 1)]


def test_what_a_stage_costs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spent: list[int] = []
    honest = Work.train

    def counted(work: Work, *arguments: object, **more: object) -> None:
        honest(work, *arguments, **more)  # type: ignore[arg-type]
        spent.append(work.cost.passes)

    monkeypatch.setattr(Work, "train", counted)
    fill(tmp_path, everyone())
    found = stages(SETTINGS, everyone())
    assert spent == [stage.passes for stage in found]
    assert sum(spent) == pytest.approx(3 * SETTINGS.epochs * COUNT, rel=0.15)


def test_the_rate_falls_over_all_slices() -> None:
    phases = [replace(SETTINGS, slices=3).phase(number) for number in range(3)]
    assert [phase.part for phase in phases] == [(0, pytest.approx(1 / 6)), (1 / 6, 0.5), (0.5, 1.0)]
    assert sum(phase.epochs * (number + 1) / 3 for number, phase in enumerate(phases)) == pytest.approx(1.5)


def test_the_expected_share_by_enumeration() -> None:
    shards, slices = 2, 3
    cells = list(product(range(shards), range(slices)))
    for pictures_ in (1, 2, 3):
        total = 0.0
        for request in product(cells, repeat=pictures_):
            for shard in range(shards):
                touched = [slice_ for where, slice_ in request if where == shard]
                redone = range(min(touched), slices) if touched else range(0)
                total += sum(slice_ + 1 for slice_ in redone) / (shards * 6)
        assert expected_share(shards, slices, pictures_) == pytest.approx(total / len(cells) ** pictures_)
    assert expected_share(8, 4, 1) == pytest.approx((2 * 4 + 1) / (3 * 4 * 8))
    assert expected_share(8, 1, 1) == pytest.approx(1 / 8)


class Says(nn.Module):
    def __init__(self, probabilities: list[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(probabilities).log())

    def forward(self, pixels: torch.Tensor) -> ImageClassifier:
        output = type("Output", (), {"logits": self.weight.expand(len(pixels), -1)})
        return output  # type: ignore[return-value]


def test_answers_are_joined_by_mean_or_vote() -> None:
    models = [Says([0.9, 0.1]), Says([0.4, 0.6]), Says([0.45, 0.55])]
    pixels = torch.zeros(2, 3, 4, 4)
    mean = Ensemble(models, "mean")(pixels).exp()
    torch.testing.assert_close(mean[1], torch.tensor([1.75 / 3, 1.25 / 3]))
    vote = Ensemble(models, "majority")(pixels).exp()
    torch.testing.assert_close(vote[0], torch.tensor([(1 + 1.75 / 3) / 4, (2 + 1.25 / 3) / 4]))
    tied = Ensemble(models[:2], "majority")(pixels)
    assert tied[0].argmax() == 0


def test_each_shard_is_a_plain_classifier_and_all_together_are_one(whole: Path) -> None:
    found = read_sharded(str(whole))
    assert (found.classes, found.size, found.vote) == (CLASSES, SIDE, "mean")
    together = load_shards(found)
    each = []
    for shard in range(3):
        model = AutoModelForImageClassification.from_pretrained(whole / f"shard-{shard:02d}")
        assert model.config.id2label == dict(enumerate(CLASSES))
        with torch.no_grad():
            each.append(model(together.normalised(PICTURES.pixels[:7])).logits.softmax(-1))
    taken = PICTURES.take(torch.arange(7))
    torch.testing.assert_close(together.outputs(taken).exp(), torch.stack(each).mean(0))


def test_a_shard_that_lost_all_its_pictures_has_no_vote(whole: Path, tmp_path: Path) -> None:
    left = without(everyone(), in_stage(0, 0) + in_stage(0, 1))
    assert fill(tmp_path / "after", left, kept=whole) == [(0, 0), (0, 1)]
    assert len(load_shards(read_sharded(str(tmp_path / "after"))).model.models) == 2  # type: ignore[arg-type]
    labels = dict(zip(IDS, PICTURES.labels.tolist(), strict=True))
    assert missing_classes(SETTINGS, left, labels, CLASSES) == [
        "shard 0 holds 0 pictures: it was not trained, and has no vote"
    ]
    fill(tmp_path / "never", left)
    assert storage.digest_folder(tmp_path / "never") == storage.digest_folder(tmp_path / "after")


def test_too_few_pictures_are_refused() -> None:
    with pytest.raises(DataError, match="too few pictures for 3 shards of 2 slices") as caught:
        placed(SETTINGS, IDS[:11], PICTURES.take(torch.arange(11)))
    assert caught.value.seen == "11 pictures to train on"
    assert len(placed(SETTINGS, IDS[:12], PICTURES.take(torch.arange(12)))) == 12


def test_ids_it_was_never_trained_on_are_refused() -> None:
    with pytest.raises(DataError, match="1 of 2 pictures to forget were never trained on") as caught:
        without(everyone(), [IDS[0], "people/060.png"])
    assert caught.value.next_step is not None
    assert "did you mean people/0" in caught.value.next_step


def test_a_class_that_a_shard_lacks_is_told() -> None:
    labels = dict(zip(IDS, PICTURES.labels.tolist(), strict=True))
    gone = [member.id for member in everyone() if member.shard == 2 and labels[member.id] == 1]
    assert missing_classes(SETTINGS, everyone(), labels, CLASSES) == []
    (note,) = missing_classes(SETTINGS, without(everyone(), gone), labels, CLASSES)
    assert note.startswith("shard 2 has no picture of b, and cannot learn")


def test_an_edited_folder_is_refused(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "edited"
    fill(folder, everyone(), kept=whole)
    read_sharded(str(folder))
    weights = folder / "slices" / "shard-01-slice-01" / "model.safetensors"
    honest = load_file(weights)
    save_file({name: value + 1 for name, value in honest.items()}, weights, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"shard-01-slice-01/model\.safetensors is changed since"):
        read_sharded(str(folder))
    weights.unlink()
    with pytest.raises(ModelError, match="is missing since"):
        read_sharded(str(folder))
    index = json.loads((whole / "sisa.json").read_text())
    index["members"].pop()
    (folder / "sisa.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="was edited: its settings or pictures are not those"):
        read_sharded(str(folder))
    (folder / "sisa.json").write_text("{}")
    with pytest.raises(ModelError, match="was not written by a run"):
        read_sharded(str(folder))
    with pytest.raises(ModelError, match="has no SISA model"):
        read_sharded(str(tmp_path))


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
