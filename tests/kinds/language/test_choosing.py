"""A training that chooses: when it stops, which weights it ends with, and that a kill changes neither."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from expunge.errors import DivergedError, RecipeError, RunError
from expunge.kinds.language.choosing import Choice, choice_of, drawn, excess, known_share, rank
from expunge.kinds.language.recipe import Recipe, Training
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.kinds.language.watched import Watched
from expunge.runs.registry import built_in, make_method, method_class
from expunge.train.checkpoint import Checkpoints
from expunge.train.loop import Trained
from tiny import load_task, random_blocks, write_table

SEED = 3
LIMITS = {"ordinary": 1.5, "retain": 1.6}
WIDE = {"ordinary": 1e9, "retain": 1e9}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TokenTable]:
    folder = tmp_path_factory.mktemp("tables")
    lengths = {"forget": [9, 30, 12, 21], "holdout": [17, 12, 25], "retain": [18, 28, 11], "ordinary": [14, 20, 30]}
    return {
        name: write_table(folder / name, random_blocks(each, seed=number))
        for number, (name, each) in enumerate(lengths.items())
    }


def run(
    task: CausalLM,
    tables: dict[str, TokenTable],
    folder: Path,
    *,
    choice: Choice | None,
    method: str = "gradient_ascent",
    log: Callable[..., None] = lambda event, **values: None,
    on_progress: Callable[..., None] | None = None,
    probe: Callable[[CausalLM, int], None] | None = None,
    **training: Any,
) -> Trained:
    usual = {
        "learning_rate": 3e-3,
        "probe_steps": 1,
        "max_retain_increase": 1e3,
        "max_steps": 12,
        "num_train_epochs": 99,
        "save_seconds": 1e-9,
        "warmup_ratio": 0.0,
    }
    work = LanguageWork(
        task=task,
        forget=tables["forget"],
        retain=tables["retain"],
        training=Training(**usual | training),
        seed=SEED,
        checkpoints=folder,
        log=log,
        on_progress=on_progress,
        probe=probe,
        choice=choice,
        ends=True,
    )
    work.carry_out(make_method({"name": method}))
    return work.trained[-1]


@pytest.fixture(scope="module")
def taught(tiny_model_folder: Path, tables: dict[str, TokenTable], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that knows the forget set and the retain set a little better than like text."""
    folder = tmp_path_factory.mktemp("taught")
    task = load_task(tiny_model_folder)
    both = [tables[name].ids_of(row) for name in ("forget", "retain") for row in range(len(tables[name]))]
    learn = {**tables, "retain": write_table(folder / "table", both)}
    run(task, learn, folder / "checkpoints", choice=None, method="fine_tune", max_steps=20)
    task.model.save_pretrained(folder / "model")
    task.tokenizer.save_pretrained(folder / "model")
    return folder / "model"


def made(tables: dict[str, TokenTable], **changes: Any) -> Choice:
    usual: dict[str, Any] = {"every": 2, "stop_at": None, "asked": True, "keeps_best": True, "limits": LIMITS}
    return Choice(tables=tables, **usual | changes)


