"""Every text method at equal damage: what each forgets of a generated world, and what relearning brings back.

    python benchmarks/methods_at_equal_damage/run.py --out runs/equal-damage --dry-run
    python benchmarks/methods_at_equal_damage/run.py --out runs/equal-damage --cells 5

Each method is tried at several learning rates on one world, with one seed. At the rate that relearning brings least back of,
among those whose KL divergence from the taught model on ordinary text is within the limit, it is run on another world, with
three seeds: only these are reported. A cell, one method at one rate, is a call of `expunge suite relearn`; its figures are
kept in `OUT/cells`, and what is there is not made again. After every cell `OUT/result.json` and `OUT/result.md` are written.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.progress import Silent
from expunge.errors import ExpungeError
from expunge.runs.audit import Audit
from expunge.runs.registry import make_method
from expunge.suites.relearn.report import cells_of, headings, ranked, within, worst
from expunge.suites.relearn.run import run_relearn
from expunge.suites.relearn.settings import Attack
from expunge.suites.relearn.suite import NAME
from expunge.suites.tofu import plan as suite
from expunge.suites.tofu.cells import wanted_methods
from expunge.suites.world.reading import read_world
from expunge.suites.world.settings import World

TUNING, REPORTED = 1, 0
"seeds of the world that rates are chosen on, and of the one that is reported"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run, from the command line."""

    out: Path
    model: str
    methods: tuple[str, ...]
    rates: tuple[float, ...]
    subjects: int
    epochs: float
    steps: int
    batch: int
    relearning_steps: int
    seeds: int
    kl: float
    ordinary: str | None


@dataclass(frozen=True, slots=True)
class Cell:
    """One method at one rate on one world; rate None: the method has no training whose rate could be tried."""

    method: str
    rate: float | None
    world: int

    @property
    def name(self) -> str:
        return f"world{self.world}-{self.method}" + ("" if self.rate is None else f"-{self.rate:g}")


def path_of(plan: Plan, cell: Cell) -> Path:
    return plan.out / "cells" / f"{cell.name}.json"


def tried(plan: Plan, method: str) -> list[Cell]:
    """The cells that a method's rate is chosen from."""
    settings = wanted_methods(method)[method]["method"]
    rates = plan.rates if make_method(settings, "causal_lm").has_loss() else (None,)
    return [Cell(method, rate, TUNING) for rate in rates]


def chosen(plan: Plan, method: str) -> Cell | None:
    """The reported cell of a method; None while a rate is not tried yet, or where no rate made a model."""
    found = []
    for cell in tried(plan, method):
        if not path_of(plan, cell).is_file():
            return None
        figures = storage.read_json(path_of(plan, cell))
        for row in figures["methods"]:
            value = worst(row, list(figures["attacks"]))
            kl = row["damage"]["kl"][0]
            inside = within(row, plan.kl)
            found.append((not inside, (1e9 if value is None else value) if inside else kl, cell))
    if not found:
        return None
    _, _, best = min(found, key=lambda each: each[:2])
    return Cell(method, best.rate, REPORTED)


def pending(plan: Plan) -> Iterator[Cell]:
    """Cells that are not made yet, each method's one after another."""
    for method in plan.methods:
        for cell in tried(plan, method):
            if not path_of(plan, cell).is_file():
                yield cell
        reported = chosen(plan, method)
        if reported is not None and not path_of(plan, reported).is_file():
            yield reported


def carry_out(plan: Plan, cell: Cell) -> None:
    """Make a cell, and keep its figures."""
    world = World(subjects=plan.subjects, share=0.34, world_seed=cell.world)
    overrides: dict[str, Any] = {"audit.relearning_steps": plan.relearning_steps}
    if cell.rate is not None:
        overrides |= {
            "training.max_steps": plan.steps,
            "training.per_device_train_batch_size": plan.batch,
            "training.learning_rate": cell.rate,
        }
    start = time.monotonic()
    wanted = suite.Plan(
        name=NAME,
        sets=read_world(world),
        lesson=suite.Lesson(model=plan.model, epochs=plan.epochs),
        asked_for={"data": "a generated world", **asdict(world)},
        methods=wanted_methods(cell.method),
        overrides=overrides,
        seeds=plan.seeds if cell.world == REPORTED else 1,
        all_methods=True,
    )
    figures = run_relearn(wanted, Attack(kl=plan.kl, ordinary=plan.ordinary), plan.out / f"world{cell.world}", Silent())
    storage.write_json(path_of(plan, cell), figures)
    print(f"{cell.name}: {time.monotonic() - start:.0f} s", flush=True)


