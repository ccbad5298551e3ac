"""How often audits of planted cases come out right: models of a few thousand weights whose truth is known, seed by seed.

    python benchmarks/audit/planted.py --seeds 20 [--jobs 2]

Every case is audited with a retrained control, a holdout, and the attacks of `ATTACKS`. A line a case: in how many seeds the
findings that must fail failed and, of the innocent one, none did (30 facts are too few for membership to be told to 0.1).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
TESTS = Path(__file__).parents[2] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "kinds" / "language" / "attacks")]

import torch  # noqa: E402
from planted import Planted, hide_in_last_layer, train  # noqa: E402

import expunge  # noqa: E402
from expunge.kinds.language.attacks.facts import Row, batch_of  # noqa: E402
from expunge.kinds.language.attacks.relearning import Relearning, Way  # noqa: E402
from expunge.kinds.language.matrices import matrices  # noqa: E402
from expunge.kinds.language.task import CausalLM  # noqa: E402
from expunge.ops.rounding import round_to_nearest  # noqa: E402

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


CASES: dict[str, tuple[str, Change, tuple[str, ...]]] = {
    "untouched": ("base", lambda planted, task: None, ("as_is",)),
    "retrained again": ("start", lambda planted, task: train(task, planted.rows["retain"], 140, 4e-3), ()),
    "random weights": ("start", lambda planted, task: None, ("retain_kept", "perplexity")),
    "shallow adapter": ("base", shallow, ("relearn",)),
    "gone until 4 bits": (
        "levels",
        lambda planted, task: ascended(task, planted.rows["forget"], planted.rows["retain"], 4.5, clip=True),
        ("quantize",),
    ),
    "last layer alone": (
        "base",
        lambda planted, task: hide_in_last_layer(task, planted.rows["forget"], planted.rows["retain"], 4.5),
        ("relearn",),
    ),
    "membership leak": (
        "retrained",
        lambda planted, task: train(task, planted.rows["forget"] + planted.rows["retain"], 12, 5e-3),
        ("membership",),
    ),
    "overshoot": (
        "base",
        lambda planted, task: ascended(task, planted.rows["forget"], planted.rows["retain"], 9.0),
        ("membership",),
    ),
}
"case -> (model it begins with, how it is made, findings that must fail; none: none may fail)"


def audited(seed: int) -> list[tuple[str, bool, str]]:
    """(case, whether it came out right, states of the findings) of one seed."""
    torch.set_num_threads(1)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        planted = Planted(Path(folder), seed, PEOPLE, alone=True)
        planted.saved("levels", planted.base, [], on_levels)
        for case, (start, change, must_fail) in CASES.items():
            begin = planted.folder / start
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
            states = {row["name"]: row["passed"] for row in result["findings"]}
            right = all(states[name] is False for name in must_fail) if must_fail else False not in states.values()
            found.append((case, right and not (must_fail and result["passed"]), json.dumps(states)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    right: dict[str, list[bool]] = {case: [] for case in CASES}
    with ProcessPoolExecutor(given.jobs) as pool:
        for seed, rows in enumerate(pool.map(audited, range(given.seeds))):
            for case, came_right, states in rows:
                right[case].append(came_right)
                if not came_right:
                    print(f"  seed {seed}, {case}: {states}", flush=True)
    for case, each in right.items():
        print(f"{case:<20} right in {sum(each)} of {len(each)}")


if __name__ == "__main__":
    main()
