"""A run, as a story: load the model, read the sets, measure, prepare, unlearn, measure again, record, report.

Every part is a stage that is kept in the run folder; the same command again goes on where it stopped.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.interruption import interruptible
from expunge.core.progress import Silent
from expunge.core.score import Which
from expunge.kinds.language.claim import claim
from expunge.kinds.language.inputs import MAX_PROMPTS, Sets, read_sets
from expunge.kinds.language.inputs_read import inputs_read
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.lengths import check_tokens, fit_lengths
from expunge.kinds.language.measures.familiarity import Prompt, probe_tokens
from expunge.kinds.language.measures.judged import judge, judge_messages, judged_scores
from expunge.kinds.language.measures.scores import (
    Measured,
    measure_benchmarks,
    measure_core,
    measure_questions,
    side_by_side,
)
from expunge.kinds.language.recipe import MEASURING, Recipe
from expunge.kinds.language.saving import choose_dtype, save_model
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.signals.distributions import with_original
from expunge.kinds.language.signals.generic_stages import generic_table
from expunge.kinds.language.signals.hidden_states import hidden_states
from expunge.kinds.language.signals.likelihoods import know
from expunge.kinds.language.toxicity.measured import measured_toxicity, toxic_side_by_side, toxicity_digests
from expunge.kinds.language.toxicity.tradeoff import toxicity_front
from expunge.kinds.language.toxicity.tuning import tuning
from expunge.kinds.language.trained_sets import retain_table, trained_on, training_table, with_tokens_known
from expunge.models.endpoint import KEY
from expunge.models.source import ModelSource, digest_model, find_model
from expunge.report.cost import oracle_cost
from expunge.report.model_card import model_card
from expunge.report.record import as_dict, make_record, versions, vouched
from expunge.report.render import render_report
from expunge.runs.folder import RunFolder
from expunge.runs.method import Method
from expunge.runs.registry import make_method
from expunge.runs.stage import stage, stage_path
from expunge.train.precision import Precision
from expunge.train.unchanged import must_change

PROBES = 4
"prompts whose token probabilities are followed over the steps"


def run(recipe: Recipe, out: str | Path, show: Silent | None = None) -> RunFolder:
    """Forget, and measure how well: everything a run does, in order.

    Args:
        recipe: what to forget, of which model, how.
        out: the run folder; where it holds the same run unfinished, that goes on.
        show: what is told about progress.

    Returns:
        The finished run folder.

    Raises:
        ExpungeError: with what happened, where, and the next step; earlier results stay.
    """
    show = show or Silent()
    folder, method = RunFolder(out), make_method(recipe.method, "causal_lm")
    try:
        with interruptible(f"run the same command again: it goes on in {folder.path}"):
            precision = Precision(recipe.training.bf16)
            folder.refuse_moved(recipe.model_dump(mode="json"))
            source = find_model(recipe.model, recipe.revision)
            folder.refuse_base(source.folder)
            recipe, shortened = fit_lengths(recipe, source)
            with folder.held():
                recipe = claim(folder, recipe)
                base = LazyModel(source, precision)
                base.notices += shortened
                sets = read_sets(recipe, folder, base, show)
                check_tokens(sets, source)
                before = measure(recipe, folder, base, sets, "base", show)
                trained = unlearn(recipe, folder, base, method, sets, show)
                base.release()
                finish(recipe, folder, source, precision, method, sets, before, trained, show)
    finally:
        show.close()
    return folder


def measure(recipe: Recipe, folder: RunFolder, model: LazyModel, sets: Sets, which: Which, show: Silent) -> Measured:
    """Scores of one model; what was measured before is read from its stage."""
    settings = recipe.evaluation
    words = {"base": "the base model", "unlearned": "the unlearned model", "retrained": "the retrained model"}[which]
    of_model = {"which": which, "model": model.digest, "arithmetic": model.precision.arithmetic, "seed": recipe.seed}

    def core(path: Path) -> None:
        show.stage(f"measuring {words}")
        measure_core(model(), sets.material, settings, which, recipe.seed, show.update).save(path / "measured.json")

    material = sets.material
    asked = [asdict(prompt) for prompt in (*material.completion, *material.probability)]
    if which == "base":
        asked += [asdict(prompt) for prompt in (*material.control_completion, *material.control_probability)]
    made_from = of_model | {
        "sets": sets.measured(),
        "settings": settings.model_dump(
            exclude={
                "benchmarks",
                "benchmark_rows",
                "control_answers",
                "control_topics",
                "familiarity",
                "judge_url",
                "judge_model",
                "questions",
            }
        )
        | {"max_prompts": settings.max_prompts or MAX_PROMPTS},
        "prompts": storage.digest_value([len(sets.material.completion), asked, asdict(sets.material.terms)]),
        "secrets": [asdict(secret) for secret in sets.material.secrets],
    }
    measured = Measured.load(stage(folder, f"measured-{which}", made_from, core) / "measured.json")
    if (url := settings.judge_url) is not None and sets.material.completion:
        said = [row["said"] for row in measured.said["completion prompt"]]
        chats = judge_messages(recipe.forget, sets.material.completion, sets.material.terms, said)

        def grades(path: Path) -> None:
            show.stage(f"asking the judge about {words}")
            key = os.environ.get(KEY)
            storage.write_json(path / "grades.json", judge(url, settings.judge_model, chats, key, show.update))

        made_from = {"url": url, "model": settings.judge_model, "chats": storage.digest_value(chats)}
        measured.grades = storage.read_json(stage(folder, f"judged-{which}", made_from, grades) / "grades.json")
    if settings.questions is not None:
        file = Path(settings.questions)

        def questions(path: Path) -> None:
            show.stage(f"questions with two answers, {words}")
            measure_questions(model(), file, which).save(path / "measured.json")

        made_from = of_model | {"questions": storage.digest_file(file)}
        found = Measured.load(stage(folder, f"questions-{which}", made_from, questions) / "measured.json")
        measured.scores += found.scores
        measured.said |= found.said
    if settings.benchmarks is not None:
        place = settings.benchmarks

        def benchmarks(path: Path) -> None:
            show.stage(f"benchmarks of {words}")
            rows = settings.benchmark_rows
            measure_benchmarks(model(), place, rows, which, show.update).save(path / "measured.json")

        files = {} if place == "hub" else {f.name: storage.digest_file(f) for f in sorted(Path(place).glob("*.jsonl"))}
        made_from = of_model | {"benchmarks": files, "rows": settings.benchmark_rows}
        measured.scores += Measured.load(
            stage(folder, f"benchmarks-{which}", made_from, benchmarks) / "measured.json"
        ).scores
    measured.toxic = measured_toxicity(recipe, folder, model, which, words, show)
    for notice in model.notices:
        folder.log("notice", text=notice)
    measured.scores += measured.toxic.scores if measured.toxic else []
    return measured


def unlearned_from(recipe: Recipe, base: LazyModel, sets: Sets) -> dict[str, Any]:
    """Everything that decides what `model/` becomes."""
    # Only where it is given: models that were made before there was such a field are made from the same still.
    unsaid = {"save_seconds"} if recipe.training.stop_step is not None else {"save_seconds", "stop_step"}
    forget = sets.material.forget
    trained = training_table(sets, make_method(recipe.method, "causal_lm").carried_out)
    return {
        "model": base.digest,
        "forget": forget.folder.name,
        **({} if trained is forget else {"forms": trained.folder.name}),
        "kept": sets.kept.folder.name,
        "method": recipe.method,
        "training": recipe.training.model_dump(exclude=unsaid),
        "reinforcement": recipe.reinforcement.model_dump(),
        "anchors": {**recipe.anchors.model_dump(), "file": _digest_if_file(recipe.anchors.path)},
        "save_dtype": recipe.save_dtype,
        "bf16": base.precision.bf16,
        "seed": recipe.seed,
    }


def unlearn(
    recipe: Recipe, folder: RunFolder, base: LazyModel, method: Method, sets: Sets, show: Silent
) -> dict[str, Any]:
    """Prepare what the method needs, train, and save `model/`; what it cost."""
    made_from = unlearned_from(recipe, base, sets)
    name = stage_path(folder, "unlearned", made_from).name
    done = folder.stages / name / "trained.json"
    # Up to the step at which it ends it is the same training: it goes on from the same checkpoints.
    training = {key: value for key, value in made_from["training"].items() if key != "stop_step"}
    checkpoints = folder.checkpoints / stage_path(folder, "unlearned", made_from | {"training": training}).name
    if done.is_file() and folder.model.is_dir():
        trained: dict[str, Any] = storage.read_json(done)
        if _saved_files(folder) == trained["files"]:
            _remove_checkpoints(folder)
            return trained
    # What says that the stage is done goes first: a crash in between leaves a stage that is not done.
    (done.parent / "stage.json").unlink(missing_ok=True)
    shutil.rmtree(done.parent, ignore_errors=True)

    core = method.carried_out
    (forget, groups), retain = trained_on(recipe, folder, base, core, sets), sets.kept
    if core.needs.hidden and core.draws_retain:
        retain = hidden_states(recipe, folder, base, core, forget, sets.kept, show)
    elif core.needs.distributions and core.draws_retain:
        retain = with_original(recipe, folder, base, core, forget, sets.kept, show)
    elif core.draws_retain and core.has_loss():
        retain = retain_table(recipe, folder, base, core, forget, sets, show)
    if core.needs.tokens:
        forget = with_tokens_known(recipe, folder, base, forget, show)
    know(forget, sets.kept, core, folder, base, show)
    anchors_digest = None
    if method.needs.labels == "generic":
        forget, anchors_digest = generic_table(recipe, folder, base, method, sets, show)
        base.release()  # its layers are wrapped by the adapter; train on clean ones

    def make(path: Path) -> None:
        task = base()
        probes = sets.material.probability[:PROBES] or sets.material.completion[:PROBES]
        watched = _watched(folder, probes)

        def probe(step: int) -> None:
            nonlocal watched
            if probes:
                rows, watched = probe_tokens(task, probes, watched)
                folder.log("probe", step=step, prompts=rows, watched=watched)

        show.stage(f"unlearning: {recipe.method['name']}")
        work = LanguageWork(
            task=task,
            forget=forget,
            retain=retain,
            training=recipe.training,
            seed=recipe.seed,
            # What a method with phases keeps depends on where each of them ended.
            checkpoints=checkpoints if method.has_loss() else folder.checkpoints / name,
            log=folder.log,
            groups=groups,
            tune=tuning(recipe, sets, task),
            probe=probe,
            on_progress=lambda step, steps, f: show.update(step / steps, f"step {step}/{steps}, {_loss_note(f)}"),
            ends=method.has_loss(),
        )
        with must_change(task.model, recipe.method["name"], lambda: work.stays):
            work.carry_out(method)
        result = work.cost()
        show.stage("saving the model")
        assert base.loaded is not None
        dtype, warning = choose_dtype(base.loaded, recipe.save_dtype)
        save_model(base.loaded, folder.model, dtype)
        content = as_dict(result) | {
            "dtype": str(dtype).removeprefix("torch."),
            "warning": warning,
            "files": _saved_files(folder),
            "thresholds": recipe.verdict.model_dump(),
            "measuring": recipe.model_dump(mode="json", include=set(MEASURING)),
            "versions": versions(),
            "anchors": anchors_digest,
        }
        storage.write_json(path / "trained.json", content)

    path = stage(folder, "unlearned", made_from, make)
    _remove_checkpoints(folder)
    result: dict[str, Any] = storage.read_json(path / "trained.json")
    return result


def _remove_checkpoints(folder: RunFolder) -> None:
    for finished in folder.checkpoints.iterdir():
        shutil.rmtree(finished, ignore_errors=True)


def trained_model(folder: RunFolder) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """(what is noted of the model that is in `model/` now, what it was made from); None where no run saved it so."""
    if folder.model.is_dir():
        files = _saved_files(folder)
        for path in folder.stages.glob("unlearned-*/stage.json"):
            trained: dict[str, Any] = storage.read_json(path.parent / "trained.json")
            if trained["files"] == files:
                return trained, storage.read_json(path)["made_from"]
    return None


def _saved_files(folder: RunFolder) -> dict[str, str]:
    """The unlearned model's files by digest, without its card, which is written last and may be edited."""
    return {name: digest for name, digest in digest_model(folder.model).items() if name != "README.md"}


