"""Everything runs where Accelerate finds a device: no method, measure or attack leaves a tensor behind.

On a machine without a GPU a pretended one is used (`pretended_device`), so that values are the processor's bit for bit.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_generator_methods as generators
import test_image_methods as classifiers
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

import expunge
from expunge import spine
from expunge.kinds.classifier.model import NEW, new_classifier, save_classifier
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.kinds.classifier.task import ImageClassifier
from expunge.kinds.classifier.training import unlearn
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.signals.signal import lookup
from expunge.kinds.language.task import CausalLM
from expunge.models.source import locate
from expunge.ops.layers import reset
from expunge.runs.recipe import make
from expunge.runs.registry import make_method, method_class
from expunge.suites.challenge import run as contest
from expunge.suites.challenge.models import contest_jobs, make_model
from expunge.train.phase import Phase
from expunge.train.precision import found_device
from pretended_device import MixedDevicesError, pretended
from small_generators import SMALL_GENERATOR, generator_work, tiny_generator
from small_images import SMALL_IMAGES, pictures, small_work, tiny_resnet, write_class_folders
from tiny import ignore_log, random_blocks, write_table

ONCE = Phase(name="unlearn", epochs=1, learning_rate=1e-3, batch_size=16)
SMALL_SETS = {"retain": 16, "forget": 8}


def briefly(kind: Any, name: str) -> dict[str, Any]:
    """A method's settings in which whatever is repeated is done once, or twice where it is a number of parts."""
    fields = method_class(name).model_fields
    once = {field: 1 for field in fields if field.endswith(("epochs", "rounds", "noise_repeats", "views"))}
    few = {field: 2 for field in fields if field.endswith(("steps", "noise_size"))}
    sizes = {field: 8 for field in fields if field.endswith("batch_size")}
    return {"name": name, **kind.SETTINGS.get(name, {}), **once, **few, **sizes}


@pytest.mark.parametrize("name", classifiers.METHODS)
def test_a_classifier_forgets_there_as_here(name: str) -> None:
    def forgotten(task: ImageClassifier) -> dict[str, Tensor]:
        work = small_work(task, **SMALL_SETS, training=ONCE)
        unlearn(work, make_method(briefly(classifiers, name)), ONCE)
        return {key: value.cpu() for key, value in work.model.state_dict().items()}

    here = forgotten(tiny_resnet())
    with pretended() as device:
        task = tiny_resnet()
        task.model.to(device)
        there = forgotten(task)
        assert task.device == device
    assert classifiers.equal(here, there)


@pytest.mark.parametrize("name", generators.METHODS)
def test_a_generator_forgets_there_as_here(name: str) -> None:
    def forgotten() -> dict[str, Tensor]:
        work = generator_work(tiny_generator(), **SMALL_SETS)
        make_method(briefly(generators, name)).apply(work)
        assert work.task.device == found_device()
        return {key: value.cpu() for key, value in work.model.state_dict().items()}

    here = forgotten()
    with pretended():
        there = forgotten()
    assert generators.equal(here, there)


@pytest.mark.parametrize("name", ["gradient_difference", "simnpo", "npo", "npo_sam", "sage", "undo"])
def test_a_language_model_forgets_there_as_here(name: str, tmp_path: Path) -> None:
    """Batches, what is known of them, the guard, the optimizer and its checkpoints."""
    forget = write_table(tmp_path / "forget", random_blocks([6, 20, 9, 12], seed=1))
    retain = write_table(tmp_path / "retain", random_blocks([8, 11, 16, 5], seed=2))
    costs = np.linspace(20, 60, 4, dtype=np.float32)
    forget = forget.with_signal("reference_nll", lookup(costs, "example", forget))

    def forgotten(place: str, **more: Any) -> dict[str, Tensor]:
        torch.manual_seed(0)
        # The fused attention makes its mask where no pretence sees it.
        config = GPT2Config(vocab_size=200, n_embd=16, n_layer=2, n_head=2, n_positions=64, attn_implementation="eager")
        model = GPT2LMHeadModel(config).eval().to(found_device())
        settings = {"learning_rate": 1e-3, "max_retain_increase": 9.0, "max_steps": 3, "num_train_epochs": 9}
        sizes = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 2, "probe_steps": 1}
        work = LanguageWork(
            task=CausalLM(model, None),  # type: ignore[arg-type]
            forget=forget,
            retain=retain,
            training=Training(**settings, **sizes, save_seconds=1e-9),
            seed=0,
            checkpoints=tmp_path / place,
            log=ignore_log,
            **more,
        )
        known = method_class(name).model_fields
        given = {"retain_weight": 1.0, "steps": 3, "recovered": 0.0, "beta": 0.1}
        work.carry_out(make_method({"name": name} | {key: value for key, value in given.items() if key in known}))
        assert work.task.device == found_device()
        return {key: value.cpu() for key, value in work.task.model.state_dict().items()}

    here = forgotten("here")
    with pretended():
        with pytest.raises(classifiers.Killed):
            forgotten("there", on_progress=lambda step, steps, figures: stop(step))
        there = forgotten("there")
    assert classifiers.equal(here, there)


