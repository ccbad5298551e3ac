"""The suite TOFU from end to end on the tiny model: taught, forgotten, asked, compared; resumed and extended."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from expunge.api import compare
from expunge.cli.evaluate import evaluate
from expunge.errors import DataError, DivergedError, ExpungeError, RecipeError, RunError
from expunge.kinds.language.measures.question_answers import Answered
from expunge.runs.folder import RunFolder
from expunge.runs.suite import suite_of
from expunge.suites.tofu import asking, cells, prepare, run
from expunge.suites.tofu.cells import cells_of, is_tuned, wanted_methods
from expunge.suites.tofu.evaluate import Questions, evaluate_model
from expunge.suites.tofu.figures import model_figures
from expunge.suites.tofu.plan import Lesson, Plan
from expunge.suites.tofu.reading import read_tofu
from expunge.suites.tofu.report import best, print_questions, questions_page, read_figures
from expunge.suites.tofu.run import run_questions
from fork_server import Commands
from small import leftovers
from tofu_data import write_tofu

OVERRIDES = {"training.max_steps": 3, "training.learning_rate": 1e-2, "training.max_retain_increase": 9.0}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tofu(tmp_path_factory.mktemp("tofu") / "data")


def carried_out(data: Path, model: Path, out: Path, methods: str = "gradient_ascent", **more: Any) -> dict[str, Any]:
    lesson = Lesson(model=str(model), epochs=4, learning_rate=1e-2, new_tokens=6)
    asked = {"data": str(data), "forget": "forget25", "authors": None} | more.pop("asked_for", {})
    sets = read_tofu(str(data), "forget25").spread(8)
    plan = Plan(name="tofu", sets=sets, lesson=lesson, asked_for=asked, methods=wanted_methods(methods),
                overrides=OVERRIDES, **more)  # fmt: skip
    return run_questions(plan, out)


@pytest.fixture(scope="module")
def finished(data: Path, tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite that was stopped between its cell and the questions to it, and then carried on."""
    out = tmp_path_factory.mktemp("suite") / "out"
    asked = asking.answer_questions

    def stopped(task: Any, rows: Any, **more: Any) -> list[Answered]:
        if list(out.glob("cells/*/0/model/config.json")):
            raise KeyboardInterrupt
        return asked(task, rows, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asking, "answer_questions", stopped)
        with pytest.raises(KeyboardInterrupt):
            carried_out(data, tiny_model_folder, out)
    assert figures_of(out)["unfinished"] == {"made": 0, "of": 1}
    assert "0 of 1 models are made and asked so far" in (out / "report.html").read_text()
    carried_out(data, tiny_model_folder, out)
    return out


def figures_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "tofu.json").read_text())
    return found


def test_models_are_measured_and_held_against_the_oracle(finished: Path) -> None:
    figures = figures_of(finished)
    assert figures["taught"] == {"forget": 20, "retain": 60}
    assert figures["asked"]["forget"] == 8
    taught, oracle, method = figures["taught_model"], figures["oracle"], figures["methods"][0]
    assert taught["forget/probability"]["value"] > 2 * oracle["forget/probability"]["value"]
    assert method["measures"]["forget/probability"]["value"] < taught["forget/probability"]["value"]
    assert "forget_quality" not in oracle
    for name in ("forget_quality", "ks_distance", "model_utility", "privleak", "forget/truth_ratio_paper",
                 "real_authors/probability_options", "retain/exact_memorization"):  # fmt: skip
        found = method["measures"][name]
        if name == "forget_quality":  # a p-value
            assert (found["low"], found["high"]) == (None, None)
        else:
            assert found["low"] <= found["value"] <= found["high"]
        assert found["n"] > 0
        assert len(found["seeds"]) == 1
    assert method["measures"]["privleak"]["n"] == 16
    assert 0 < method["share_of_retraining"] < 1
    assert leftovers(finished) == []
    assert sorted(each.name for each in (finished / "checkpoints").iterdir()) == []


