"""The suite of relearning on the tiny model: taught, forgotten, attacked, ranked; resumed; and its sums by hand."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from expunge.core.progress import Silent
from expunge.errors import DataError, RecipeError, RunError
from expunge.kinds.language.attacks.facts import Row
from expunge.kinds.language.attacks.relearning import Relearning, Way
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.recipe import Recipe
from expunge.models.source import find_model
from expunge.runs.audit import Audit, Trial
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.runs.recipe import make
from expunge.runs.suite import suite_of, suites
from expunge.suites.relearn import attacking, run
from expunge.suites.relearn.command import relearn
from expunge.suites.relearn.figures import mean_trial, mean_values, strongest
from expunge.suites.relearn.reading import read_sets
from expunge.suites.relearn.report import best, ranked, relearn_page
from expunge.suites.relearn.run import attacks_named, audit_of, run_relearn
from expunge.suites.relearn.scaling import Scaling
from expunge.suites.relearn.settings import Attack, Read
from expunge.suites.tofu import run as questions_run
from expunge.suites.tofu.cells import wanted_methods
from expunge.suites.tofu.options import OfSeveral, Taught
from expunge.suites.tofu.plan import Lesson, Plan
from expunge.suites.world.reading import write_world
from expunge.suites.world.settings import WORLD, World
from expunge.train.precision import Precision
from small import RETAIN, leftovers
from tofu_data import rows_of, write_rows, write_tofu

OVERRIDES = {"training.max_steps": 3, "training.learning_rate": 3e-3, "training.max_retain_increase": 9.0,
             "audit.relearning_steps": 4}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("relearn") / "data"
    write_world(World(subjects=6, share=0.34), folder)
    return folder


def carried_out(
    data: Path,
    model: Path,
    out: Path,
    seeds: int = 1,
    attack: Attack = Attack(),  # noqa: B008 (frozen)
    methods: str = "gradient_ascent",
    epochs: float = 30,
    **more: Any,
) -> dict[str, Any]:
    sets, asked_for = read_sets(str(data), None, None, WORLD)
    ordinary = data.parent / "ordinary.txt"
    ordinary.write_text(RETAIN)
    plan = Plan(
        name="relearn",
        sets=sets,
        lesson=Lesson(model=str(model), epochs=epochs, learning_rate=1e-2),
        asked_for=asked_for,
        methods=wanted_methods(methods),
        overrides={**OVERRIDES, **more},
        seeds=seeds,
    )
    return run_relearn(plan, replace(attack, ordinary=str(ordinary)), out)


@pytest.fixture(scope="module", autouse=True)
def _one_way() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Relearning, "ways", (Way("given", False, 2e-3),))
        yield


@pytest.fixture(scope="module")
def finished(data: Path, tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite that was stopped while it attacked its cell, and then carried on, with another seed."""
    out = tmp_path_factory.mktemp("suite") / "out"
    measured = attacking.measured

    def stopped(*words: Any) -> Any:
        if list(out.glob("cells/*/0/model/config.json")):
            raise KeyboardInterrupt
        return measured(*words)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attacking, "measured", stopped)
        with pytest.raises(KeyboardInterrupt):
            carried_out(data, tiny_model_folder, out)
    assert figures_of(out)["unfinished"] == {"made": 0, "of": 1}
    assert "0 of 1 models are made and attacked so far" in (out / "report.html").read_text()
    carried_out(data, tiny_model_folder, out, seeds=2)
    return out


def figures_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "relearn.json").read_text())
    return found


def stage(out: Path, name: str) -> Any:
    (path,) = out.glob(f"stages/{name}-*/found.json")
    return json.loads(path.read_text())