def stop(step: int) -> None:
    if step == 3:
        raise classifiers.Killed


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("kind", ["classifier", "generator"])
def test_a_method_runs_on_a_gpu(kind: str) -> None:
    task = (tiny_resnet if kind == "classifier" else tiny_generator)()
    task.model.to("cuda")
    before = {key: value.clone() for key, value in task.model.state_dict().items()}
    if kind == "classifier":
        unlearn(small_work(task, **SMALL_SETS), make_method(briefly(classifiers, "scrub")), ONCE)
        assert task.outputs(pictures(8)).device.type == "cuda"
    else:
        make_method(briefly(generators, "encoder_scrubbing")).apply(generator_work(task, **SMALL_SETS))
    after = task.model.state_dict()
    assert all(value.device.type == "cuda" and bool(value.isfinite().all()) for value in after.values())
    assert any(not torch.equal(after[key], before[key]) for key in before)


# What would be noticed


def test_mixing_is_noticed() -> None:
    with pretended() as device:
        here, there = torch.ones(3), torch.ones(3).to(device)
        assert (here.device.type, there.device, (2 * there).view(1, 3).device) == ("cpu", device, device)
        assert there[here.long()].tolist() == [1.0, 1.0, 1.0]  # places may be looked up from the processor
        assert (there + torch.tensor(1.0)).tolist() == [2.0, 2.0, 2.0]  # and numbers may be of it
        with pytest.raises(MixedDevicesError, match="left behind"):
            here + there
        with pytest.raises(MixedDevicesError, match="left behind"):
            torch.where(here > 0, there, there)
        with pytest.raises(MixedDevicesError, match="indices"):
            here[there.long()]
        with pytest.raises(MixedDevicesError, match="generator"):
            torch.randn(3, device=device, generator=torch.Generator())
        with pytest.raises(MixedDevicesError, match="not what the processor draws"):
            torch.nn.init.normal_(there)
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        assert there.cpu().numpy().sum() == 3


def test_mixing_is_noticed_in_a_backward_pass() -> None:
    class Careless(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, value: Tensor) -> Tensor:
            return value * 2

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
            return gradient + torch.ones(3)

    with pretended() as device:
        value = torch.ones(3, device=device, requires_grad=True)
        with pytest.raises(MixedDevicesError):
            Careless.apply(value).sum().backward()


