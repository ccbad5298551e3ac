"""Unlearning a model in memory: what a run does between reading its sets and saving its model."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import torch
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from expunge.core.processes import agreed, count, first_alone, is_first, launched
from expunge.core.settings import validate_part
from expunge.errors import RecipeError
from expunge.kinds.language import helping  # noqa: F401 - what other processes can do for the first one
from expunge.kinds.language.choosing import rule_of
from expunge.kinds.language.inputs import Sets
from expunge.kinds.language.limits import fit_to, positions
from expunge.kinds.language.narrow_training import check_narrow
from expunge.kinds.language.objects.held import HeldModel, check_given, known_tokens, refuse_on_adapter
from expunge.kinds.language.objects.rows import GivenSet, given_set
from expunge.kinds.language.objects.sets import given_sets
from expunge.kinds.language.recipe import Anchors, Data, Recipe, Reinforcement, Training
from expunge.kinds.language.trained_sets import TrainedSets, trained_sets
from expunge.kinds.language.unlearning import OnProgress, carry_out, made_from
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.runs.method import Method
from expunge.runs.registry import built_in, installed, make_method, method_class, words_of
from expunge.train.loop import Trained
from expunge.train.precision import Precision

SPREAD = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)
LOSSES = ("loss", "forget_loss", "retain_loss", "forget_truth", "retain_truth")
FEW_TOKENS = 0.9
"share of a model's tokens below which a notice mentions its tokenizer"


class Options(TypedDict, total=False):
    """What else may be said of an unlearning.

    Attributes:
        seed: decides every draw; 0.
        holdout: texts of the forget set's kind that no model saw, given as that is; see `Training.stop_at`.
        on_progress: called with (step, steps, figures) after each step.
        data: `block_size` and `language`.
        reinforcement: how "Who's Harry Potter?" trains its reinforced model.
        anchors: where its anchored terms come from; found in the texts by default.
    """

    seed: int
    holdout: Any
    on_progress: OnProgress
    data: Data
    reinforcement: Reinforcement
    anchors: Anchors


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlearned:
    """What an unlearning took, and how it went.

    Attributes:
        steps: optimizer steps.
        seconds: of the training, without preparation.
        tokens: seen in training.
        stopped: why it ended.
        losses: a row a step: `step`, `loss` and its parts `forget_loss` and `retain_loss`, and `forget_truth` and
            `retain_truth`, the sets' own text in nats a token, where the loss came by it; `phase`, of a method with
            phases.
        notices: what is to be known of it.
    """

    steps: int
    seconds: float
    tokens: int
    stopped: str
    losses: list[dict[str, Any]]
    notices: list[str]


@dataclass(frozen=True, slots=True)
class Work:
    """An unlearning that is ready to begin."""

    run: Run[Recipe]
    base: HeldModel
    method: Method
    forget: GivenSet
    retain: GivenSet | None
    holdout: GivenSet | None
    under_adapter: bool

    @contextmanager
    def alike(self) -> Iterator[None]:
        """Inside, the model is made ready; on the way out it, and torch's random numbers, are as they were."""
        device = self.base.precision.device
        devices, kind = ([], "cuda") if device.type == "cpu" else ([device], device.type)
        with torch.random.fork_rng(devices, device_type=kind), self.base.as_it_came(self.under_adapter):
            yield


def unlearn_model(
    model: Any,
    tokenizer: Any,
    forget: Any,
    retain: Any,
    method: Any,
    training: Training | Mapping[str, Any] | None,
    out: str | os.PathLike[str] | None,
    options: Options,
) -> Unlearned:
    """See `expunge.api.unlearn`."""
    with work(model, tokenizer, forget, retain, method, training, out, options) as at_work:
        spent = _train(at_work, options.get("on_progress"))
        folder = at_work.run.folder
        losses = folder.steps("step") or folder.steps("phase_step")
        notices = at_work.run.notices()
    return Unlearned(
        steps=spent.steps,
        seconds=spent.seconds,
        tokens=spent.seen,
        stopped=spent.stopped,
        losses=[
            {name: row[name] for name in ("phase", "step", *LOSSES) if row.get(name) is not None} for row in losses
        ],
        notices=list(dict.fromkeys([*notices, *at_work.base.notices])),
    )


def _train(at_work: Work, on_progress: OnProgress | None) -> Trained:
    run, base, method = at_work.run, at_work.base, at_work.method
    with at_work.alike():
        sets, trained = prepared(at_work)
        key = made_from(run.recipe, base, method, sets)
        checkpoints = run.folder.checkpoints / run.cache_path("unlearned", key).name
        return carry_out(run, base, method, sets, trained, checkpoints, on_progress)


def prepared(at_work: Work) -> tuple[Sets, TrainedSets]:
    """The sets, and the method's training data; the first process makes it, and the others read it."""

    def make() -> Sets:
        return given_sets(at_work.run, at_work.base, at_work.method, at_work.forget, at_work.retain, at_work.holdout)

    sets = first_alone(make, make)
    assert sets is not None
    trained = trained_sets(at_work.run, at_work.base, at_work.method, sets)
    return sets, trained if at_work.retain is not None else replace(trained, retain=None)