def test_excess_is_what_is_known_beyond_the_oracle_as_a_share(finished: Path) -> None:
    """By hand, in float64, from what each model answered."""
    figures = figures_of(finished)
    (method,) = figures["methods"]
    base, control = (np.array(stage(finished, f"known-{who}"), np.float64) for who in ("taught", "oracle"))
    (group,) = (finished / "cells").iterdir()
    own = np.mean([stage(finished, f"known-{group.name}-{seed}") for seed in (0, 1)], axis=0)
    assert len(base) == figures["facts"]["asked"] == 10
    as_is = (own.mean() - control.mean()) / (base.mean() - control.mean())
    assert method["excess"]["as_is"]["value"] == pytest.approx(as_is, abs=1e-12)

    (settings,) = {tuple(t["setting"] for t in stage(finished, f"relearn-oracle-{seed}")) for seed in (0, 1)}
    unlearned, oracle = after(finished, group.name, of_cell=True), after(finished, "oracle")
    half = slice(5, 10)
    shares = (unlearned - oracle).mean(1) / (base[half].mean() - control[half].mean())
    found = method["excess"]["relearn"]
    assert found["value"] == pytest.approx(shares.max(), abs=1e-12)
    assert found["setting"] == settings[int(shares.argmax())]
    assert found["known"] == pytest.approx(unlearned.mean(1)[shares.argmax()], abs=1e-12)
    assert found["low"] <= found["value"] <= found["high"]
    assert figures["taught_model"]["excess"]["as_is"]["value"] == pytest.approx(1)
    assert figures["oracle"]["excess"]["relearn"]["value"] == pytest.approx(0)
    assert figures["taught_model"]["damage"]["kl"][0] == pytest.approx(0, abs=1e-9)
    assert [each["seed"] for each in method["seeds"]] == [0, 1]


def after(out: Path, who: str, of_cell: bool = False) -> np.ndarray:
    """(settings, facts) means over seeds of what is known after the attack; a cell's name ends in the seed of its model."""
    names = [f"relearn-{who}-{seed}-{seed}" if of_cell else f"relearn-{who}-{seed}" for seed in (0, 1)]
    return np.mean([[trial["values"] for trial in stage(out, name)] for name in names], axis=0)


def test_the_attacker_is_given_one_half_and_asked_for_the_other(finished: Path) -> None:
    for trial in stage(finished, "relearn-oracle-0"):
        assert trial["facts"] == [5, 6, 7, 8, 9]