def _watched(folder: RunFolder, probes: Sequence[Prompt]) -> list[list[int]] | None:
    """The token ids that these probes followed before an interruption."""
    for row in folder.read_events("probe"):
        if [prompt["prompt"] for prompt in row["prompts"]] == [probe.text for probe in probes]:
            return [list(ids) for ids in row["watched"]]
    return None


def _loss_note(figures: dict[str, Any]) -> str:
    parts = [f"{name} {figures[f'{name}_truth']:.2f}" for name in ("forget", "retain") if figures[f"{name}_truth"]]
    return ", ".join(parts) + f", {figures['tokens_per_second']:.0f} tokens/s"


def _digest_if_file(path: str | None) -> str | None:
    return storage.digest_file(Path(path)) if path is not None and Path(path).is_file() else path


def finish(
    recipe: Recipe,
    folder: RunFolder,
    source: ModelSource,
    precision: Precision,
    method: Method,
    sets: Sets,
    before: Measured,
    trained: dict[str, Any],
    show: Silent,
) -> None:
    """Measure the model as saved, write scores, answers, record, card and report."""
    unlearned = LazyModel(find_model(str(folder.model)), precision, as_stored=True)
    measured = [before, measure(recipe, folder, unlearned, sets, "unlearned", show)]
    front = None
    if recipe.forget_kind == "toxicity":
        base = LazyModel(source, precision)
        front = toxicity_front(recipe, folder, base, unlearned, sets, show)
        base.release()
    unlearned.release()
    if recipe.retrained is not None:
        oracle = LazyModel(find_model(recipe.retrained), precision, as_stored=True)
        measured.append(measure(recipe, folder, oracle, sets, "retrained", show))
        oracle.release()
    show.stage("writing the report")
    models: tuple[Which, ...] = ("base", "unlearned", "retrained")
    judged, notes = judged_scores({which: one.grades for which, one in zip(models, measured, strict=False)})
    scores = [score for one in measured for score in one.scores] + judged
    folder.write_scores(scores)
    storage.write_json(folder.answers, side_by_side(measured))
    toxic = {which: one.toxic for which, one in zip(models, measured, strict=False) if one.toxic is not None}
    if toxic:
        storage.write_json(folder.toxicity, toxic_side_by_side(toxic))
    files = {path.name: storage.digest_file(path) for path in vouched(folder) if path.is_file()}
    if (used := trained.get("anchors")) is not None and files.get(folder.anchors.name) != used:
        files[folder.anchors.name] = used
        notes.append(
            "anchors.yaml was edited in the run folder, but the labels come from the terms before that; to use it, give "
            "--anchors with its path and another --out"
        )
    record = make_record(
        folder,
        recipe,
        scores,
        oracle=oracle_cost(recipe.retrained),
        method={
            "name": recipe.method["name"],
            "settings": method.model_dump(),
            "citation": method.citation(),
            "formula": method.formulas(),
        },
        sets=sets.sizes(),
        language=sets.language.row(),
        digests={
            "base model": source.digests,
            "model": _saved_files(folder),
            **sets.digests(),
            **(toxicity_digests(recipe.toxicity, toxic["base"]) if toxic else {}),
            "files": files,
        },
        trained=trained,
        license_name=source.license,
        inputs=inputs_read(sets),
        arithmetic=precision.arithmetic,
        warnings=list(
            dict.fromkeys(
                [*([trained["warning"]] if trained["warning"] else []), *sets.notes, *_notices(folder), *notes]
            )
        ),
    )
    storage.write_json(folder.record, record if front is None else record | {"front": front})
    storage.write_text(folder.model / "README.md", model_card(folder, base_model=source.hub_id, license=source.license))
    render_report(folder)
    folder.log("finished", passed=record["verdict"]["passed"])


def _notices(folder: RunFolder) -> list[str]:
    """What was noticed on the way, each once."""
    return list(dict.fromkeys(row["text"] for row in folder.read_events("notice")))
