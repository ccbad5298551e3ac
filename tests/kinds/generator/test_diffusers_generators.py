"""Generators of diffusers: a vector-quantised autoencoder and a diffusion model, from training to a run."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("diffusers")

import expunge
from expunge import spine
from expunge.errors import ModelError
from expunge.kinds.generator import palette
from expunge.kinds.generator import session as engine
from expunge.kinds.generator.corruption import Corruption
from expunge.kinds.generator.model import NEW, load_generator, new_generator, save_generator
from expunge.kinds.generator.palette import Palette
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.kinds.generator.session import GeneratorWork, fit_generator
from expunge.kinds.generator.story import GeneratorStory
from expunge.models.source import locate
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.runs.recipe import make
from expunge.runs.registry import make_method
from expunge.train.phase import Phase
from expunge.train.session import WithKnown
from small_generators import SMALL_GENERATOR, generator_work
from small_images import write_class_folders

TINY = {
    "vq-small": {"block_out_channels": (8, 8, 8), "norm_num_groups": 4, "num_vq_embeddings": 16, "latent_channels": 4,
                 "vq_embed_dim": 4},
    "palette-small": {"block_out_channels": (8, 8, 8), "norm_num_groups": 4, "attention_head_dim": 4},
}  # fmt: skip
every_kind = pytest.mark.parametrize("name", ["vq-small", "palette-small"])


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, changes in TINY.items():
        kind, settings = NEW[name]
        monkeypatch.setitem(NEW, name, (kind, settings | changes))
    monkeypatch.setattr(spine, "render_report", lambda folder: None)


def fresh(name: str, corruption: str = "random-patches") -> Any:
    return new_generator(name, 16, Corruption(corruption), 0)


def state(work: GeneratorWork) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in work.model.state_dict().items()}


@every_kind
def test_it_learns_and_is_saved_as_diffusers_reads_it(name: str, tmp_path: Path) -> None:
    work = generator_work(fresh(name))
    fit_generator(work, Phase(name="fit", epochs=6, learning_rate=3e-3, optimizer="adamw", batch_size=16))
    losses = work.losses["fit"]
    assert sum(losses[-3:]) < sum(losses[:3])
    save_generator(work.task, tmp_path / "model", 16)
    again = load_generator(locate(str(tmp_path / "model")), 16, Corruption("random-patches"))
    assert type(again) is type(work.task)
    keys = work.keys(4, "x")
    first = work.task.completions(work.retain.take(torch.arange(4)), keys)
    assert torch.equal(again.completions(work.retain.take(torch.arange(4)), keys), first)


@every_kind
@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("more", [{}, {"distance": "euclidean", "noise": "binary", "views": 1, "forget_views": 2}])
def test_scrubbing_changes_the_encoder_alone(
    name: str, live: bool, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if live:
        monkeypatch.setattr(engine, "MOST_BYTES", 0)
    work = generator_work(fresh(name))
    before = state(work)
    method = make_method(
        {"name": "encoder_scrubbing", "batch_size": 16, "epochs": 3, "learning_rate": 3e-3, "alpha": 1, **more}
    )
    method.apply(work)
    after = state(work)
    changed = {key for key in after if not torch.equal(after[key], before[key])}
    parts = (
        ("encoder.", "quant_conv.") if name == "vq-small" else ("conv_in.", "time_embedding.", "down_", "mid_block.")
    )
    assert changed
    assert all(key.startswith(parts) for key in changed)
    losses = work.losses["unlearning"]
    assert sum(losses[-3:]) < sum(losses[:3])


def test_what_noise_becomes_in_a_diffusion_model_depends_on_the_picture() -> None:
    """So the same key twice, for two pictures, is computed twice; of other models once."""
    for name, same in (("palette-small", False), ("vq-small", True)):
        work = generator_work(fresh(name))
        keys = work.keys(4, "x").repeat(2)
        lost = work.forget.take(torch.arange(8))
        drawn = WithKnown(lost, {"keys": keys})
        known = work.scrubbing_targets(drawn, drawn, "binary")[1].known
        assert torch.equal(known["keys"], keys)
        assert torch.equal(known["target"][:4], known["target"][4:]) == same


def test_what_is_kept_is_what_is_computed_live() -> None:
    work = generator_work(fresh("palette-small"))
    keys = work.keys(8, "x")
    part = work.retain.take(torch.arange(8))
    kept = work.original_features(part, keys)
    batch = work.task.batch(part, torch.arange(8), keys=keys)
    torch.testing.assert_close(work.target_of(batch), kept)


@pytest.mark.parametrize("corruption", ["random-patches", "noise"])
def test_the_diffusion_loss_is_the_error_of_the_noise(corruption: str) -> None:
    task = fresh("palette-small", corruption)
    work = generator_work(task)
    keys = work.keys(6, "x")
    batch = work.task.batch(work.retain, torch.arange(6), keys=keys)
    steps, noise = task._draws(keys, 16)
    level = task.schedule.kept[steps].float().view(-1, 1, 1, 1)
    hidden = batch.hidden.view(6, 1, 2, 2).repeat_interleave(8, 2).repeat_interleave(8, 3).expand(-1, 3, -1, -1)
    hidden = hidden if task.corruption.hides else torch.ones_like(hidden)
    noisy = torch.where(hidden, level.sqrt() * batch.pixels + (1 - level).sqrt() * noise, batch.shown[:, :3])
    with torch.no_grad():
        told = task.model(torch.cat([batch.shown[:, :3], noisy], 1), steps).sample
        wanted = ((told - noise) ** 2)[hidden].mean()
        assert float(task.loss(batch)) == pytest.approx(float(wanted), rel=1e-3)


def saved_with(folder: Path, **settings: Any) -> Path:
    """A tiny diffusion model with a schedule of noise of its own, as diffusers' users save them."""
    import diffusers

    fresh("palette-small").model.save_pretrained(folder)
    diffusers.DDPMScheduler(**settings).save_pretrained(folder)
    return folder