def write_result(plan: Plan) -> None:
    """`result.json` and `result.md` of what is reported so far."""
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    first: dict[str, Any] | None = None
    for method in plan.methods:
        cell = chosen(plan, method)
        if cell is None or not path_of(plan, cell).is_file():
            made = [path for each in tried(plan, method) if (path := path_of(plan, each)).is_file()]
            failed += [each for path in made for each in storage.read_json(path)["failed"]]
            continue
        figures = storage.read_json(path_of(plan, cell))
        first = first or figures
        rows += [row | {"rate": cell.rate} for row in figures["methods"]]
        failed += figures["failed"]
    if first is None:
        return
    result = {**first, "methods": rows, "failed": failed, "plan": asdict(plan) | {"out": plan.out.name}}
    ordered = ranked(result)
    storage.write_json(plan.out / "result.json", {**result, "methods": ordered})
    head = ["#", "method", "rate", *headings(result)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for what in ("taught_model", "oracle"):
        lines.append(_line(["", what.partition("_")[0], ""], result[what], result))
    for number, row in enumerate(ordered, 1):
        place = str(number) if within(row, plan.kl) else "–"
        lines.append(_line([place, row["name"], "" if row["rate"] is None else f"{row['rate']:g}"], row, result))
    lines += ["", *(f"- {row['name']}: {row['models']} of {row['of']} models: {row['reason']}" for row in failed)]
    storage.write_text(plan.out / "result.md", "\n".join(lines).rstrip() + "\n")


def _line(begin: list[str], row: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    return "| " + " | ".join([*begin, *(" ".join(filter(None, pair)) for pair in cells_of(row, figures))]) + " |"


def read_plan(given: argparse.Namespace) -> Plan:
    """The plan of the command line; another one in the same folder is refused."""
    plan = Plan(
        out=given.out,
        model=given.model,
        methods=tuple(wanted_methods(given.methods)),
        rates=tuple(float(rate) for rate in given.rates.split(",")),
        subjects=given.subjects,
        epochs=given.epochs,
        steps=given.steps,
        batch=given.batch,
        relearning_steps=given.relearning_steps,
        seeds=given.seeds,
        kl=given.kl,
        ordinary=given.ordinary,
    )
    fixed = {name: value for name, value in asdict(plan).items() if name not in ("out", "methods", "rates")}
    path = plan.out / "plan.json"
    if path.is_file() and storage.read_json(path) != json.loads(json.dumps(fixed)):
        raise SystemExit(f"{plan.out} holds cells of another plan: {path.read_text()}\ngive another --out")
    if not given.dry_run:
        (plan.out / "cells").mkdir(parents=True, exist_ok=True)
        storage.write_json(path, fixed)
    return plan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--methods", default="all", help="names with commas between them, or all")
    parser.add_argument("--rates", default="5e-6,1e-5,2e-5,5e-5", help="learning rates that are tried")
    parser.add_argument("--subjects", type=int, default=30, help="people and places that are taught")
    parser.add_argument("--epochs", type=float, default=8.0, help="of teaching")
    parser.add_argument("--steps", type=int, default=24, help="of a method's training")
    parser.add_argument("--batch", type=int, default=4, help="rows in such a step")
    parser.add_argument("--relearning-steps", type=int, default=Audit().relearning_steps)
    parser.add_argument("--seeds", type=int, default=3, help="models of each method that are reported")
    parser.add_argument("--kl", type=float, default=0.01, help="damage at most, nats a token")
    parser.add_argument("--ordinary", help="ordinary text; default: written by the model before it is taught")
    parser.add_argument("--cells", type=int, help="make so many cells, and stop")
    parser.add_argument("--dry-run", action="store_true", help="say what is left to be made, and make nothing")
    given = parser.parse_args()
    plan = read_plan(given)
    if given.dry_run:
        left = list(pending(plan))
        trials = [cell for method in plan.methods for cell in tried(plan, method)]
        print(f"{len(plan.methods)} methods, {len(trials)} trials and {len(plan.methods)} cells that are reported")
        for cell in left:
            print(f"{cell.name}: {plan.seeds if cell.world == REPORTED else 1} seeds")
        return
    made, stopped = 0, set[Cell]()
    while given.cells is None or made < given.cells:
        cell = next((each for each in pending(plan) if each not in stopped), None)
        if cell is None:
            break
        try:
            carry_out(plan, cell)
        except ExpungeError as error:  # it is tried again with the next call; the other methods need not wait for that
            print(f"{cell.name}: {error}", flush=True)
            stopped.add(cell)
        write_result(plan)
        made += 1
    write_result(plan)


if __name__ == "__main__":
    main()