def weights(task: CausalLM) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in task.model.named_parameters()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def plain_nll(task: CausalLM, table: TokenTable) -> float:
    """Mean nats a token of all its blocks, from the model's own logits in float64."""
    nats: list[float] = []
    for row in range(len(table)):
        ids = torch.tensor([table.ids_of(row)])
        with torch.no_grad():
            logits = task.model(input_ids=ids).logits[0].double().numpy()
        logits = logits[:-1] - logits[:-1].max(1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        nats += [-log_p[at, token] for at, token in enumerate(ids[0, 1:].tolist())]
    return float(np.mean(nats))


class Followed:
    """Every step's losses and weights, seen beside the training that chooses."""

    def __init__(self, tables: dict[str, TokenTable]) -> None:
        self.tables = tables
        self.nll: dict[int, dict[str, float]] = {}
        self.weights: dict[int, dict[str, Tensor]] = {}

    def __call__(self, task: CausalLM, step: int) -> None:
        self.nll[step] = {name: plain_nll(task, table) for name, table in self.tables.items()}
        self.weights[step] = weights(task)


@pytest.fixture(scope="module")
def ascent(taught: Path, tables: dict[str, TokenTable], tmp_path_factory: pytest.TempPathFactory) -> Followed:
    """All steps of an ascent that nothing stops and nobody evaluates."""
    followed = Followed(tables)
    run(load_task(taught), tables, tmp_path_factory.mktemp("ascent"), choice=None, probe=followed)
    return followed


def test_it_stops_at_the_first_look_that_finds_the_forget_set_no_likelier_than_held_out_text(
    taught: Path, tables: dict[str, TokenTable], ascent: Followed, tmp_path: Path
) -> None:
    crossed = [step for step, nll in ascent.nll.items() if nll["forget"] >= nll["holdout"]]
    assert 2 < crossed[0] < 10  # or the test shows nothing
    wanted = next(step for step in (2, 4, 6, 8, 10) if step >= crossed[0])
    seen: list[dict[str, Any]] = []
    task = load_task(taught)
    result = run(
        task,
        tables,
        tmp_path,
        choice=made(tables, stop_at="holdout", keeps_best=False),
        log=lambda event, **values: seen.append(values) if event == "evaluation" else None,
    )
    assert result.steps == wanted
    assert "the forget set's loss has reached that of held-out text" in result.stopped
    assert "(training.stop_at holdout)" in result.stopped
    assert [row["step"] for row in seen] == list(range(0, wanted + 1, 2))
    for row in seen:
        for name in tables:
            assert row[name] == pytest.approx(ascent.nll[row["step"]][name], rel=1e-4)
    # Looking moves nothing: the weights are those of the training that nobody evaluated.
    assert same(weights(task), ascent.weights[wanted])


def test_the_best_weights_are_kept_where_a_run_overshoots(
    taught: Path, tables: dict[str, TokenTable], ascent: Followed, tmp_path: Path
) -> None:
    start = ascent.nll[0]
    ratios = {
        step: {name: math.exp(nll[name] - start[name]) for name in LIMITS} for step, nll in ascent.nll.items() if step
    }
    # Limits half way between two steps, so that some steps keep them and those after them do not.
    limits = {name: (ratios[5][name] + ratios[6][name]) / 2 for name in LIMITS}
    able = [step for step in ratios if all(ratios[step][name] <= limits[name] for name in limits)]
    assert 1 < max(able) < 12
    without = {name: table for name, table in tables.items() if name != "holdout"}
    best = max(able, key=lambda step: ascent.nll[step]["forget"])
    task, said = load_task(taught), []
    result = run(
        task,
        tables,
        tmp_path,
        choice=made(without, every=1, limits=limits),
        log=lambda event, **values: said.append((event, values)),
    )
    assert result.steps == 12
    assert result.stopped == f"all steps done; the weights of step {best} are kept"
    assert same(weights(task), ascent.weights[best])
    assert ("kept", {"step": best, "of": 12, "limits": True}) in said


def test_forgetting_beyond_held_out_text_counts_for_nothing(
    taught: Path, tables: dict[str, TokenTable], ascent: Followed, tmp_path: Path
) -> None:
    """Without a rule that stops it: every step after the crossing is as good as the first one."""
    task = load_task(taught)
    run(task, tables, tmp_path, choice=made(tables, every=1, limits=WIDE))
    crossed = [step for step, nll in ascent.nll.items() if step and nll["forget"] >= nll["holdout"]]
    assert len(crossed) > 1
    assert same(weights(task), ascent.weights[crossed[0]])


def test_where_no_step_keeps_the_limits_the_one_that_exceeds_them_least_is_kept_and_said_so(
    taught: Path, tables: dict[str, TokenTable], ascent: Followed, tmp_path: Path
) -> None:
    limits = {"retain": 0.5}
    task, notices = load_task(taught), []
    run(
        task,
        tables,
        tmp_path,
        choice=made(tables, every=1, limits=limits),
        log=lambda event, **values: notices.append(values["text"]) if event == "notice" else None,
    )
    least = min((step for step in ascent.nll if step), key=lambda step: ascent.nll[step]["retain"])
    assert same(weights(task), ascent.weights[least])
    assert f"no step that was evaluated kept the limits of perplexity; step {least} exceeds them least" in notices[0]


def test_where_the_guard_stops_a_run_that_has_good_weights_they_are_kept(
    taught: Path, tables: dict[str, TokenTable], ascent: Followed, tmp_path: Path
) -> None:
    rise = ascent.nll[6]["retain"] - ascent.nll[0]["retain"]
    with pytest.raises(DivergedError, match="the retain loss ran away"):
        run(load_task(taught), tables, tmp_path / "a", choice=None, max_retain_increase=rise)
    task = load_task(taught)
    choice = made(
        tables, every=1, limits={"retain": math.exp(ascent.nll[2]["retain"] - ascent.nll[0]["retain"]) * 1.01}
    )
    result = run(task, tables, tmp_path / "b", choice=choice, max_retain_increase=rise)
    assert "the retain loss ran away" in result.stopped
    kept = result.stopped.split("the weights of step ")[1].split()[0]
    assert int(kept) < result.steps < 12
    assert same(weights(task), ascent.weights[int(kept)])


class CrashError(BaseException):
    """As a kill: nothing handles it."""


@pytest.mark.parametrize("options", [{}, {"adapter_rank": 2, "learning_rate": 2e-2}], ids=["weights", "adapter"])
def test_a_run_that_is_killed_ends_with_the_same_bits(
    taught: Path,
    tables: dict[str, TokenTable],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
) -> None:
    """Before a step, and between a best step's weights and the checkpoint that would tell of them."""
    choice, options = made(tables, every=1, limits=LIMITS), {"max_steps": 6, "learning_rate": 4e-3} | options
    whole = load_task(taught)
    expected = run(whole, tables, tmp_path / "whole", choice=choice, **options)
    kept = int(expected.stopped.split("the weights of step ")[1].split()[0])
    assert 1 < kept < 6
    save, left = Checkpoints.save, 0

    def killed(*given: Any, **named: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise CrashError
        save(*given, **named)

    def stop(step: int, *_: Any) -> None:
        if step == 4:
            raise CrashError

    monkeypatch.setattr(Checkpoints, "save", killed)
    with pytest.raises(CrashError):
        run(load_task(taught), tables, tmp_path / "killed", choice=choice, on_progress=stop, **options)
    for left in (1, 2):  # noqa: B007 - read above
        with pytest.raises(CrashError):
            run(load_task(taught), tables, tmp_path / "killed", choice=choice, **options)
    again = load_task(taught)
    result = run(again, tables, tmp_path / "killed", choice=choice, **options)
    assert (result.steps, result.stopped) == (expected.steps, expected.stopped)
    assert same(weights(again), weights(whole))


def test_kept_weights_that_are_gone_are_no_silent_loss(
    taught: Path, tables: dict[str, TokenTable], tmp_path: Path
) -> None:
    def spoil(step: int, *_: Any) -> None:
        for file in (tmp_path / "unlearning/best").glob("step-*/*.safetensors"):
            file.write_bytes(b"torn")

    choice = made(tables, every=1, limits={"retain": 1.0001})
    with pytest.raises(RunError, match="the best one, in"):
        run(load_task(taught), tables, tmp_path, choice=choice, max_steps=3, on_progress=spoil)


def test_of_equal_steps_the_earlier_one_is_kept(
    taught: Path, tables: dict[str, TokenTable], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watched, "nll", lambda self: 2.0)
    result = run(load_task(taught), tables, tmp_path, choice=made(tables), max_steps=6)
    assert result.stopped == "all steps done; the weights of step 2 are kept"


def test_what_a_step_is_judged_by() -> None:
    start = {"forget": 1.0, "holdout": 3.0, "retain": 2.0, "ordinary": 2.5}
    limits = {"retain": 1.1, "ordinary": 1.03}
    assert excess(start, start, limits) == pytest.approx(-math.log(1.03))
    good = start | {"forget": 2.0, "ordinary": 2.5 + math.log(1.03)}
    assert excess(good, start, limits) == pytest.approx(0, abs=1e-12)
    better = start | {"forget": 2.5, "retain": 2.0 + math.log(1.09)}
    bad = start | {"forget": 2.9, "retain": 2.0 + math.log(1.2)}
    worse = start | {"forget": 2.9, "retain": 2.0 + math.log(1.3)}
    broken = start | {"forget": math.inf, "retain": math.nan}
    order = [broken, worse, bad, start, better]
    ranks = [rank(each, start, limits) for each in order]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == len(order)
    assert rank(start | {"forget": 9.0}, start, limits) == rank(start | {"forget": 3.0}, start, limits)
    assert rank(start | {"forget": math.nan}, start, limits) < ranks[3]


def test_the_texts_that_are_looked_at_are_few_and_always_the_same(tmp_path: Path) -> None:
    table = write_table(tmp_path / "a", [*random_blocks([600] * 9, seed=1), [5]])
    first, again, other = drawn(table, 0, "forget"), drawn(table, 0, "forget"), drawn(table, 1, "forget")
    assert len(first) == 4  # 599 labelled tokens each
    assert first.starts.tolist() == again.starts.tolist()
    assert first.starts.tolist() != other.starts.tolist()
    assert min(first.lengths) == 600
    assert len(drawn(write_table(tmp_path / "b", random_blocks([4, 5], seed=1)), 0, "x")) == 2


def test_the_share_of_tokens_with_a_margin(taught: Path, tables: dict[str, TokenTable]) -> None:
    """Against the rule in float64, from the model's own logits."""
    task, shares = load_task(taught), []
    for row in range(len(tables["forget"])):
        ids = tables["forget"].ids_of(row)
        with torch.no_grad():
            logits = task.model(input_ids=torch.tensor([ids])).logits[0].double().numpy() * 40
        above = []
        for said, true in zip(logits, ids[1:], strict=False):
            others = np.sort(np.delete(said, true))[-10:]
            top = others.max()
            margin = said[true] - (top + math.log(np.exp(others - top).sum()))
            above.append(margin > math.log(0.7 / 0.3))
        shares.append(np.mean(above))
    assert 0 < np.mean(shares) < 1
    with torch.no_grad():
        task.model.get_parameter("model.norm.weight").mul_(40)  # a model of random weights is sure of nothing
    found = known_share(task, Watched(task, tables["forget"], 9, 2))
    assert found == pytest.approx(float(np.mean(shares)), abs=1e-12)


def test_it_stops_where_few_tokens_have_a_margin(taught: Path, tables: dict[str, TokenTable], tmp_path: Path) -> None:
    task = load_task(taught)
    with pytest.raises(RecipeError, match="does not know the forget set well enough for training to stop") as refused:
        run(task, tables, tmp_path / "a", choice=made(tables, stop_at="margin"))
    assert "before the first step 0.0% of the forget set's tokens have a margin" in str(refused.value)
    # A model that is sharper, and knows the forget set by heart.
    learn = {**tables, "retain": tables["forget"]}
    run(task, learn, tmp_path / "b", choice=None, method="fine_tune", max_steps=120, probe_steps=200)
    seen: list[float] = []
    result = run(
        task,
        tables,
        tmp_path / "c",
        choice=made(tables, stop_at="margin", every=1, keeps_best=False),
        log=lambda event, **values: seen.append(values["margin"]) if event == "evaluation" else None,
        max_steps=60,
    )
    assert seen[-1] <= 0.475 < min(seen[:-1])
    assert result.steps == len(seen) - 1
    assert "of the forget set's tokens have a margin, of at most 47.5% (training.stop_at margin)" in result.stopped


def test_without_being_asked_a_rule_that_holds_from_the_start_stops_nothing(
    tiny_model_folder: Path, tables: dict[str, TokenTable], tmp_path: Path
) -> None:
    task, notices = load_task(tiny_model_folder), []
    like = {**tables, "holdout": tables["forget"]}
    result = run(
        task,
        like,
        tmp_path,
        choice=made(like, stop_at="holdout", asked=False),
        log=lambda event, **values: notices.append(values["text"]) if event == "notice" else None,
        max_steps=4,
    )
    assert result.steps == 4
    assert "training does not stop at held-out text: before the first step the forget set's loss has" in notices[0]


def recipe(method: Any = "gradient_ascent", **training: Any) -> Recipe:
    fields = {"name": method} if isinstance(method, str) else method
    return Recipe(forget="book.txt", forget_kind="path", method=fields, training=Training(**training))


def chosen(tables: dict[str, TokenTable], method: Any = "gradient_ascent", **training: Any) -> Choice | None:
    asked = recipe(method, **training)
    return choice_of(asked, make_method(asked.method), tables)


def test_when_it_chooses(tables: dict[str, TokenTable]) -> None:
    without = {name: table for name, table in tables.items() if name != "holdout"}
    assert chosen(without) is None
    found = chosen(tables)
    assert found is not None
    assert (found.stop_at, found.asked, found.every, found.keeps_best) == ("holdout", False, 4, True)
    assert found.limits == {"ordinary": 1.03, "retain": 1.1}
    assert chosen(tables, stop_at="none") is None
    assert chosen(tables, "npo") is None
    asked = chosen(tables, "npo", stop_at="holdout", evaluate_every=7, keep="last")
    assert asked is not None
    assert (asked.stop_at, asked.asked, asked.every, asked.keeps_best) == ("holdout", True, 7, False)
    looked = chosen(without, "npo", evaluate_every=3)
    assert looked is not None
    assert (looked.stop_at, sorted(looked.tables)) == (None, ["forget", "ordinary", "retain"])
    with pytest.raises(RecipeError, match="training is to stop at held-out text, and none is given") as refused:
        chosen(without, "npo", stop_at="holdout")
    assert "--holdout PATH" in str(refused.value)
    with pytest.raises(RecipeError, match="repselect is not a single training with one loss"):
        chosen(tables, "repselect", evaluate_every=3)
    assert chosen(tables, "repselect") is None


def test_which_methods_stop_by_themselves() -> None:
    """Those with log p of the forget set in their loss, without a weight or a limit that lets go of it."""
    able = [name for name in built_in() if "causal_lm" in method_class(name).needs.kinds]
    ends = {name for name in able if name != "spunge" and make_method({"name": name}).diverges}
    assert ends == {"gradient_ascent", "gradient_difference", "neggrad_plus"}
    held: list[dict[str, Any]] = [{"forget_limit": 4.0}, {"surprise_share": 1.0}, {"forget_loss": "unlikelihood"}]
    assert not any(make_method({"name": "gradient_difference", **each}).diverges for each in held)
    assert make_method({"name": "gru", "of": "gradient_ascent"}).diverges
    assert not make_method({"name": "gru", "of": "npo"}).diverges