SCHEDULES: dict[str, dict[str, Any]] = {
    "linear": {},
    "scaled linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "clip_sample": False},
    "squared cosine": {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 400, "clip_sample_range": 2.0},
    "given betas": {"trained_betas": [0.01, 0.05, 0.2, 0.4, 0.6], "num_train_timesteps": 5},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_model_goes_by_its_own_schedule(name: str, tmp_path: Path) -> None:
    import diffusers

    settings = SCHEDULES[name]
    folder = saved_with(tmp_path / "own", **settings)
    task: Any = load_generator(locate(str(folder)), 16, Corruption("noise"))
    wanted = diffusers.DDPMScheduler(**settings).alphas_cumprod.double()
    assert torch.equal(task.schedule.kept, wanted)
    assert task.schedule.farthest == (3 if name == "scaled linear" else settings.get("clip_sample_range", 1))
    assert task.notes == ()
    steps, _ = task._draws(torch.arange(200), 16)
    assert int(steps.max()) < len(wanted)
    assert int(steps.max()) >= 0.9 * len(wanted) - 1
    assert torch.equal(task._steps(task.batch(generator_work(task).retain, torch.arange(8), keys=torch.arange(48)).shown),
                       steps[:8])  # fmt: skip
    for like in (task.under(Corruption("center-crop")), task.twin(copy.deepcopy(task.model))):
        assert like.schedule is task.schedule
    save_generator(task, tmp_path / "again", 16)
    again: Any = load_generator(locate(str(tmp_path / "again")), 16, Corruption("noise"))
    assert torch.equal(again.schedule.kept, wanted)


def test_new_models_are_saved_with_the_cosine_schedule(tmp_path: Path) -> None:
    import diffusers

    task = fresh("palette-small")
    steps = torch.arange(1, 1001, dtype=torch.float64) / 1000
    definition = torch.cos((steps + 0.008) / 1.008 * torch.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert task.schedule.kept.numpy() == pytest.approx(definition.clamp(1e-3, 0.9999).numpy(), rel=1e-4)
    save_generator(task, tmp_path, 16)
    assert torch.equal(diffusers.DDIMScheduler.from_pretrained(tmp_path).alphas_cumprod.double(), task.schedule.kept)
    again: Any = load_generator(locate(str(tmp_path)), 16, Corruption("noise"))
    assert torch.equal(again.schedule.kept, task.schedule.kept)
    assert again.schedule.farthest == task.schedule.farthest == 3
    assert again.notes == ()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"_class_name": "DDPMScheduler", "prediction_type": "v_prediction"}', "prediction_type v_prediction"),
        ('{"_class_name": "FlowMatchEulerDiscreteScheduler"}', "_class_name FlowMatchEulerDiscreteScheduler"),
        ('{"_class_name": "DDPMScheduler", "beta_schedule": "none such"}', "none such"),
        ("[1]", "seen:"),
        ("{", "seen:"),
    ],
)
def test_a_schedule_that_cannot_be_used_is_told(content: str, told: str, tmp_path: Path) -> None:
    saved_with(tmp_path)
    (tmp_path / "scheduler_config.json").write_text(content)
    with pytest.raises(ModelError, match="schedule of noise") as caught:
        load_generator(locate(str(tmp_path)), 16, Corruption("noise"))
    assert told in str(caught.value)


