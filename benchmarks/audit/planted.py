"""How often audits of planted cases come out right: models of a few thousand weights whose truth is known, seed by seed.

    python benchmarks/audit/planted.py --out OUT --seeds 20 [--jobs 2]
    python benchmarks/audit/planted.py --simulate 1000

Every case is audited with a retrained control, a holdout, and the attacks of `ATTACKS`. A line a case: in how many seeds the
findings that must fail failed and, of the innocent one, none did (30 facts are too few for membership to be told to 0.1).
Each seed and case is a file in OUT, and one that is there is not made again. `--simulate` draws values in place of models:
how often intervals hold the truth, and how often an innocent model fails.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
TESTS = Path(__file__).parents[2] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "kinds" / "language" / "attacks")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from planted import Planted, hide_in_last_layer, train  # noqa: E402

import expunge  # noqa: E402
from expunge import auditing  # noqa: E402
from expunge.core import storage  # noqa: E402
from expunge.kinds.language.attacks.facts import Row, batch_of  # noqa: E402
from expunge.kinds.language.attacks.relearning import Relearning, Way  # noqa: E402
from expunge.kinds.language.matrices import matrices  # noqa: E402
from expunge.kinds.language.task import CausalLM  # noqa: E402
from expunge.measures.audit.excess import Known, excess  # noqa: E402
from expunge.ops.rounding import round_to_nearest  # noqa: E402
from expunge.runs.audit import Attacked, Audit, Trial  # noqa: E402
from expunge.runs.findings import findings  # noqa: E402

ATTACKS = ("quantize", "relearn", "lens", "membership")
PEOPLE = 30
"in each of forget set, retain set and holdout, one fact each: of one person, facts' errors would go together"
HALF_A_STEP = 0.45

Relearning.ways = (Way("given", False, 1e-3), Way("given", True, 2e-3))  # of models so small, rates are larger

Change = Callable[[Planted, CausalLM], None]


def ascended(task: CausalLM, forget: Sequence[Row], retain: Sequence[Row], nats: float, clip: bool = False) -> None:
    """Train until the forget set costs so many nats a token; `clip`: no weight leaves its level of 4 bits."""
    held = {name: p.detach().clone() for name, p in matrices(task).items()}
    rates = {name: HALF_A_STEP * _step(weight) for name, weight in held.items()}
    weights = list(matrices(task).values()) if clip else list(task.model.parameters())
    optimizer = torch.optim.AdamW(weights, lr=2e-3, weight_decay=0.0)
    away, kept = batch_of(list(forget)), batch_of(list(retain))
    for _ in range(150):
        optimizer.zero_grad()
        ((nats - task.nll(away)).clamp(min=0) + task.nll(kept)).backward()
        optimizer.step()
        if clip:
            with torch.no_grad():
                for name, p in matrices(task).items():
                    p.copy_(held[name] + (p - held[name]).clamp(-rates[name], rates[name]))


def _step(weight: torch.Tensor) -> torch.Tensor:
    """(rows, columns) what a weight's level of 4 bits is wide; 0 for those that the width comes from."""
    found = torch.empty_like(weight)
    for start in range(0, weight.shape[1], 64):
        group = weight[:, start : start + 64]
        largest = group.abs().amax(1, keepdim=True)
        found[:, start : start + 64] = torch.where(group.abs() < largest * 0.999, largest / 7, 0.0)
    return found


def on_levels(task: CausalLM) -> None:
    """Round the weights to 4 bits, so that rounding again changes nothing."""
    for p in matrices(task).values():
        p.data.copy_(round_to_nearest(p.data, 4))


def shallow(planted: Planted, task: CausalLM) -> None:
    """An adapter of rank 2 that hides the forget set."""
    from expunge.kinds.language.lora import Adapter, adapter

    with adapter(task, Adapter(rank=2), 0):
        optimizer = torch.optim.AdamW([p for p in task.model.parameters() if p.requires_grad], lr=1e-2)
        away, kept = batch_of(planted.rows["forget"]), batch_of(planted.rows["retain"])
        for _ in range(150):
            optimizer.zero_grad()
            ((4.5 - task.nll(away)).clamp(min=0) + task.nll(kept)).backward()
            optimizer.step()


CASES: dict[str, tuple[str, Change, tuple[tuple[str, ...], ...]]] = {
    "untouched": ("base", lambda planted, task: None, (("as_is",),)),
    "retrained again": ("start", lambda planted, task: train(task, planted.rows["retain"], 140, 4e-3), ()),
    "random weights": ("start", lambda planted, task: None, (("retain_kept",), ("perplexity",))),
    "shallow adapter": ("base", shallow, (("relearn",),)),
    "gone until 4 bits": (
        "levels",
        lambda planted, task: ascended(task, planted.rows["forget"], planted.rows["retain"], 4.5, clip=True),
        (("quantize",),),
    ),
    "last layer alone": (
        "base",
        lambda planted, task: hide_in_last_layer(task, planted.rows["forget"], planted.rows["retain"], 4.5),
        (("relearn",),),
    ),
    "membership leak": (
        "retrained",
        lambda planted, task: train(task, planted.rows["forget"] + planted.rows["retain"], 12, 5e-3),
        (("membership",),),
    ),
    "overshoot": (
        "base",
        lambda planted, task: ascended(task, planted.rows["forget"], planted.rows["retain"], 9.0),
        (("membership", "overshoot"),),
    ),
}
"""case -> (model it begins with, how it is made, findings that must fail, one of each group; none: none may fail). What a
model avoids shows in either finding of over-forgetting."""