def test_typed_again_nothing_is_made_and_the_figures_are_the_same(
    finished: Path,
    data: Path,
    tiny_model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = figures_of(finished)
    monkeypatch.setattr(attacking, "measured", lambda *_: pytest.fail("this was done before"))
    monkeypatch.setattr(attacking, "recall_or_none", lambda *_: pytest.fail("this was done before"))
    monkeypatch.setattr(Relearning, "carry_out", lambda *_: pytest.fail("this was done before"))
    words = [word for name, value in OVERRIDES.items() for word in (f"--{name}", str(value))]
    attack = Attack(ordinary=str(data.parent / "ordinary.txt"))
    models = OfSeveral(model=str(tiny_model_folder), methods="gradient_ascent", seeds=2, out=finished)
    teaching = Taught(epochs=30, learning_rate=1e-2)
    assert relearn(*words, read=Read(data=str(data)), models=models, teaching=teaching, attack=attack) == 0
    assert "10 facts; the attacker is given half, and tested on the other 5" in capsys.readouterr().out
    assert figures_of(finished) == before
    assert leftovers(finished) == []


@pytest.mark.long  # test_tofu.py does it to the same plan, cells and stages in every test run
def test_it_was_stopped_and_has_the_bits_of_one_that_was_not(
    finished: Path, data: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    straight, before = carried_out(data, tiny_model_folder, tmp_path / "straight"), figures_of(finished)
    for part in ("taught_model", "oracle"):
        assert straight[part]["seeds"] == before[part]["seeds"][:1]
    assert straight["methods"][0]["seeds"] == before["methods"][0]["seeds"][:1]


def test_after_each_model_the_figures_so_far_are_written(
    finished: Path, data: Path, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was there before stays in them, though the new methods are named first."""
    out = shutil.copytree(finished, tmp_path / "out")
    before, written = figures_of(out), []

    def stopped(cell: Any, *_: Any) -> dict[str, Any]:
        written.append((figures_of(out), relearn_page(RunFolder(out))))
        if cell.method == "simnpo":
            raise KeyboardInterrupt
        return {"failed": "the loss is not a number"}

    monkeypatch.setattr(questions_run, "unlearn_cell", stopped)
    with pytest.raises(KeyboardInterrupt):
        carried_out(data, tiny_model_folder, out, seeds=2, methods="npo,simnpo,gradient_ascent")
    assert [figures["unfinished"]["made"] for figures, _ in written] == [2, 3], "both that were there, then one more"
    for figures, page in written:
        assert figures["unfinished"]["of"] == 6
        assert figures["methods"] == before["methods"]
        assert [row["name"] for row in figures["failed"]] == ["npo"][: figures["unfinished"]["made"] - 2]
        assert f"{figures['unfinished']['made']} of 6 models are made and attacked so far" in page
        assert "Not finished" in page
    assert before["unfinished"] is None
    assert "Not finished" not in relearn_page(RunFolder(finished))


def test_another_limit_needs_another_folder(finished: Path, data: Path, tiny_model_folder: Path) -> None:
    for more in ({"attack": Attack(kl=0.5)}, {"attack": Attack(equal_damage=True)}, {"audit.relearning_steps": 5}):
        with pytest.raises(RunError, match="holds another run"):
            carried_out(data, tiny_model_folder, finished, **more)  # type: ignore[arg-type]


def test_a_destroyed_model_is_no_success(
    finished: Path, data: Path, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    for path in out.glob("stages/known-gradient_ascent-*"):
        shutil.rmtree(path)
    monkeypatch.setattr(attacking, "recall_or_none", lambda task, rows: [None] * len(rows))
    figures = carried_out(data, tiny_model_folder, out, seeds=2)
    assert figures["methods"] == []
    assert [row["reason"] for row in figures["failed"]] == ["the model computes no numbers"]
    assert best(figures) is None
    assert "No method made a model" in relearn_page(RunFolder(out))


def test_the_page_says_what_was_found(finished: Path) -> None:
    suite = suite_of(finished)
    assert suite is suites()["relearn"]
    page = suite.render_report(RunFolder(finished)).read_text()
    assert page == relearn_page(RunFolder(finished))
    for part in (
        "gradient_ascent",
        "never saw the forget set",
        "Relearning: excess",
        "KL at most 0.010",
        "Seed by seed",
    ):
        assert part in page, part
    assert page.count("<svg") == 3
    assert "<script" not in page


def test_methods_are_ranked_at_equal_damage() -> None:
    def row(name: str, kl: float, excess: float | None) -> dict[str, Any]:
        found = {"relearn": {"value": excess}, "relearn_rates": {"value": None if excess is None else 0.0}}
        return {"name": name, "damage": {"kl": [kl, kl, kl]}, "excess": found}

    rows = [row("broken", 2.0, 0.0), row("weak", 0.001, 0.9), row("fine", 0.01, 0.2), row("untold", 0.0, None)]
    figures = {"methods": rows, "kl_limit": 0.01, "attacks": {"relearn": [], "relearn_rates": []}}
    assert [each["name"] for each in ranked(figures)] == ["fine", "weak", "untold", "broken"]
    found = best(figures)
    assert found is not None
    assert found["name"] == "fine"
    assert best({**figures, "methods": [rows[0], rows[3]]}) is None


def test_equal_damage(data: Path, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each model is on the line through the taught model and its own, where the limit is; and is attacked there."""
    out = tmp_path / "out"
    wanted: Any = {"attack": Attack(kl=0.02, equal_damage=True), "methods": "gradient_ascent,npo", "epochs": 4}
    figures = carried_out(data, tiny_model_folder, out, **wanted)
    (taught,) = out.glob("stages/taught-*/model/model.safetensors")
    before = load_file(taught)
    scales = {}
    for method in figures["methods"]:
        assert 0.95 * 0.02 <= method["damage"]["kl"][0] <= 0.02
        (own,) = out.glob(f"cells/{method['group']}/0/model/model.safetensors")
        (moved,) = out.glob(f"stages/scaled-{method['group']}-0-*/model/model.safetensors")
        after, found = load_file(own), load_file(moved)
        for name, weight in found.items():
            start, end = (each[name].astype(np.float64) for each in (before, after))
            np.testing.assert_allclose(weight, start + method["scale"] * (end - start), atol=1e-6)
        scales[method["name"]] = method["scale"]
        known = stage(out, f"known-{method['group']}-0")
        assert method["excess"]["as_is"]["known"] == pytest.approx(np.mean(known))
    assert 0 < scales["gradient_ascent"] < 1
    page = relearn_page(RunFolder(out))
    assert "times its change" in page
    assert f"<b>{scales['npo']:.2f}</b>" in page
    monkeypatch.setattr(Scaling, "_make", lambda *_: pytest.fail("this was done before"))
    assert carried_out(data, tiny_model_folder, out, **wanted) == figures


def test_a_model_that_cannot_be_moved_along_a_line_stays(tiny_model_folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(tiny_model_folder, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    name = next(iter(weights))
    save_file({**weights, name: weights[name] * np.nan}, other / "model.safetensors", {"format": "pt"})
    precision = Precision("auto")
    base, broken = (LazyModel(find_model(str(each)), precision, as_stored=True) for each in (tiny_model_folder, other))
    (tmp_path / "run").mkdir()
    own = Run(make(Recipe, {"forget": "x"}), RunFolder(tmp_path / "run"), Silent())
    scaling = Scaling(run=own, base=base, ordinary=[Row((1, 2, 3), 1)], limit=0.01)
    assert scaling.scaled("broken", broken) == (broken.source.folder, None)
    assert scaling.is_there("broken", broken)


def test_nothing_is_told_where_the_taught_model_knew_no_more() -> None:
    def trial(*values: float) -> Trial:
        return Trial(setting="a", values=values, facts=[0, 1, 2, 3])

    known = {"base": trial(0.1, 0.2, 0.3, 0.2), "control": trial(0.2, 0.1, 0.3, 0.2)}
    found = strongest([trial(0.5, 0.5, 0.5, 0.5)], [trial(0.1, 0.1, 0.1, 0.1)], known)
    assert (found["value"], found["low"], found["known"]) == (None, None, 0.5)


def test_means_over_seeds_are_of_each_fact() -> None:
    trials = [
        Trial(setting="a", values=values, facts=[4, 5], family="f", at=2.0) for values in ([0.0, 1.0], [0.5, 0.5])
    ]
    mean = mean_trial(trials)
    assert (mean.values, mean.facts, mean.setting, mean.family, mean.at) == ([0.25, 0.75], [4, 5], "a", "f", 2.0)
    one = {"retain": {"base": [1.0], "unlearned": [0.5]}, "nats": {"base": [2.0], "unlearned": [3.0]}, "kl": [0.1]}
    other = {"retain": {"base": [1.0], "unlearned": [0.1]}, "nats": {"base": [2.0], "unlearned": [4.0]}, "kl": [0.3]}
    both = mean_values([one, other])
    assert both["retain"] == {"base": [1.0], "unlearned": [pytest.approx(0.3)]}
    assert both["nats"] == {"base": [2.0], "unlearned": [3.5]}
    assert both["kl"] == [pytest.approx(0.2)]


def test_the_data_may_be_a_world_tofu_or_a_folder(tmp_path: Path) -> None:
    sets, asked_for = read_sets(None, None, None, World(subjects=6))
    assert (len(sets.forget), asked_for["subjects"]) == (10, 6)
    folder = write_tofu(tmp_path / "tofu")
    sets, asked_for = read_sets(str(folder), "forget25", 2, WORLD)
    assert (len(sets.forget), len(sets.retain)) == (20, 20)
    assert asked_for == {"data": str(folder), "forget": "forget25", "authors": 2}


@pytest.mark.parametrize(("words", "told"), [
    ((None, "forget05", None, WORLD), "--forget forget05 has no effect"),
    ((None, None, 4, WORLD), "--authors 4 has no effect"),
    (("x", None, None, World(subjects=9)), "--subjects 9 has no effect"),
    (("x", None, 4, WORLD), "--authors 4 has no effect"),
])  # fmt: skip
def test_options_of_other_data_are_refused(words: Any, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        read_sets(*words)


def test_a_row_on_both_sides_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "forget.jsonl", rows_of("Ada Brink")[:4])
    write_rows(tmp_path / "retain.jsonl", rows_of("Ada Brink")[3:8])
    with pytest.raises(DataError, match="oracle would be trained"):
        read_sets(str(tmp_path), None, None, WORLD)


def test_attacks_and_their_strength_are_read_beforehand() -> None:
    assert [each.name for each in attacks_named("relearn, relearn_benign,relearn")] == ["relearn", "relearn_benign"]
    for wrong in ("quantize", "relern", ""):
        with pytest.raises(RecipeError):
            attacks_named(wrong)
    assert audit_of({"audit.relearning_steps": 7, "training.max_steps": 3}) == Audit(relearning_steps=7)
    assert run.NAME == "relearn"