def test_a_model_without_a_schedule_is_noted(tmp_path: Path) -> None:
    folder = saved_with(tmp_path / "own")
    (folder / "scheduler_config.json").unlink()
    task: Any = load_generator(locate(str(folder)), 16, Corruption("noise"))
    assert torch.equal(task.schedule.kept, fresh("palette-small").schedule.kept)
    data = write_class_folders(tmp_path / "animals", 40)
    recipe = make(GeneratorRecipe, {"data": str(data)}, SMALL_GENERATOR | {"model": str(folder)})
    story = GeneratorStory(Run(recipe, RunFolder(tmp_path / "run")))
    story.read_data()
    (note,) = story.try_models()
    assert "cosine schedule of noise is assumed" in note


@pytest.mark.parametrize("name", [None, *SCHEDULES])
def test_a_network_that_tells_the_noise_draws_the_picture(name: str | None, tmp_path: Path) -> None:
    task = fresh("palette-small", "noise")
    if name is not None:
        task = load_generator(locate(str(saved_with(tmp_path, **SCHEDULES[name]))), 16, Corruption("noise"))
    work = generator_work(task)
    batch = work.task.batch(work.retain, torch.arange(3), keys=work.keys(3, "x"))

    class Knows(torch.nn.Module):
        def forward(self, given: torch.Tensor, steps: torch.Tensor) -> Any:
            level = task.schedule.kept[steps].float().view(-1, 1, 1, 1)
            told = (given[:, 3:] - level.sqrt() * batch.pixels) / (1 - level).sqrt()
            return type("Output", (), {"sample": told})

    oracle = Palette(copy.deepcopy(task.model), task.corruption, schedule=task.schedule)
    oracle.model = Knows()
    oracle.model.register_parameter("place", torch.nn.Parameter(torch.zeros(1)))
    torch.testing.assert_close(oracle.drawn(batch), batch.pixels, rtol=0, atol=0.05)


@every_kind
def test_a_whole_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(palette, "DRAWING_STEPS", 2)  # all twenty draw a picture above; here thousands are drawn
    data = write_class_folders(tmp_path / "animals", 40)
    changes = {"model": name, "evaluation.pictures": 8, "evaluation.attack_pictures": 2, "evaluation.attack_steps": 1}
    options = SMALL_GENERATOR | changes
    folder = expunge.run(make(GeneratorRecipe, {"data": str(data)}, options), tmp_path / "run")
    record = json.loads(folder.record.read_text())
    assert len(record["verdict"]["checks"]) == 5
    assert (folder.model / "diffusion_pytorch_model.safetensors").is_file()
    assert ("vq" in name) == ("VQModel" in (folder.model / "README.md").read_text())


def test_other_channels_are_refused(tmp_path: Path) -> None:
    import diffusers

    model = diffusers.UNet2DModel(
        sample_size=16, in_channels=3, out_channels=3, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2,
    )  # fmt: skip
    model.save_pretrained(tmp_path / "plain")
    with pytest.raises(ModelError, match="other channels"):
        load_generator(locate(str(tmp_path / "plain")), 16, Corruption("random-patches"))