@contextmanager
def work(
    model: Any,
    tokenizer: Any,
    forget: Any,
    retain: Any,
    method: Any,
    training: Training | Mapping[str, Any] | None,
    out: str | os.PathLike[str] | None,
    options: Options,
) -> Iterator[Work]:
    """Check everything that can be checked at once, and lock the folder for intermediate files; see `unlearn`."""
    check_given(model, tokenizer)
    if unknown := set(options) - set(Options.__annotations__):
        raise RecipeError(f"unlearn has no option {min(unknown)}", allowed=", ".join(sorted(Options.__annotations__)))
    made, name = given_method(method)
    if made.kept_beside is not None:
        raise RecipeError(
            f"{name} {made.kept_beside}",
            seen="a model in memory, whose save_pretrained would save the base alone",
            next_step="save the model, and run it on the folder: expunge.forget(..., model=FOLDER)",
        )
    if not isinstance(training, Training):
        training = validate_part(Training, training or {}, "training")
    _check_processes()
    precision = Precision(training.bf16)
    if model.device.type != "cpu":
        precision.device = model.device
    base = HeldModel(model, tokenizer, precision, digested=out is not None)
    reinforcement = options.get("reinforcement", Reinforcement())
    check_narrow(training, made, name, base.adapted)
    if base.adapted:
        refuse_on_adapter(made, training.adapter_rank)
        reinforcement = reinforcement.model_copy(update={"adapter": False})
    given = given_set("forget", forget, tokenizer)
    kept = None if retain is None else given_set("retain", retain, tokenizer)
    unseen = None if options.get("holdout") is None else given_set("holdout", options["holdout"], tokenizer)
    recipe = Recipe(
        model=f"given in Python, {base.digest[:16]}",
        forget=f"given in Python, {given.digest[:16]}",
        forget_kind="path",
        retain=None if kept is None else f"given in Python, {kept.digest[:16]}",
        holdout=None if unseen is None else f"given in Python, {unseen.digest[:16]}",
        method={"name": name, **made.model_dump(mode="json")},
        training=training,
        data=options.get("data", Data()).model_copy(update={"retain_answers": 0}),
        reinforcement=reinforcement,
        anchors=options.get("anchors", Anchors()),
        seed=options.get("seed", 0),
    )
    rule_of(recipe, made, unseen is not None)
    recipe, shortened = fit_to(recipe, positions(base.model.config), base.source.name)
    base.notices += shortened
    if len(tokenizer) < FEW_TOKENS * known_tokens(base.model):
        base.notices.append(
            f"the tokenizer has {len(tokenizer):,} of the model's {known_tokens(base.model):,} tokens: is it the model's own?"
        )
    under_adapter = training.adapter_rank is not None and made.has_loss()
    with _folder(out) as folder, folder.held() if out is not None else nullcontext():
        if out is not None:
            folder.claim(recipe.model_dump(mode="json"), recipe.to_yaml())
        yield Work(Run(recipe, folder), base, made, given, kept, unseen, under_adapter)
        agreed(None)  # nobody reads any more


def _check_processes() -> None:
    """Raise if a script's processes cannot be joined."""
    kind = AcceleratorState._shared_state.get("distributed_type")
    if kind in SPREAD:
        raise RecipeError(
            "the weights of this script's models are spread over its processes",
            seen=str(kind),
            allowed="one process, or several that hold the whole model each",
            next_step="accelerate launch --multi_gpu, without FSDP, DeepSpeed or Megatron",
        )
    if kind == DistributedType.NO and count() > 1:
        raise RecipeError(
            f"the script's Accelerator takes this process for the only one of {count()}",
            next_step="on processors use Accelerator(cpu=True)",
        )


@contextmanager
def _folder(out: str | os.PathLike[str] | None) -> Iterator[RunFolder]:
    """A folder for checkpoints and intermediate files: the user's, or one that is removed at the end."""
    if out is not None:
        yield RunFolder(out)
        return
    if count() > int(os.environ.get("LOCAL_WORLD_SIZE") or count()):
        raise RecipeError(
            "processes on several machines need a folder that all of them see",
            seen=f"{launched()} processes",
            next_step="give out=FOLDER",
        )
    path = Path(agreed(tempfile.mkdtemp(prefix="expunge-") if is_first() else None) or "")
    try:
        yield RunFolder(path).create()
    finally:
        if is_first():
            shutil.rmtree(path, ignore_errors=True)


def given_method(method: Any) -> tuple[Method, str]:
    """(method, name) of a method object, a name, or a mapping as in a recipe.

    Raises:
        RecipeError: no method, or none for language models.
    """
    if isinstance(method, type) and issubclass(method, Method):
        method = method()
    if isinstance(method, str | Mapping):
        spec: Mapping[str, Any] = {"name": method} if isinstance(method, str) else method
        return make_method(spec, "causal_lm"), str(spec["name"])
    if not isinstance(method, Method):
        raise RecipeError(
            "method is not a method",
            seen=repr(method)[:80],
            allowed='a method object (expunge.methods.NPO()), a name ("npo"), or a mapping of its name and fields',
        )
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(method).__name__).lower()
    known = (name for name in [*built_in(), *installed()] if method_class(name) is type(method))
    if "causal_lm" not in method.needs.kinds:
        raise RecipeError(
            f"the method {snake} does not work on language models",
            seen=f"it works on {' and '.join(words_of(type(method)))}",
            next_step="expunge methods lists what each works on",
        )
    return method, next(known, snake)