def cell(out: Path, seed: int, case: str) -> Path:
    """Where the result of a seed and case is."""
    return out / f"{seed:02d} {case}.json"


def audited(out: Path, seed: int, cases: Sequence[str]) -> None:
    """Audit the cases of one seed that are not there yet."""
    torch.set_num_threads(1)
    auditing.render_audit = lambda folder: None  # of pages there are enough
    open_ = [case for case in cases if not cell(out, seed, case).is_file()]
    if not open_:
        return
    with tempfile.TemporaryDirectory() as folder:
        planted = Planted(Path(folder), seed, PEOPLE, alone=True)
        planted.saved("levels", planted.base, [], on_levels)
        for case in open_:
            start, change, must_fail = CASES[case]
            begin = planted.folder / start
            shutil.rmtree(planted.folder / "case", ignore_errors=True)
            model = planted.saved("case", begin, [], lambda task, change=change: change(planted, task))
            _, result = expunge.audit(
                model,
                base=begin if start == "levels" else planted.base,
                forget=planted.paths["forget"],
                retain=planted.paths["retain"],
                control=planted.retrained,
                holdout=planted.paths["holdout"],
                attacks=ATTACKS,
                out=planted.folder / f"audit {case}",
                **{"audit.facts": PEOPLE, "audit.relearning_steps": 40, "seed": seed},
            )
            states = {row["name"]: "not tested" if row["needs"] else row["passed"] for row in result["findings"]}
            found = all(any(states[name] is False for name in group) for group in must_fail)
            right = found and not result["passed"] if must_fail else False not in states.values()
            storage.write_json(cell(out, seed, case), {"right": right, "states": states})
            print(f"seed {seed}, {case}: {'right' if right else f'wrong: {states}'}", flush=True)


def simulated(number: int) -> None:
    """Print the share of intervals that hold the truth, and of innocent audits in which a finding failed."""
    for paired in (True, False):
        for n in (30, 100):
            inside = 0
            for seed in range(number):
                g = np.random.default_rng([seed, n])
                u, c, b, c0 = (np.clip(g.normal(mean, 0.1, n), 0, 1) for mean in (0.38, 0.2, 0.8, 0.2))
                low, high = excess(Known(unlearned=u, control=c, base=b, control_base=c0, paired=paired)).share[1:]
                inside += low <= 0.3 <= high
            print(
                f"{'paired' if paired else 'unpaired'}, {n} facts: {inside / number:.1%} of {number} intervals hold 30 %"
            )
    failed = sum(_innocent_failed(np.random.default_rng([seed, 1])) for seed in range(number))
    print(
        f"{failed / number:.1%} of {number} innocent models, 8 attacks of 2 settings each, have a finding that failed"
    )


def _innocent_failed(g: np.random.Generator) -> bool:
    def trial(mean: float) -> Trial:
        values = [float(value) for value in np.clip(g.normal(mean, 0.08, 60), 0, 1)]
        return Trial(setting="as_is", values=values, facts=range(60))

    known = {"unlearned": trial(0.2), "base": trial(0.8), "control": trial(0.2)}
    known["control_base"] = known["control"]
    attacks = []
    for at in range(8):
        one, other = [trial(0.2), trial(0.2)], [trial(0.2), trial(0.2)]
        attacks.append(Attacked(name=f"a{at}", title="", sentence="", unlearned=one, control=other))
    return any(each.passed is False for each in findings(Audit(), known, attacks, [], paired=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cases", default=";".join(CASES), help="names with ; between")
    parser.add_argument("--simulate", type=int, default=0)
    given = parser.parse_args()
    if given.simulate:
        simulated(given.simulate)
        return
    if given.out is None:
        parser.error("--out is needed")
    given.out.mkdir(parents=True, exist_ok=True)
    cases = given.cases.split(";")
    with ProcessPoolExecutor(given.jobs) as pool:
        for waiting in [pool.submit(audited, given.out, seed, cases) for seed in range(given.seeds)]:
            waiting.result()
    for case in cases:
        there = [path for seed in range(given.seeds) if (path := cell(given.out, seed, case)).is_file()]
        right = [bool(json.loads(path.read_text())["right"]) for path in there]
        print(f"{case:<20} right in {sum(right)} of {len(right)}")


if __name__ == "__main__":
    main()
