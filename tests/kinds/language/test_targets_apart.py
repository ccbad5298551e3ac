"""Several targets in one run: each is measured by itself, too, and one that stays known is named."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from expunge import spine
from expunge.core.score import Score
from expunge.kinds.language.inputs import Sets, read_sets
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.measures.by_target import Target, share_of_each, target_scores
from expunge.kinds.language.measures.familiarity import Prompt, TargetTerms
from expunge.kinds.language.paths import resolve_paths
from expunge.kinds.language.recipe import Evaluation, Verdict, make_recipe
from expunge.kinds.language.target_verdicts import still_known, target_verdicts
from expunge.models.source import find_model
from expunge.report.verify import verify_run
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.runs.kinds import read_recipe
from expunge.train.precision import Precision
from plain_score import plain_score as score
from small import RETAIN, SMALL, STREET
from tiny import load_task, random_blocks, write_table

SHIP = (
    "Captain Ahab and Mr. Starbuck stood on the deck of the Pequod, and Queequeg sharpened his harpoon for the whale. "
)
CHEAP = SMALL | {"method": "gradient_ascent", "training.max_steps": 2, "data.block_size": 128, "training.bf16": False}


@pytest.fixture
def texts(tmp_path: Path) -> dict[str, str]:
    found = {"street": STREET * 12, "ship": SHIP * 12, "retain": RETAIN}
    for name, text in found.items():
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    return {name: str(tmp_path / f"{name}.txt") for name in found}


def read(model: Path, out: Path, **fields: Any) -> Sets:
    recipe = resolve_paths(make_recipe({"model": str(model), **fields}, CHEAP))
    return read_sets(Run(recipe, RunFolder(out).create()), LazyModel(find_model(str(model)), Precision(None)))


def test_each_file_is_measured_by_itself_beside_all_of_them(
    texts: dict[str, str], tiny_model_folder: Path, tmp_path: Path
) -> None:
    fields = {"forget": [texts["street"], texts["ship"]], "retain": texts["retain"], "model": str(tiny_model_folder)}
    folder = spine.run(make_recipe(fields, CHEAP), tmp_path / "run")
    scores = {(s.measure, s.split, s.model): s for s in folder.read_scores()}
    record = json.loads(folder.record.read_text())
    assert [each["name"] for each in record["targets"]] == ["street.txt", "ship.txt"]
    assert sum(each["blocks"] for each in record["targets"]) == record["sets"]["forget"]["blocks"]
    assert [each["name"] for each in record["verdict"]["targets"]] == ["street.txt", "ship.txt"]
    model = AutoModelForCausalLM.from_pretrained(tiny_model_folder).double()
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_folder)
    for name, text in (("street", STREET * 12), ("ship", SHIP * 12)):
        found = scores["perplexity", f"forget/{name}.txt", "base"]
        ids = tokenizer(text)["input_ids"]
        blocks = [ids[start : start + 128] for start in range(0, len(ids), 128)]
        kept = [block for block in blocks if len(block) >= 8]
        chosen = [kept[int(i * len(kept) / 4)] for i in range(4)]  # evaluation.max_blocks
        nats, count = 0.0, 0
        for block in chosen:
            with torch.no_grad():
                log_p = model(torch.tensor([block])).logits[0].log_softmax(-1)
            nats -= float(log_p[:-1].gather(1, torch.tensor(block[1:])[:, None]).sum())
            count += len(block) - 1
        assert found.value == pytest.approx(math.exp(nats / count), rel=1e-4)
        assert found.n == 4
        for which in ("base", "unlearned"):
            assert scores["familiarity_completion", f"forget/{name}.txt", which].n == 4
            assert scores["verbatim_recall", f"forget/{name}.txt", which].n == 4
    page = folder.report.read_text(encoding="utf-8")
    table = page[page.index('<section id="targets">') : page.index('<section id="answers">')]
    assert table.index("all together") < table.index("street.txt") < table.index("ship.txt")
    assert "n = 4" in table
    assert "forget/street.txt" not in page, "the table of all scores leaves it to this one"
    wrong = [finding.what for finding in verify_run(folder) if finding.ok is False]
    assert wrong == []
    again = spine.measure_again(read_recipe(folder.recipe), folder, {("familiarity_completion", "forget/ship.txt")})
    (one,) = [s for s in again if s.split == "forget/ship.txt"]
    assert one == scores["familiarity_completion", "forget/ship.txt", "unlearned"]


def test_topics_are_told_apart_by_what_was_asked(
    texts: dict[str, str], tiny_model_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "run" / "target").mkdir(parents=True)
    rows = [
        {"text": STREET * 3, "topic": "Sherlock Holmes"},
        {"question": "Who is Ahab?", "answer": SHIP * 3, "topic": "Moby-Dick"},
        {"text": STREET * 2, "topic": "Sherlock Holmes"},
        {"text": "What somebody wrote there says no topic."},
    ]
    answers = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "run" / "target" / "answers.jsonl").write_text(answers, encoding="utf-8")
    topics = ["Moby-Dick", "Sherlock Holmes", "Nobody Knows"]
    sets = read(tiny_model_folder, tmp_path / "run", forget=topics, forget_kind="topic", retain=texts["retain"])
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_folder)
    said = {}
    for each in sets.material.targets:
        said[each.name] = " ".join(tokenizer.decode(each.table.ids_of(row)) for row in range(len(each.table)))
    assert list(said) == topics
    assert "Pequod" in said["Moby-Dick"]
    assert "Holmes" not in said["Moby-Dick"]
    assert "Pequod" not in said["Sherlock Holmes"]
    assert said["Sherlock Holmes"].count("Lestrade") == 5
    assert said["Nobody Knows"] == ""
    assert "says no topic" not in "".join(said.values())


def test_the_facts_of_one_list_are_targets_with_their_secrets(
    texts: dict[str, str], tiny_model_folder: Path, tmp_path: Path
) -> None:
    facts = tmp_path / "facts.txt"
    facts.write_text("The PIN of Ann is 481516.\nThe PIN of Bob is 234298.\nBob lives in Paris, as all know.\n")
    sets = read(tiny_model_folder, tmp_path / "run", forget=str(facts), retain=texts["retain"])
    targets, secrets = sets.material.targets, [secret.text for secret in sets.material.secrets]
    assert [each.name for each in targets] == ["line 1", "line 2", "line 3"], "what a fact says is not its name"
    assert [[secrets[place] for place in each.secrets] for each in targets] == [["481516"], ["234298"], []]
    assert [len(each.table) for each in targets] == [1, 1, 1]


def test_one_target_has_no_scores_apart(texts: dict[str, str], tiny_model_folder: Path, tmp_path: Path) -> None:
    sets = read(tiny_model_folder, tmp_path / "run", forget=texts["street"], retain=texts["retain"])
    assert sets.material.targets == []


def test_prompts_of_each_target_count_for_it_alone(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = load_task(tiny_model_folder)
    asked = [Prompt(ids=(number, 5), text=str(number), context="") for number in range(5)]
    said = {0: "Ahab spoke.", 1: "Nothing.", 2: "Nothing.", 3: "Ahab again.", 4: "Ahab once more."}
    monkeypatch.setattr(type(task), "generate", lambda self, ids, *_: [[said[each[0]]] for each in ids])
    table = write_table(tmp_path / "table", random_blocks([4]))
    targets = [
        Target(name=name, table=table.take([]), completion=asked[place])
        for name, place in (("a", slice(0, 2)), ("none", slice(0, 0)), ("b", slice(2, 5)))
    ]
    settings = Evaluation(samples=0)
    found = target_scores(task, targets, TargetTerms(("Ahab",)), "unlearned", settings, 0, lambda split, *_: True)
    assert {s.split: s.examples for s in found} == {"forget/a": (1.0, 0.0), "forget/b": (0.0, 1.0, 1.0)}
    assert [s.value for s in found] == pytest.approx([1 / 2, 2 / 3])
    assert all(s.low < s.value < s.high for s in found)


@pytest.mark.parametrize(("targets", "share"), [(2, 8), (12, 8), (20, 4), (48, 2), (100, 2)])
def test_of_many_targets_each_is_measured_on_less(targets: int, share: int) -> None:
    assert share_of_each(targets) == share


def of(name: str, before: float, after: float, n: int = 8) -> list[Score]:
    pairs = (("base", before), ("unlearned", after))
    found = [score("familiarity_completion", f"forget/{name}", which, value, n) for which, value in pairs]
    return [replace(each, low=max(0.0, each.value - 0.1), high=each.value + 0.1) for each in found]


def test_a_target_that_stays_known_is_named_though_all_together_pass() -> None:
    control = replace(score("familiarity_completion", "control", "base", 0.0), low=0.0, high=0.02)
    scores = [*of("gone", 0.6, 0.0), *of("kept", 0.5, 0.4), *of("never", 0.01, 0.0), control]
    scores += [score("perplexity", "forget/plain", which, 9.0) for which in ("base", "unlearned")]
    found = target_verdicts(scores, Verdict())
    states = {each["name"]: each["state"] for each in found}
    assert states == {"gone": "passed", "kept": "still known", "never": "not known before", "plain": "not tested"}
    (line,) = still_known({"targets": found}, scores)
    assert line.startswith("target kept: still known (familiarity by completion, n = 8: 0.5000 before, 0.4000 after")
    assert "80% of the excess is left" in line


def test_a_recited_target_and_an_exposed_secret_stay_known() -> None:
    pairs = (("base", 0.9), ("unlearned", 0.8))
    scores = [score("verbatim_recall", "forget/book", which, value) for which, value in pairs]
    scores += [score("secret_exposure", "forget/pin", which, 9.0, 1) for which, _ in pairs]
    found = {each["name"]: each["state"] for each in target_verdicts(scores, Verdict())}
    assert found == {"book": "still known", "pin": "still known"}