def test_a_cell_is_an_ordinary_run(finished: Path) -> None:
    (path,) = (finished / "cells").glob("gradient_ascent-*/0")
    cell = RunFolder(path).require()
    assert (cell.model / "model.safetensors").is_file()
    assert "max_steps: 3" in cell.recipe.read_text()


def test_again_nothing_is_made_and_the_figures_are_the_same(
    finished: Path, data: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = figures_of(finished)
    for where, name in ((prepare, "teach_blocks"), (run, "unlearn_cell"), (asking, "answer_questions")):
        monkeypatch.setattr(where, name, lambda *_, **__: pytest.fail("this was done before"))
    assert json.loads(json.dumps(carried_out(data, tiny_model_folder, finished))) == before


def test_controls_are_asked_later_and_named_for_what_they_are(
    finished: Path, data: Path, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = shutil.copytree(finished, tmp_path / "out")
    before = figures_of(out)
    for where, name in ((prepare, "teach_blocks"), (run, "unlearn_cell")):
        monkeypatch.setattr(where, name, lambda *_, **__: pytest.fail("no model is made for a control"))
    figures = carried_out(data, tiny_model_folder, out, controls=["prompt_guardrail", "in_context"])
    assert [row["name"] for row in figures["controls"]] == ["prompt_guardrail", "in_context"]
    for row in figures["controls"]:
        assert row["measures"].keys() == before["methods"][0]["measures"].keys()
        assert row["measures"]["forget/probability"] != before["taught_model"]["forget/probability"]
        assert "weights unchanged" in row["what"]
    assert (figures["methods"], figures["oracle"]) == (before["methods"], before["oracle"])
    assert "weights unchanged: the knowledge is there" in questions_page(RunFolder(out))
    print_questions(figures)
    printed = capsys.readouterr().out
    assert "prompt_guardrail (control)" in printed
    assert "weights unchanged: the knowledge is there" in printed
    assert "out: in_context (control)" in compare([out, finished])
    long = asking.answer_questions

    def refuse(task: Any, rows: Any, **more: Any) -> list[Answered]:
        if rows[0].turns:
            raise DataError("question and answer are longer than the model can read", seen="9 tokens")
        return long(task, rows, **more)

    monkeypatch.setattr(asking, "answer_questions", refuse)
    shutil.rmtree(next(path for path in (out / "stages").glob("answers-in_context-forget-*")))
    with pytest.raises(RecipeError, match="what the control in_context says before a question does not fit") as caught:
        carried_out(data, tiny_model_folder, out, controls=["in_context"])
    assert caught.value.next_step == "leave in_context out of --controls"


def test_it_was_stopped_and_has_the_bits_of_one_that_was_not(
    finished: Path, data: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    """And another method, added later, is trained on the same models."""
    straight = carried_out(data, tiny_model_folder, tmp_path / "straight")
    before = figures_of(finished)
    for part in ("taught_model", "oracle"):
        assert straight[part] == before[part]
    assert straight["methods"][0]["measures"] == before["methods"][0]["measures"]
    assert straight["methods"][0]["group"] == before["methods"][0]["group"]


def test_after_each_model_the_figures_so_far_are_written(
    finished: Path, data: Path, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what was there before stays in them, though the new methods are named first."""
    out = shutil.copytree(finished, tmp_path / "out")
    before, written = figures_of(out), []

    def stopped(cell: Any, *_: Any) -> dict[str, Any]:
        written.append((figures_of(out), questions_page(RunFolder(out))))
        if cell.method == "simnpo":
            raise KeyboardInterrupt
        return {"failed": "the loss is not a number"}

    monkeypatch.setattr(run, "unlearn_cell", stopped)
    with pytest.raises(KeyboardInterrupt):
        carried_out(data, tiny_model_folder, out, "npo,simnpo,gradient_ascent")
    for made, (figures, page) in enumerate(written, 1):
        assert figures["unfinished"] == {"made": made, "of": 3}
        assert figures["methods"] == before["methods"]
        assert [row["name"] for row in figures["failed"]] == ["npo"][: made - 1]
        assert f"{made} of 3 models are made and asked so far" in page
        assert "Not finished" in page
    text = compare([out, finished])
    assert "has not ended: 2 of 3 models" in text
    assert before["unfinished"] is None
    assert "Not finished" not in questions_page(RunFolder(finished))


def test_a_folder_without_figures_says_so(tmp_path: Path) -> None:
    (tmp_path / "data-tofu").mkdir()
    with pytest.raises(RunError, match="no figures yet"):
        read_figures(RunFolder(tmp_path))


def test_another_suites_folder_is_refused(finished: Path, data: Path, tiny_model_folder: Path) -> None:
    with pytest.raises(RunError, match="holds another run"):
        carried_out(data, tiny_model_folder, finished, asked_for={"authors": 3})


def test_a_model_that_diverged_is_said_and_not_tried_again(
    finished: Path, data: Path, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "out"
    shutil.copytree(finished, out)

    def diverged(story: Any) -> dict[str, Any]:
        raise DivergedError("the loss is not a number")

    monkeypatch.setattr(cells.LanguageStory, "unlearn", diverged)
    for _ in range(2):
        figures = carried_out(data, tiny_model_folder, out, "gradient_ascent,npo")
        assert [row["name"] for row in figures["methods"]] == ["gradient_ascent"]
        assert [(row["name"], row["reason"]) for row in figures["failed"]] == [("npo", "the loss is not a number")]
        monkeypatch.setattr(run, "unlearn_cell", lambda *_: pytest.fail("it was tried before"))
    print_questions(figures)
    said = capsys.readouterr().out
    assert "npo: 1 of 1 models: the loss is not a number" in said
    assert "npo</b>: 1 of 1 models: the loss is not a number" in questions_page(RunFolder(out))


def test_the_page_says_what_was_measured(finished: Path) -> None:
    folder = RunFolder(finished)
    suite = suite_of(finished)
    assert suite is not None
    assert suite.name == "tofu"
    page = suite.render_report(folder).read_text()
    assert page == questions_page(folder)
    for part in ("TOFU", "gradient_ascent", "oracle", "never saw the forget set", "forget quality", "PrivLeak",
                 "World facts", "probability among options", "Harmonic mean of nine"):  # fmt: skip
        assert part in page, part
    assert page.count("<svg") == 2
    assert "<script" not in page


def test_over_seeds_values_are_means_and_p_values_the_least(finished: Path, data: Path) -> None:
    sets = read_tofu(str(data), "forget25").spread(8)
    truths = {name: [row.answer for row in rows] for name, rows in sets.measured.items()}

    def answers(who: str) -> dict[str, list[Answered]]:
        paths = {name: next((finished / "stages").glob(f"answers-{who}-{name}-*/answers.json")) for name in truths}
        return {name: [Answered.of(row) for row in json.loads(path.read_text())] for name, path in paths.items()}

    one, other, oracle = answers("taught"), answers("gradient_ascent-*-0"), answers("oracle")
    both = model_figures([one, other], truths, oracle)
    apart = [model_figures([each], truths, oracle) for each in (one, other)]
    for name in ("forget/probability", "forget_quality", "ks_distance", "model_utility", "privleak"):
        values = [each[name]["value"] for each in apart]
        assert both[name]["seeds"] == pytest.approx(values)
        over = {"forget_quality": min(values), "ks_distance": max(values)}.get(name, sum(values) / 2)
        assert both[name]["value"] == pytest.approx(over)


def test_the_best_is_among_those_like_the_oracle() -> None:
    def row(name: str, quality: float, utility: float) -> dict[str, Any]:
        return {"name": name, "measures": {"forget_quality": {"value": quality}, "model_utility": {"value": utility}}}

    rows = [row("strong", 0.01, 0.9), row("fine", 0.3, 0.6), row("alike", 0.9, 0.4)]
    taught = row("taught", 1e-5, 0.9)["measures"]
    found = best(rows, taught)
    assert found is not None
    assert found["name"] == "fine"
    assert best(rows[:1], taught) is None
    assert best(rows, rows[1]["measures"]) is None  # the test tells nothing apart


def test_methods_that_a_grid_tuned_are_marked_unless_options_change_them(
    finished: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    content = {"forget": "x.jsonl", "retain": "y.jsonl", "model": "smollm2-135m"}
    methods = wanted_methods("npo,undial,gradient_ascent")

    def tuned(overrides: dict[str, Any]) -> dict[str, bool]:
        made = cells_of(tmp_path, content, methods, overrides, seeds=1)
        return {cell.method: is_tuned(cell.method, cell.recipe.model_dump(mode="json")) for cell in made}

    assert tuned({}) == {"npo": True, "undial": True, "gradient_ascent": False}
    assert not any(tuned({"training.learning_rate": 1e-2}).values())
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    figures = figures_of(out)
    (row,) = figures["methods"]
    assert row["tuned"] is False
    print_questions(figures)
    assert "tuned" not in capsys.readouterr().out + questions_page(RunFolder(out))
    figures["methods"].append(row | {"name": "npo", "tuned": True})
    (out / "tofu.json").write_text(json.dumps(figures))
    print_questions(figures)
    said, page = capsys.readouterr().out, questions_page(RunFolder(out))
    for text in (said, page, str(compare([out, finished]))):
        assert "npo (tuned)" in text
        assert "gradient_ascent (tuned)" not in text
        assert "a difference may be one of tuning" in text
    assert "tuning" not in str(compare([finished, finished]))


def test_methods_are_known_by_name() -> None:
    assert {"npo", "rmu", "simnpo"} <= wanted_methods("all").keys()
    assert wanted_methods("npo , npo")["npo"]["method"]["retain_weight"] == 5.0
    for name, rate, weight, epochs in (("altpo", 5e-5, 2, 10), ("idk_dpo", 5e-5, 1, 10), ("undial", 3e-4, 5, 5)):
        found = wanted_methods(name)[name]
        assert found["training"] == {"learning_rate": rate, "num_train_epochs": epochs}
        assert found["method"]["retain_weight"] == weight
    for wrong in ("salun", "nppo", ""):
        with pytest.raises(RecipeError):
            wanted_methods(wrong)


EVALUATION: dict[str, Any] = {
    "forget_quality": {"agg_value": 0.25},
    "model_utility": {"agg_value": 0.5},
    "forget_Q_A_Prob": {
        "agg_value": 0.4,
        "value_by_index": {"0": {"prob": 0.3, "avg_loss": 1.2}, "1": {"prob": 0.5, "avg_loss": 0.7}},
    },
    "forget_truth_ratio": {"agg_value": 0.45, "value_by_index": {"0": {"score": 2.0}, "1": {"score": 0.4}}},
    "extraction_strength": {"agg_value": 0.06},
    "mia_loss": {"agg_value": 0.9},
}


@pytest.mark.parametrize("name", ["TOFU_EVAL.json", "TOFU_SUMMARY.json"])
def test_evaluations_by_openunlearning_stand_beside_ours(name: str, finished: Path, tmp_path: Path) -> None:
    file, page = tmp_path / name, tmp_path / "page.html"
    short = {key: entry["agg_value"] for key, entry in EVALUATION.items()}
    file.write_text(json.dumps(EVALUATION if "EVAL" in name else short))
    text = compare([finished, file], page)
    line = next(line for line in text.splitlines() if line.startswith(name))
    assert "0.250" in line
    assert "0.060" in line
    assert ("0.400 [" in line) == ("EVAL" in name)
    assert "out: gradient_ascent" in text
    assert "Forget set: extraction strength, OpenUnlearning's" in text
    assert name in page.read_text()


def test_runs_and_files_are_not_compared(finished: Path, tmp_path: Path) -> None:
    file = tmp_path / "TOFU_EVAL.json"
    file.write_text(json.dumps(EVALUATION))
    with pytest.raises(RunError, match="not a run folder"):
        compare([file, file])
    (cell,) = (finished / "cells").glob("gradient_ascent-*/0")
    with pytest.raises(RunError, match="has no suite of questions"):
        compare([finished, cell])


def evaluated(finished: Path, data: Path, **more: Any) -> dict[str, Any]:
    taught = next(finished.glob("stages/taught-*/model"))
    return evaluate_model(
        str(taught),
        Questions(suite="tofu", data=str(data), forget="forget25", rows=8, new_tokens=6, **more),
    )


def test_any_model_is_asked_the_same_and_stands_beside_openunlearnings(
    finished: Path, data: Path, tmp_path: Path
) -> None:
    oracle = next(finished.glob("stages/oracle-*/model"))
    found = evaluated(finished, data, oracle=str(oracle))
    assert json.loads(json.dumps(found["measures"])) == figures_of(finished)["taught_model"]
    assert found["left_out"] == []
    ours, theirs = tmp_path / "scores.json", tmp_path / "TOFU_EVAL.json"
    ours.write_text(json.dumps(found))
    theirs.write_text(json.dumps(EVALUATION))
    lines = compare([ours, theirs], tmp_path / "page.html").splitlines()
    assert next(line for line in lines if line.startswith("scores.json: ")).count("[") > 6
    assert any(line.startswith("TOFU_EVAL.json") for line in lines)
    assert "scores.json" in compare([finished, ours])
    found["measures"]["forget/probability"]["value"] = "<b>"
    ours.write_text(json.dumps(found))
    with pytest.raises(DataError, match="evaluation cannot be read"):
        compare([ours, theirs])


def numbers_in(value: Any) -> list[float]:
    """All numbers of a JSON value, in order."""
    if isinstance(value, dict):
        return [number for name in sorted(value) for number in numbers_in(value[name])]
    if isinstance(value, list):
        return [number for each in value for number in numbers_in(each)]
    return [value] if isinstance(value, float) else []


def test_two_processes_ask_what_one_asks(finished: Path, data: Path, tmp_path: Path, commands: Commands) -> None:
    words = ["evaluate", next(finished.glob("stages/taught-*/model")), "--suite", "tofu", "--data", data]
    words += ["--forget", "forget25", "--rows", 8, "--new-tokens", 6, "--out", "scores.json"]
    first, second = commands.together(2, words, tmp_path)
    assert (first.code, second.code, second.out) == (0, 0, ""), first.err + second.err
    measures = json.loads((tmp_path / "scores.json").read_text())["measures"]
    alone = json.loads(json.dumps(evaluated(finished, data)["measures"]))
    assert len(numbers_in(alone)) > 20
    assert numbers_in(measures) == pytest.approx(numbers_in(alone), rel=1e-5, abs=1e-6)
    assert not leftovers(tmp_path)


def test_without_an_oracle_forget_quality_is_not_measured(
    finished: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taught, out = next(finished.glob("stages/taught-*/model")), tmp_path / "scores.json"
    asked = {"suite": "tofu", "data": str(data), "forget": "forget25", "rows": 2, "new_tokens": 2}
    assert evaluate(str(taught), asked=asked, out=out) == 0  # type: ignore[arg-type]
    measures = json.loads(out.read_text())["measures"]
    assert not {"forget_quality", "ks_distance", "privleak"} & measures.keys()
    assert "forget quality and PrivLeak are not measured: there is no oracle" in capsys.readouterr().out


@pytest.mark.parametrize(("asked", "told"), [
    ({"suite": "tufo"}, "no suite 'tufo'"), ({"suite": "challenge"}, "no suite 'challenge'"), ({"suite": "tofu"}, "--data"),
    ({"data": "x"}, "none is named"), ({"suite": "lume", "data": "x", "forget": "forget05"}, "one forget set"),
    ({"suite": "tofu", "data": "{data}", "rows": 0}, "nothing is asked"),
    ({"suite": "world", "data": "{data}"}, "no generated world"),
])  # fmt: skip
def test_what_a_suite_cannot_ask_is_told_before_a_model_is_loaded(asked: dict[str, Any], told: str, data: Path) -> None:
    given = {name: value.format(data=data) if isinstance(value, str) else value for name, value in asked.items()}
    with pytest.raises(ExpungeError) as caught:
        evaluate("nowhere/model", asked=given)  # type: ignore[arg-type]
    assert told in str(caught.value)