@pytest.mark.parametrize("left", ["labels", "shift", "teacher"])
def test_a_method_that_leaves_something_behind_is_caught(left: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pretended() as device:
        task = tiny_resnet()
        task.model.to(device)
        work = small_work(task, **SMALL_SETS)
        if left == "labels":

            def loss(batch: Any) -> Tensor:
                return torch.nn.functional.cross_entropy(task.logits_of(batch.pixels), work.retain.labels[batch.rows])
        elif left == "shift":

            def loss(batch: Any) -> Tensor:
                return task.logits_of(batch.pixels - torch.zeros(1, 3, 1, 1)).mean()
        else:
            teacher = tiny_resnet()

            def loss(batch: Any) -> Tensor:
                return (task.logits_of(batch.pixels) - teacher.outputs(work.retain)[batch.rows]).square().mean()

        with pytest.raises(MixedDevicesError):
            work.train(ONCE, work.retain, loss)


# Draws and memories


def test_new_weights_are_those_of_the_processor() -> None:
    here = new_classifier("resnet18-small", ["a", "b"], 3)
    again = copy.deepcopy(here.model)
    reset([again], torch.Generator().manual_seed(5))
    with pretended() as device:
        there = new_classifier("resnet18-small", ["a", "b"], 3)
        assert there.device == device
        assert classifiers.equal(here.model.state_dict(), {k: v.cpu() for k, v in there.model.state_dict().items()})
        reset([there.model], torch.Generator().manual_seed(5))
        assert there.device == device
        assert classifiers.equal(again.state_dict(), {k: v.cpu() for k, v in there.model.state_dict().items()})


@pytest.mark.parametrize("name", ["scrub_r", "sfron"])
def test_an_interrupted_run_goes_on_there(name: str, tmp_path: Path) -> None:
    """Optimizers' moments and what a method keeps come back from files of the processor's memory."""

    def forgotten(**more: Any) -> Any:
        with pretended() as device:
            task = tiny_resnet()
            task.model.to(device)
            work = small_work(task, **SMALL_SETS, **more)
            unlearn(
                work,
                make_method(
                    briefly(classifiers, name) | {"epochs": 2}
                    if name == "scrub_r"
                    else briefly(classifiers, name) | {"steps": 10}
                ),
                ONCE,
            )
            return {key: value.cpu() for key, value in work.model.state_dict().items()}

    phases: list[str] = []
    whole = forgotten(on_progress=lambda phase, share, loss: phases.append(phase))
    with pytest.raises(classifiers.Killed):
        forgotten(checkpoints=tmp_path, save_seconds=0.0, on_progress=classifiers.killed_at(len(phases)))
    assert classifiers.equal(forgotten(checkpoints=tmp_path, save_seconds=0.0), whole)


# Whole runs


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_class_folders(tmp_path_factory.mktemp("pictures") / "animals")


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """No drawing, and a smaller network: they take longer than all else."""
    monkeypatch.setattr(spine, "render_report", lambda folder: None)
    tiny = {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"}
    monkeypatch.setitem(NEW, "resnet18-small", tiny)


@pytest.mark.parametrize("method", ["gradient_difference", "sisa"])
def test_a_run_on_a_classifier(method: str, data: Path, tmp_path: Path, brief: None) -> None:
    more: dict[str, Any] = {"method": method, "retrained": "train", "fitting.num_train_epochs": 1}
    if method == "sisa":
        more |= {"method.shards": 2, "method.slices": 1, "method.batch_size": 16, "retrained": "none"}
    else:
        more |= {"method.retain_target": "base"}
    with pretended():
        folder = expunge.run(make(ImageRecipe, {"data": str(data)}, SMALL_IMAGES | more), tmp_path / "run")
    assert {score.model for score in folder.read_scores()} >= {"base", "unlearned"}


def test_a_run_on_a_generator(data: Path, tmp_path: Path, brief: None) -> None:
    given = {"data": str(data), "method": "encoder_scrubbing"}
    more = {
        "evaluation.front": (0.5,),
        "evaluation.attack_pictures": 3,
        "evaluation.attack_steps": 1,
        "method.epochs": 1,
        "fitting.num_train_epochs": 1,
    }
    with pretended():
        folder = expunge.run(make(GeneratorRecipe, given, SMALL_GENERATOR | more), tmp_path / "run")
    found = {score.measure for score in folder.read_scores()}
    assert found >= {"leak_input", "leak_decoder", "leak_probe", "leak_corruption"}


def test_a_contest_makes_its_models_there(data: Path, tmp_path: Path, brief: None) -> None:
    recipe = make(ImageRecipe, {"data": str(data)}, SMALL_IMAGES | {"fitting.num_train_epochs": 1})
    with pretended() as device:
        assert contest.processes(None) == 1  # a GPU is not shared out among as many processes as there are cores
        task = new_classifier("resnet18-small", ["ant", "bee", "cat", "dog"], 0)
        assert task.device == device
        save_classifier(task, tmp_path / "base", 16)
        methods = {"fine_tune": {"method": {"name": "fine_tune"}, "unlearning": {"num_train_epochs": 1.0}}}
        jobs = contest_jobs(recipe, tmp_path, locate(str(tmp_path / "base")), methods, 1)
        for job in (jobs[0], jobs[-1]):
            make_model(job)
            with np.load(job.path) as stored:
                assert np.isfinite(stored["logits_test"]).all()
    assert contest.processes(None) is None
    assert contest.processes(3) == 3
