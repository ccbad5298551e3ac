"""Attacks on a tiny classifier: what each changes, and that what it measures is what it says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from audit_checks import check_attack, examples
from expunge.data.images.request import means_a_group
from expunge.kinds.classifier.attacks.attack import Side, attacks
from expunge.kinds.classifier.attacks.examples import Examples, evenly, known, matched
from expunge.kinds.classifier.attacks.membership import scores
from expunge.kinds.classifier.attacks.probing import layer_features, right
from expunge.kinds.classifier.attacks.relearning import Way, batches
from expunge.kinds.classifier.damage import summed_up
from expunge.kinds.classifier.recipe import ImageAudit
from expunge.kinds.classifier.task import ImageClassifier
from expunge.runs.attacking import AnyAttack
from expunge.runs.attacks.noise import noisy
from expunge.runs.attacks.pruning import pruned
from small_images import pictures, tiny_resnet, tiny_vit

Make = Callable[..., ImageClassifier]


def side(make: Make = tiny_resnet) -> Side:
    task, other = make(), make(seed=1)
    return Side(
        look=lambda: task,
        fresh=make,
        base=lambda: other,
        reference=lambda: other,
        asked=examples(18, 0),
        retain=pictures(40, seed=2),
        holdout=examples(14, 3),
        settings=ImageAudit(relearning_steps=3),
    )


def by_name(name: str) -> AnyAttack[Side]:
    return next(attack for attack in attacks() if attack.name == name)


@pytest.mark.parametrize("attack", attacks(), ids=lambda attack: attack.name)
@pytest.mark.parametrize("make", [tiny_resnet, tiny_vit], ids=["resnet", "vit"])
def test_every_attack(attack: AnyAttack[Side], make: Make) -> None:
    check_attack(attack, partial(side, make))


def test_the_true_class_is_known_by_its_probability() -> None:
    task, some = tiny_vit(), pictures(10)
    logits = task.outputs(some).double().numpy()
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert known(task, some) == pytest.approx(p[np.arange(10), some.labels.numpy()], rel=1e-6)
    with torch.no_grad():
        next(task.model.parameters()).fill_(float("nan"))
    assert known(task, some) == [0.0] * 10


def test_halves_hold_every_class_and_neighbours_stay_together() -> None:
    labels = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
    made = pictures(10)
    one = Examples(type(made)(pixels=made.pixels, labels=labels), tuple(map(str, range(10))))
    assert one.given == [0, 1, 5, 6, 8]
    assert one.held_back == [2, 3, 4, 7, 9]
    named = Examples(one.pictures, one.ids, (*"abaab", *"cdc", *"ee"))
    assert named.given == [0, 2, 3, 5, 7, 8], (
        "of a class all pictures of a person or none, but of one person the first half"
    )
    assert one.digest != Examples(made, one.ids).digest


def test_what_is_matched_has_the_same_classes_as_often() -> None:
    generator = np.random.default_rng(0)
    labels, others = generator.integers(0, 5, 70), generator.integers(1, 7, 50)
    for wanted in (1000, 20):
        rows, partners = matched(labels, others, wanted)
        assert (labels[rows] == others[partners]).all()
        assert len(set(rows.tolist())) == len(rows) == len(set(partners.tolist()))
        assert len(rows) <= wanted
    both = [min((labels == c).sum(), (others == c).sum()) for c in range(7)]
    assert len(matched(labels, others, 1000)[0]) == sum(both)
    assert [len(each) for each in matched(np.zeros(4, int), np.ones(4, int), 10)] == [0, 0]
    assert evenly(10, 4).tolist() == [0, 2, 5, 7]
    assert evenly(3, 4).tolist() == [0, 1, 2]


def test_weights_are_moved_back_only_beside_a_retrained_model_of_the_same_form() -> None:
    one = side()
    towards = by_name("interpolate")
    assert towards.missing(one) is None
    one.base = one.look
    assert next(iter(towards.carry_out(one))).values == pytest.approx(known(one.look(), one.asked.pictures), rel=1e-5)
    one.base = tiny_vit
    assert "another shape" in (towards.missing(one) or "")
    one.reference = None
    assert "--control MODEL" in (towards.missing(one) or "")


def test_attackers_that_train_are_asked_for_what_they_were_not_given() -> None:
    one = side()
    for trial in by_name("relearn").carry_out(one):
        assert trial.facts == one.asked.held_back
    for name, allowed in (("given", one.asked.given), ("retain", [])):
        shown = torch.cat([batch.pixels for batch in batches(one, Way(name, 1e-3), 4)])
        same = [n for n in range(len(one.asked)) if (shown == one.asked.pictures.pixels[n]).flatten(1).all(1).any()]
        assert same == allowed


def test_training_on_the_retain_set_moves_the_model_and_its_statistics() -> None:
    one = side()
    made: list[ImageClassifier] = []

    def fresh() -> ImageClassifier:
        made.append(tiny_resnet())
        return made[-1]

    one.fresh = fresh
    list(by_name("relearn_retain").carry_out(one))
    means = [dict(task.model.named_buffers()) for task in (made[0], tiny_resnet())]
    assert any(not torch.equal(means[0][name], means[1][name]) for name in means[0] if "running_mean" in name)
    made.clear()
    list(by_name("relearn").carry_out(one))  # the first way is on the other half alone
    held = dict(made[0].model.named_buffers())
    assert all(torch.equal(held[name], value) for name, value in means[1].items() if "running_mean" in name)
    weights = [dict(task.model.named_parameters()) for task in (made[0], tiny_resnet())]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_weights_that_are_rounded_and_pruned_are_those_of_layers() -> None:
    task = tiny_resnet()
    names = set(side().matrices(task))
    assert names == {name for name, p in task.model.named_parameters() if p.dim() > 1 and "normalization" not in name}
    weight = torch.arange(-10.0, 10.0).view(4, 5)
    assert int((pruned(0.3, "", weight) == 0).sum()) == 6
    assert pruned(0.3, "", weight).abs().max() == 10
    big = torch.randn(200, 300, generator=torch.Generator().manual_seed(0))
    change = noisy(0.05, torch.Generator().manual_seed(1), "", big) - big
    assert float(change.std() / big.std()) == pytest.approx(0.05, rel=0.02)


def test_how_much_of_a_change_rounding_keeps_is_said() -> None:
    kept = by_name("quantize").notes(side())["share of the change that the rounding keeps"]
    assert isinstance(kept, dict)
    assert kept["8 bits, a scale a row"] == pytest.approx(1, abs=0.02)
    one = side()
    one.base = one.look
    same = by_name("quantize").notes(one)["share of the change that the rounding keeps"]
    assert isinstance(same, dict)
    assert set(same.values()) == {None}


def test_membership_scores_are_those_written_out() -> None:
    one = side()
    assert one.holdout is not None
    found = scores(one)
    for place, each in enumerate((one.asked, one.holdout)):
        phi = []
        for task in (one.look(), one.base()):
            p = torch.tensor(np.exp(task.outputs(each.pictures).double().numpy()))
            p /= p.sum(1, keepdim=True)
            own = p.gather(1, each.pictures.labels[:, None])[:, 0]
            phi.append((own / (1 - own)).log().numpy())
            entropy = -(p * p.log()).sum(1).numpy()
            if task is one.look():
                assert found["certainty (entropy below 0)"][place] == pytest.approx(-entropy, rel=1e-6)
        assert found["confidence in the true class"][place] == pytest.approx(phi[0], rel=1e-6)
        assert found["confidence compared with the base model's"][place] == pytest.approx(
            phi[0] - phi[1], rel=1e-5, abs=1e-9
        )


def test_membership_needs_unseen_pictures_and_of_them_it_is_chance() -> None:
    one = side()
    assert one.holdout is not None
    one.reference = None
    names = list(scores(one))
    one.asked = one.holdout
    trials = list(by_name("membership").carry_out(one))
    assert [trial.setting for trial in trials] == names, "the same on both sides"
    assert {trial.mean for trial in trials} == {0.5}
    one.holdout = None
    assert "--holdout" in (by_name("membership").missing(one) or "")


def test_a_probe_reads_what_is_there_and_no_more() -> None:
    generator = np.random.default_rng(0)
    labels, wanted = generator.integers(0, 3, 120), generator.integers(0, 3, 60)
    noise = generator.normal(size=(180, 20))
    assert np.mean(right(noise[:120], labels, noise[120:], wanted)) < 0.55
    told = noise.copy()
    told[np.arange(180), np.concatenate([labels, wanted])] += 8
    assert np.mean(right(told[:120], labels, told[120:], wanted)) == 1
    assert right(noise[:5], np.zeros(5, int), noise[5:7], np.zeros(2, int)) == [0.0, 0.0]


@pytest.mark.parametrize("make", [tiny_resnet, tiny_vit], ids=["resnet", "vit"])
def test_features_are_those_of_blocks_and_of_the_head(make: Make) -> None:
    task, some = make(), pictures(6)
    found = layer_features(task, some)
    assert list(found)[-1] == "what the head sees"
    assert found["what the head sees"] == pytest.approx(task.features(some).numpy(), rel=1e-6)
    hidden = task.model(task.normalised(some.pixels), output_hidden_states=True).hidden_states[-1]
    mean = hidden.flatten(2).mean(2) if hidden.dim() == 4 else hidden.mean(1)
    assert found["after block 2 of 2"] == pytest.approx(mean.detach().numpy(), rel=1e-4, abs=1e-5)


def test_what_is_kept_is_a_share_of_before() -> None:
    assert summed_up([1, 1, 1, 0], [1, 0, 1, 0])["kept"][0] == pytest.approx(2 / 3)
    assert summed_up([1.0] * 50, [1.0] * 50)["kept"][1] < 1
    assert summed_up([0.0, 0.0], [1.0, 0.0])["kept"] is None


@pytest.mark.parametrize(
    ("forget", "group"),
    [
        ("age <= 12", True),
        ("class:ant", True),
        ("random:0.1", False),
        ("identity:person:3", False),
        ("People.CSV", False),
    ],
)
def test_groups_are_queries_and_classes(forget: str, group: bool) -> None:
    assert means_a_group(forget) is group
